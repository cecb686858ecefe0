//! Rules and policies that drop what containers live from.

use std::net::IpAddr;

use dockernet_common::packet::{TCP, UDP};

use super::{
    forwarding::{forwarded, whole},
    siblings,
};
use crate::{
    cause::{BY_FIREWALLD, Verdict, accept, calls, delete},
    check::{
        Finding, Grade, Sight, Subject,
        finding::Affected,
        gather::Gather,
        probe::{Judged, Probe, Side, judge, somewhere, translation},
        sight::{Member, Uplink},
    },
    host::{
        firewall::{Attribution, Backend, DropKind, Hook, Owner, Translation},
        route::Family,
    },
    model::{Impact, Network, Rule},
};

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut gather = Gather::default();
    for (network, bridge, members) in forwarded(sight) {
        for member in &members {
            for family in [Family::V4, Family::V6] {
                let Some(uplink) = uplink(sight, family) else {
                    continue;
                };
                let way = Way {
                    sight,
                    network,
                    bridge,
                    uplink,
                    family,
                };
                incoming(&way, member, &mut gather);
                outgoing(&way, member, &mut gather);
            }
        }
    }
    // What stops everything stops siblings too, and is told once.
    let mut siblings = siblings::find(sight);
    siblings.retain(|finding| {
        !gather.findings.iter().any(|known| {
            known.rule.is_some() && known.rule == finding.rule && known.grade <= finding.grade
        })
    });
    gather.findings.extend(siblings);
    gather.findings
}

/// The interface that the default route of a family leads to.
pub(in crate::check) fn uplink<'s>(sight: &'s Sight<'_>, family: Family) -> Option<Uplink<'s>> {
    let routes =
        sight.host.routes.iter().filter(|route| {
            sight.is_first_default(route) && Family::of(route.prefix.addr()) == family
        });
    let mut names = routes.filter_map(|route| {
        let first = route.nexthops.first().map(|hop| hop.oif.as_str());
        route.oif.as_deref().or(first)
    });
    let all = sight.uplinks();
    names.find_map(|name| all.iter().find(|uplink| uplink.link.name == name).copied())
}

/// Between a container and the world.
struct Way<'s> {
    sight: &'s Sight<'s>,
    network: &'s Network,
    bridge: &'s str,
    uplink: Uplink<'s>,
    family: Family,
}

impl Way<'_> {
    /// Clients of different places: a rule that treats all alike is no choice of some.
    fn clients(&self) -> Vec<IpAddr> {
        let routes = self.sight.host.routes.iter();
        let gateway = routes
            .filter(|route| route.oif.as_deref() == Some(self.uplink.link.name.as_str()))
            .filter_map(|route| route.gateway)
            .find(|gateway| Family::of(*gateway) == self.family);
        gateway
            .or_else(|| self.neighbour())
            .into_iter()
            .chain([somewhere(self.family)])
            .collect()
    }

    /// Somebody on the uplink's own wire, where no router is.
    fn neighbour(&self) -> Option<IpAddr> {
        let own = self.own_address()?;
        let nets = self.uplink.link.addresses.iter();
        let net = nets.copied().find(|net| net.addr() == own)?;
        net.hosts().find(|address| *address != own)
    }

    fn own_address(&self) -> Option<IpAddr> {
        let mut addresses = self.uplink.link.addresses.iter().map(ipnet::IpNet::addr);
        addresses.find(|address| {
            Family::of(*address) == self.family
                && !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
        })
    }

    /// The same by the uplink that has this address, if another has it: clients of a port that is published there come by that one.
    fn to(&self, host: IpAddr) -> Self {
        let has = |uplink: &Uplink<'_>| {
            let mut addresses = uplink.link.addresses.iter();
            addresses.any(|net| net.addr() == host)
        };
        let uplink = self.sight.uplinks().into_iter().find(has);
        Self {
            uplink: uplink.unwrap_or(self.uplink),
            ..*self
        }
    }

    /// What stops a connection, in either direction.
    fn stopped(&self, probe: &Probe, inbound: bool) -> Judged {
        let (uplink, bridge) = (Some(self.uplink.link.name.as_str()), Some(self.bridge));
        let (from, to) = if inbound {
            (uplink, bridge)
        } else {
            (bridge, uplink)
        };
        let host = &self.sight.host;
        let enters =
            |reply, side, device| (probe.untouched(reply, side, (device, None)), Hook::Ingress);
        let leaves =
            |reply, side, device| (probe.at_device(reply, side, (None, device)), Hook::Egress);
        let asked = [
            enters(false, Side::Client, from),
            (probe.first(from, None), Hook::Prerouting),
            (probe.first(from, to), Hook::Forward),
            (probe.first(from, to), Hook::Postrouting),
            leaves(false, Side::Server, to),
            enters(true, Side::Server, to),
            (probe.back(to, None), Hook::Prerouting),
            (probe.back(to, from), Hook::Forward),
            (probe.back(to, from), Hook::Postrouting),
            leaves(true, Side::Client, from),
        ];
        Judged::first(
            asked
                .iter()
                .map(|(packet, hook)| judge(host, packet, *hook)),
        )
    }

    /// Several connections of one kind: dropped for all, for some, or not.
    fn judge(&self, probes: &[Probe], inbound: bool) -> (Judged, bool) {
        let judged: Vec<Judged> = probes
            .iter()
            .map(|probe| self.stopped(probe, inbound))
            .collect();
        let drops = |judged: &Judged| matches!(judged, Judged::Drops(_));
        let all = judged.iter().all(drops);
        let doubt = judged
            .iter()
            .position(|judged| matches!(judged, Judged::Doubt(_)));
        let place = judged.iter().position(drops).or(doubt);
        let first = place.and_then(|place| judged.into_iter().nth(place));
        (first.unwrap_or(Judged::Passes), all)
    }
}

/// Published ports, as clients of the outside use them.
fn incoming(way: &Way<'_>, member: &Member<'_>, gather: &mut Gather) {
    let (Some(address), Some(own)) = (member.address(way.family), way.own_address()) else {
        return;
    };
    let gateway = member.attachment.gateway.is_some();
    for published in &member.container.published {
        let Some(proto) = number(&published.protocol) else {
            continue;
        };
        let host = published.host_ip;
        if host.is_loopback() || Family::of(host) != way.family || !gateway {
            continue;
        }
        let to = if host.is_unspecified() { own } else { host };
        let way = &way.to(host);
        // A container on several networks is reached by one of them: where the rules lead.
        let probe = Probe::new(proto, way.clients()[0], to, published.host_port);
        let packet = probe.untranslated(Some(&way.uplink.link.name), None);
        let routed = way.network.gateway_mode.as_deref() == Some("routed");
        let mut tracked = true;
        let leads_here = match translation(&way.sight.host, &packet, Hook::Prerouting) {
            Translation::To(target, _) => target.address == Some(address),
            // Without a rule the missing rule is the finding.
            Translation::Untracked { .. } => {
                tracked = false;
                routed
            }
            Translation::Nothing | Translation::CannotTell(_) => routed,
        };
        if !leads_here {
            continue;
        }
        let probes: Vec<Probe> = way
            .clients()
            .into_iter()
            .map(|client| {
                Probe::new(proto, client, to, published.host_port)
                    .to(address, Some(published.container_port))
            })
            .map(|probe| if tracked { probe } else { probe.untracked() })
            .collect();
        let (judged, all) = way.judge(&probes, true);
        let what = format!(
            "{} of {}",
            published.to_string().replace("->", "→"),
            member.container.name
        );
        let affected = Affected::port(member.container, published);
        tell(way, judged, all, &what, affected, gather);
    }
}

/// What a container sends out.
fn outgoing(way: &Way<'_>, member: &Member<'_>, gather: &mut Gather) {
    let (Some(address), Some(own)) = (member.address(way.family), way.own_address()) else {
        return;
    };
    // Answers come to the host's own address, and are translated back after the raw table.
    let probes =
        [443, 80].map(|port| Probe::new(TCP, address, somewhere(way.family), port).via(own));
    let (judged, all) = way.judge(&probes, false);
    let what = format!("connections of {} to the outside", member.container.name);
    for affected in whole(member.container) {
        let container = Affected {
            published: None,
            ..affected
        };
        tell(way, judged.clone(), all, &what, container, gather);
    }
}

/// IP protocol number of a published port.
pub(in crate::check) fn number(protocol: &str) -> Option<u8> {
    match protocol {
        "tcp" => Some(TCP),
        "udp" => Some(UDP),
        "sctp" => Some(132),
        _ => None,
    }
}

fn tell(
    way: &Way<'_>,
    judged: Judged,
    all: bool,
    what: &str,
    affected: Affected,
    gather: &mut Gather,
) {
    let (grade, verdict) = match judged {
        Judged::Passes => return,
        Judged::Doubt(at) => {
            let what = "whether the firewall lets containers' packets pass";
            let why = format!("it depends on a rule that cannot be told from outside: {at}");
            gather.add(Finding::unknown(Subject::host(), what, why), [affected]);
            return;
        }
        Judged::Drops(found) => verdict(way, &found, all, what),
    };
    gather.add(Finding::new(grade, Subject::host(), verdict), [affected]);
}

fn verdict(way: &Way<'_>, found: &Attribution, all: bool, what: &str) -> (Grade, Verdict) {
    let rule = Rule::from(found);
    let text = found.sentence();
    let partly = (!all).then(|| "other clients or ports pass".to_owned());
    let grade = |grade| if all { grade } else { Grade::Note };
    let base = |id: &'static str, summary: String| {
        Verdict::confirmed(id, summary)
            .fact(text.clone())
            .maybe_fact(partly.clone())
    };
    let (grade, verdict) = match found.kind {
        DropKind::DockerUser => (
            grade(Grade::Risk),
            base(
                "docker-user-drop",
                format!("a rule of yours in DOCKER-USER drops containers' packets: {}", found.place()),
            )
            .advise("if this should pass: delete the rule, or put an ACCEPT for this traffic before it (answers too: --ctstate RELATED,ESTABLISHED)")
            .run(delete(&found.dropped), "host", None, Impact::OpensFirewall),
        ),
        DropKind::ForwardPolicy | DropKind::ForwardRule
            if found.dropped.backend != Backend::Nft =>
        {
            (grade(Grade::Broken), forward(way, found, base))
        }
        _ if found.dropped.backend == Backend::Nft && found.owner != Owner::Docker => {
            (grade(Grade::Broken), foreign(way, found, base))
        }
        DropKind::UnpublishedPort | DropKind::DirectAccess | DropKind::NetworkIsolation => (
            grade(Grade::Broken),
            base(
                "forward-drop",
                format!("Docker's own rules do not let {what} pass: an accepting rule of its is missing"),
            )
            .restart_engine(),
        ),
        _ => (
            grade(Grade::Risk),
            base("forward-drop", format!("a rule on the {} hook drops containers' packets: {}", found.dropped.hook.name(), found.place()))
                .advise("if this should pass: delete the rule")
                .run(delete(&found.dropped), "host", None, Impact::OpensFirewall),
        ),
    };
    (grade, verdict.rule(rule))
}

fn forward(
    way: &Way<'_>,
    found: &Attribution,
    base: impl Fn(&'static str, String) -> Verdict,
) -> Verdict {
    let firewall = &way.sight.host.firewall;
    let id = match way.family {
        // A rule of somebody's is no leftover of Docker's.
        Family::V4
            if found.dropped.rule.is_none() && firewall.has_chain_or_table("docker-bridges") =>
        {
            "nftables-backend-forwarding"
        }
        Family::V4 => "forward-drop",
        Family::V6 => "ipv6-filter-drop",
    };
    let own = calls(firewall, found);
    if found.dropped.rule.is_some() {
        return base(id, format!("a rule on the FORWARD hook drops containers' packets: {}", found.place()))
            .advise("if this should pass: delete the rule, or accept this traffic before it (in DOCKER-USER, where that comes first)")
            .run(delete(&found.dropped), "host", None, Impact::OpensFirewall);
    }
    let verdict = base(
        id,
        "the FORWARD chain's policy is DROP and no rule before it accepts containers' packets"
            .into(),
    );
    if firewall.has_any_docker_chains() && !own.exist {
        let backend = found.dropped.backend.name();
        return verdict
            .fact(format!(
                "Docker's rules are in another table or backend: what they accept does not count in this one ({backend})"
            ))
            .run(delete(&found.dropped), "host", None, Impact::OpensFirewall);
    }
    let verdict =
        verdict
            .maybe_fact(
                (!own.exist).then(|| "Docker's chains are gone: something has flushed them".into()),
            )
            .maybe_fact((own.exist && !own.docker).then(|| {
                "FORWARD no longer calls Docker's chains: something has flushed it".into()
            }));
    if !way.sight.daemon.switch("iptables", true) {
        return verdict
            .fact("dockerd was told to write no rules (iptables: false)")
            .advise(format!(
                "accept what {} forwards in your own rules: {} and the same with -o",
                way.bridge,
                accept(found, &[("i", way.bridge)], None)
            ));
    }
    verdict
        .restart_engine()
        .advise(format!(
            "until then, to let everything pass: {}; put rules of your own into DOCKER-USER, and do not flush FORWARD after \
             Docker has started",
            delete(&found.dropped)
        ))
}

/// A table that is neither Docker's nor iptables': an accept ends only its own table.
fn foreign(
    way: &Way<'_>,
    found: &Attribution,
    base: impl Fn(&'static str, String) -> Verdict,
) -> Verdict {
    let dropped = &found.dropped;
    let verdict = base(
        "foreign-table-drop",
        format!(
            "the nft table {} {} drops containers' packets, whatever Docker's rules accept: an accept ends only its own table",
            dropped.family.name(),
            dropped.table
        ),
    );
    let verdict = verdict.fact(format!("network {} is behind it", way.network.name));
    if found.owner == Owner::Firewalld {
        return verdict.advise(BY_FIREWALLD);
    }
    // A device's own chain knows nothing of the bridge.
    if dropped.rule.is_some() || matches!(dropped.hook, Hook::Ingress | Hook::Egress) {
        return verdict
            .advise("if this should pass: delete the rule, or accept this traffic before it in that table")
            .run(delete(&found.dropped), "host", None, Impact::OpensFirewall);
    }
    verdict
        .advise("if this should pass: accept what goes to and from the bridge in that table")
        .run(
            accept(found, &[("i", way.bridge)], None),
            "host",
            None,
            Impact::OpensFirewall,
        )
        .run(
            accept(found, &[("o", way.bridge)], None),
            "host",
            None,
            Impact::OpensFirewall,
        )
}
