//! Which rule dropped it, and what that rule is for.

use std::net::IpAddr;

use dockernet_common::{
    conntrack::{RawTuple, info},
    record::flag,
};
use ipnet::IpNet;

use super::{Case, Verdict, socket};
use crate::{
    evidence::HookPoint,
    host::firewall::{
        Attribution, Backend, CtState, DropKind, Engine, Env, Family, Firewall, FlowPacket,
        FlowTuple, Hook, Owner, Site, Target, attribute, drop_candidates,
    },
    model::{EndpointKind, Impact, NatKind, Network, Rule},
};

/// Everything with `NETFILTER_DROP`, and on kernels without reasons what died below `nf_hook_slow`.
pub(super) fn netfilter_drop(case: &Case<'_>) -> Option<Verdict> {
    if case.evidence.reason() != "NETFILTER_DROP" && !case.evidence.reason().is_empty() {
        return None;
    }
    let point = case.evidence.hook?;
    let (before, now) = case.firewall()?;
    let packet = flow_packet(case, point);
    let site = site(case, point);
    let env = Addresses(
        case.inventory
            .netns(case.evidence.netns)?
            .links
            .iter()
            .map(|link| (link.name.clone(), link.addresses.clone()))
            .collect(),
    );
    if let Some(found) = attribute(before.as_deref(), &now, &packet, &site, &env) {
        // Where the location says that nf_tables dropped it, a candidate without a rival did it, whatever its conditions
        // (limits, strings) are; but only if all rules were read.
        let certain = found.how == "counter"
            || found.dropped.certain
            || site.engine == Some(Engine::Nft) && now.notes.is_empty();
        return verdict(case, &found, certain);
    }
    // Several rules may have done it. If they are all there for the same purpose, that purpose is the cause.
    let candidates = drop_candidates(&now, &packet, &site, &env);
    let first = candidates.first()?;
    if candidates.iter().any(|other| other.kind != first.kind) {
        return None;
    }
    let mut found = verdict(case, first, false)?;
    if candidates.len() > 1 {
        found.rule = None;
    }
    Some(found)
}

fn site(case: &Case<'_>, point: HookPoint) -> Site {
    let mut site = Site::new(point.hook);
    site.bridge = point.bridge;
    site.engine = if point.nft {
        Some(Engine::Nft)
    } else if locates_nft(case) {
        Some(Engine::Legacy)
    } else {
        None
    };
    site.family = match point.family {
        Some("ipv4") => Some(Family::Ip),
        Some("ipv6") => Some(Family::Ip6),
        Some("inet") => Some(Family::Inet),
        Some("bridge") => Some(Family::Bridge),
        Some("netdev") => Some(Family::Netdev),
        _ => None,
    };
    site.nfct = Some(case.evidence.record.flags & flag::CONNTRACK != 0);
    site
}

/// Whether this kernel frees a packet that nf_tables drops inside `nft_do_chain` (6.7+): then `nf_hook_slow` as the
/// location means the other engine. Told by the release, since a packet's stack cannot prove an absence.
fn locates_nft(case: &Case<'_>) -> bool {
    if case.evidence.drop.location.as_deref() != Some("nf_hook_slow") {
        return false;
    }
    let release = nix::sys::utsname::uname().ok();
    let release = release
        .as_ref()
        .and_then(|name| name.release().to_str())
        .unwrap_or("");
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) >= (6, 7))
}

fn flow_packet(case: &Case<'_>, point: HookPoint) -> FlowPacket {
    let evidence = case.evidence;
    let shown = case.packet();
    let conntrack = &evidence.record.conntrack;
    let tracked = evidence.record.flags & flag::CONNTRACK != 0;
    let name = |device: &Option<String>| device.clone().filter(|name| !name.is_empty());
    let device = name(&evidence.drop.device);
    // For the IP hooks of bridged packets in and out are the bridge; the port is `physdev`.
    let master = device.as_deref().and_then(|device| master(case, device));
    let (iif, oif, physin, physout) = if point.bridge {
        let bridge = master.or_else(|| device.clone());
        let out = (point.hook == Hook::Forward)
            .then(|| bridge.clone())
            .flatten();
        let physout = (point.hook == Hook::Forward)
            .then(|| device.clone())
            .flatten();
        (bridge, out, None, physout)
    } else {
        let iif = name(&evidence.drop.ingress_device).or_else(|| {
            (point.hook != Hook::Output && point.hook != Hook::Postrouting)
                .then(|| device.clone())
                .flatten()
        });
        (iif, name(&evidence.out_device), None, None)
    };
    FlowPacket {
        ipv6: Some(case.is_ipv6()),
        proto: Some(evidence.record.key.protocol).filter(|&number| number != 0),
        src: case.src(),
        dst: case.dst(),
        sport: shown.and_then(|packet| packet.src_port),
        dport: shown.and_then(|packet| packet.dst_port),
        iif,
        oif,
        physin,
        physout,
        mark: Some(evidence.record.mark),
        ttl: shown.and_then(|packet| packet.ttl),
        ct_state: if !tracked {
            CtState::NO_FLOW
        } else {
            match conntrack.info {
                info::NEW => CtState::NEW,
                info::RELATED => CtState::RELATED,
                other if other == info::RELATED + info::IS_REPLY => CtState::RELATED,
                _ => CtState::ESTABLISHED,
            }
        },
        ct_status: if tracked {
            (u32::MAX, conntrack.status)
        } else {
            (0, 0)
        },
        ct_reply: tracked.then_some(conntrack.info >= info::IS_REPLY),
        ct_mark: None,
        ct_original: tracked.then(|| tuple(&conntrack.original)).flatten(),
        ct_answer: tracked.then(|| tuple(&conntrack.reply)).flatten(),
        pkt_type: Some(evidence.record.pkt_type),
        tcp_flags: evidence
            .parsed
            .transport
            .as_ref()
            .and_then(|transport| transport.tcp()?.flags)
            .map(|flags| flags.0),
        icmp_type: shown
            .and_then(|packet| packet.icmp.as_ref())
            .map(|icmp| icmp.icmp_type),
        icmp_code: shown
            .and_then(|packet| packet.icmp.as_ref())
            .map(|icmp| icmp.code),
        // An IPv6 packet with one is rare, and ufw's rules ask about it before anything else.
        routing_header: Some(false),
    }
}

fn master(case: &Case<'_>, device: &str) -> Option<String> {
    let key = case.evidence.netns;
    let index = case.inventory.link_named(key, device)?.master?;
    Some(case.inventory.link(key, index)?.name.clone())
}

fn tuple(raw: &RawTuple) -> Option<FlowTuple> {
    let address = |bytes: [u8; 16]| -> Option<IpAddr> {
        let [a, b, c, d, ..] = bytes;
        match raw.family {
            2 => Some(IpAddr::from([a, b, c, d])),
            10 => Some(IpAddr::from(bytes)),
            _ => None,
        }
    };
    Some(FlowTuple {
        src: address(raw.src)?,
        dst: address(raw.dst)?,
        sport: Some(u16::from_be_bytes(raw.src_port)),
        dport: Some(u16::from_be_bytes(raw.dst_port)),
    })
}

/// The namespace's own addresses, by interface.
struct Addresses(Vec<(String, Vec<IpNet>)>);

impl Env for Addresses {
    fn is_local(&self, address: IpAddr) -> Option<bool> {
        Some(
            address.is_loopback()
                || self
                    .0
                    .iter()
                    .any(|(_, nets)| nets.iter().any(|net| net.addr() == address)),
        )
    }

    fn is_broadcast(&self, address: IpAddr) -> Option<bool> {
        Some(
            self.0
                .iter()
                .flat_map(|(_, nets)| nets)
                .any(|net| match net {
                    IpNet::V4(net) => {
                        net.prefix_len() < 31 && IpAddr::V4(net.broadcast()) == address
                    }
                    IpNet::V6(_) => false,
                }),
        )
    }

    fn is_local_on(&self, address: IpAddr, interface: &str) -> Option<bool> {
        Some(
            self.0.iter().any(|(name, nets)| {
                name == interface && nets.iter().any(|net| net.addr() == address)
            }),
        )
    }
}

fn verdict(case: &Case<'_>, found: &Attribution, certain: bool) -> Option<Verdict> {
    let rule = Rule::from(found);
    let place = found.place();
    let words = found
        .dropped
        .rule
        .as_ref()
        .map_or("policy drop", |rule| &rule.text);
    let text = format!("{place} in table {}: {words}", rule.table);
    let drop = &case.evidence.drop;
    let from_container = drop.source.kind == EndpointKind::Container;
    let network = |endpoint: &crate::model::Endpoint| -> Option<&Network> {
        case.inventory.network(endpoint.network.as_deref()?)
    };
    let (source, destination) = (network(&drop.source), network(&drop.destination));
    let internal = [destination, source]
        .into_iter()
        .flatten()
        .find(|network| network.internal);
    let base =
        |id: &'static str, summary: String| Verdict::when(certain, id, summary).fact(text.clone());
    let verdict = if case.in_container() {
        base(
            "container-firewall-drop",
            format!("a firewall inside {} drops it", case.place()),
        )
        .advise("if this should pass: change the rules in the image or in what sets them at start")
        .run(
            case.command(&delete(found)),
            case.place(),
            None,
            Impact::OpensFirewall,
        )
    } else {
        match found.kind {
            DropKind::DockerUser => base("docker-user-drop", format!("a rule of yours in DOCKER-USER drops it: {place}"))
                .advise("if this should pass: delete the rule, or put an ACCEPT for this traffic before it (answers too: --ctstate RELATED,ESTABLISHED)")
                .run(delete(found), "host", None, Impact::OpensFirewall),
            DropKind::InternalNetwork => internal_network(base, internal.or(destination).or(source)),
            DropKind::NetworkIsolation | DropKind::DirectAccess | DropKind::UnpublishedPort | DropKind::ForwardPolicy
                if internal.is_some() && source.map(|network| &network.id) != destination.map(|network| &network.id) =>
            {
                internal_network(base, internal)
            }
            DropKind::NetworkIsolation => isolation(base, case, source, destination),
            DropKind::DirectAccess if from_container => isolation(base, case, source, destination),
            DropKind::DirectAccess => direct_access(base, case, destination),
            DropKind::LoopbackPublished => {
                let packet = case.packet()?;
                let port = packet.dst_port?;
                let (container, published) = case.inventory.published_on(&packet.protocol, port).next()?;
                socket::loopback_verdict(&container.name, &published.to_string(), port, published.container_port, &packet.protocol)
                    .fact(text.clone())
            }
            DropKind::Icc => {
                let name = source.or(destination).map_or("the network", |network| network.name.as_str());
                base("icc-disabled", format!("containers of {name} may not talk to each other"))
                    .maybe_fact(source.filter(|network| !network.icc).map(|network| format!("{} was made with enable_icc=false", network.name)))
                    .advise("if this should pass: publish the port and use the host's address, or recreate the network with com.docker.network.bridge.enable_icc=true")
            }
            DropKind::UnpublishedPort => {
                let port = case.packet()?.dst_port.map_or_else(String::new, |port| format!(" {port}"));
                base("port-not-published", format!("the container's port{port} is not published"))
                    .advise("if this should pass: recreate the container with -p for that port")
            }
            DropKind::Input => host_input(base, case, found),
            DropKind::ForwardPolicy | DropKind::ForwardRule => forward(base, case, found)?,
            DropKind::Bridge => base("bridge-filter-drop", format!("a bridge filter rule drops it: {place}"))
                .advise("if this should pass: delete the rule")
                .run(delete(found), "host", None, Impact::OpensFirewall),
            DropKind::Output | DropKind::Other if found.dropped.backend == Backend::Nft => foreign(base, case, found),
            // No cause of the catalogue; but the rule is known, and says more than a function's name.
            DropKind::Output | DropKind::Other => Verdict::unexplained(format!(
                "a rule on the {} hook drops it: {place} in table {}",
                found.dropped.hook.name(),
                found.dropped.table
            ))
            .fact(text.clone())
            .advise("if this should pass: delete the rule")
            .run(delete(found), "host", None, Impact::OpensFirewall),
        }
    };
    Some(verdict.rule(rule))
}

fn internal_network(
    base: impl Fn(&'static str, String) -> Verdict,
    network: Option<&Network>,
) -> Verdict {
    let name = network.map_or("the network", |network| network.name.as_str());
    base("internal-network", format!("{name} is internal: it has no way out of the host and none in"))
        .maybe_fact(network.filter(|network| network.internal).map(|network| format!("{} was made with --internal", network.name)))
        .advise("if this should pass: connect the container to a second network that is not internal (docker network connect NETWORK CONTAINER)")
}

fn isolation(
    base: impl Fn(&'static str, String) -> Verdict,
    case: &Case<'_>,
    source: Option<&Network>,
    destination: Option<&Network>,
) -> Verdict {
    let drop = &case.evidence.drop;
    let name = |network: Option<&Network>| {
        network
            .map_or("another network", |network| network.name.as_str())
            .to_owned()
    };
    let (from, to) = (name(source), name(destination));
    let verdict = base(
        "network-isolation",
        format!("Docker keeps networks apart: the sender is on {from}, the receiver on {to}"),
    );
    match (&drop.source.container, destination) {
        (Some(container), Some(network)) => verdict.run(
            format!("docker network connect {} {}", network.name, container.name),
            "host",
            Some("name both networks in the compose file or at docker run".into()),
            Impact::None,
        ),
        _ => verdict.advise(
            "put both containers on one network, or publish the port and use the host's address",
        ),
    }
}

fn direct_access(
    base: impl Fn(&'static str, String) -> Verdict,
    case: &Case<'_>,
    network: Option<&Network>,
) -> Verdict {
    let address = case.dst().map_or_else(String::new, |dst| format!(" {dst}"));
    base(
        "direct-access-drop",
        format!("a container's own address{address} is not reached from outside the host (Docker 28 and later)"),
    )
    .fact(format!("came in by {}", case.ingress()))
    .maybe_fact(network.map(|network| format!("not by {}'s own bridge", network.name)))
    .advise(
        "if this should pass: publish the port and use the host's address; or for a network that is to be routed, recreate it with \
         com.docker.network.bridge.trusted_host_interfaces=INTERFACE or gateway_mode_ipv4=nat-unprotected; or for all, \
         \"allow-direct-routing\": true in /etc/docker/daemon.json",
    )
}

fn host_input(
    base: impl Fn(&'static str, String) -> Verdict,
    case: &Case<'_>,
    found: &Attribution,
) -> Verdict {
    let device = case.ingress();
    let packet = case.packet();
    let protocol = packet.map_or("tcp", |packet| packet.protocol.as_ref());
    let port = packet.and_then(|packet| packet.dst_port);
    let target = port.map_or_else(
        || "the host".to_owned(),
        |port| format!("the host's port {port}/{protocol}"),
    );
    let verdict = base(
        "host-input-drop",
        format!("the host's own firewall drops what comes from {device} to {target}"),
    );
    let command = match (found.owner, port) {
        (Owner::Ufw, Some(port)) => {
            format!("ufw allow in on {device} to any port {port} proto {protocol}")
        }
        (Owner::Firewalld, Some(port)) => format!(
            "firewall-cmd --permanent --zone=docker --add-port={port}/{protocol} && firewall-cmd --reload"
        ),
        _ => accept(found, &[("i", device)], Some((protocol, port))),
    };
    verdict
        .advise(match port {
            Some(port) => {
                format!("if this should pass: accept port {port}/{protocol} from {device}")
            }
            None => format!("if this should pass: accept {protocol} from {device}"),
        })
        .run(command, "host", None, Impact::OpensFirewall)
}

/// A table that is neither Docker's nor iptables': an accept elsewhere does not help.
fn foreign(
    base: impl Fn(&'static str, String) -> Verdict,
    case: &Case<'_>,
    found: &Attribution,
) -> Verdict {
    let dropped = &found.dropped;
    let table = format!("{} {}", dropped.family.name(), dropped.table);
    let verdict = base(
        "foreign-table-drop",
        format!(
            "the nft table {table} drops it, whatever Docker's rules accept: an accept ends only its own table"
        ),
    );
    let (iif, oif) = (case.ingress(), case.evidence.out_device.as_deref());
    let forwards = dropped.hook == Hook::Forward && !iif.is_empty();
    match (&dropped.rule, oif) {
        // Opening a policy lets everything pass: one flow's interfaces are enough.
        (None, Some(oif)) if forwards => verdict
            .advise(format!("if this should pass: accept what goes from {iif} to {oif} in that table, and the answers"))
            .run(accept(found, &[("i", iif), ("o", oif)], None), "host", None, Impact::OpensFirewall)
            .run(accept(found, &[("i", oif), ("o", iif)], None), "host", None, Impact::OpensFirewall),
        _ => verdict
            .advise("if this should pass: delete the rule, or accept this traffic before it in that table")
            .run(delete(found), "host", None, Impact::OpensFirewall),
    }
}

/// The command that accepts something before the base chain of a drop comes to it.
fn accept(
    found: &Attribution,
    interfaces: &[(&str, &str)],
    service: Option<(&str, Option<u16>)>,
) -> String {
    let dropped = &found.dropped;
    let chain = dropped
        .path
        .first()
        .map_or(dropped.chain.as_str(), |step| step.chain.as_str());
    let mut command = match dropped.backend {
        Backend::Nft => format!(
            "nft insert rule {} {} {chain}",
            dropped.family.name(),
            dropped.table
        ),
        _ => format!("{} -I {chain}", tables(found)),
    };
    for (direction, name) in interfaces {
        command += &match dropped.backend {
            Backend::Nft => format!(" {direction}ifname {name}"),
            _ => format!(" -{direction} {name}"),
        };
    }
    match (service, dropped.backend) {
        (Some((protocol, Some(port))), Backend::Nft) => {
            command += &format!(" {protocol} dport {port}");
        }
        (Some((protocol, None)), Backend::Nft) => {
            // nft's name for it.
            let protocol = if protocol == "icmpv6" {
                "ipv6-icmp"
            } else {
                protocol
            };
            command += &format!(" meta l4proto {protocol}");
        }
        (Some((protocol, port)), _) => {
            command += &format!(" -p {protocol}");
            if let Some(port) = port {
                command += &format!(" --dport {port}");
            }
        }
        (None, _) => {}
    }
    command
        + match dropped.backend {
            Backend::Nft => " accept",
            _ => " -j ACCEPT",
        }
}

fn forward(
    base: impl Fn(&'static str, String) -> Verdict,
    case: &Case<'_>,
    found: &Attribution,
) -> Option<Verdict> {
    let place = found.place();
    if found.dropped.backend == Backend::Nft {
        return Some(foreign(base, case, found));
    }
    if case.evidence.hook?.bridge {
        let verdict = base(
            "bridge-nf-foreign-drop",
            format!(
                "containers of one network talk through the bridge, and {place} applies to bridged packets too (bridge-nf-call-iptables)"
            ),
        );
        return Some(match master(case, case.device()) {
            Some(bridge) => verdict
                .advise(format!("if this should pass: accept what {bridge} bridges"))
                .run(
                    accept(found, &[("i", &bridge), ("o", &bridge)], None),
                    "host",
                    None,
                    Impact::OpensFirewall,
                ),
            None => verdict.advise("if this should pass: delete the rule").run(
                delete(found),
                "host",
                None,
                Impact::OpensFirewall,
            ),
        });
    }
    let (_, now) = case.firewall()?;
    let id = if case.is_ipv6() {
        "ipv6-filter-drop"
    } else {
        "forward-drop"
    };
    let own = calls(&now, found);
    let elsewhere = now.has_docker_chains() && !own.exist;
    let other = format!(
        "Docker's rules are in another table or backend: what they accept does not count in this one ({})",
        found.dropped.backend.name()
    );
    if found.dropped.rule.is_some() {
        let advice = if own.user_first {
            "if this should pass: delete the rule, or accept this traffic in DOCKER-USER, which comes before it"
        } else {
            "if this should pass: delete the rule, or accept this traffic before it"
        };
        return Some(
            base(id, format!("a rule on the FORWARD hook drops it: {place}"))
                .maybe_fact(elsewhere.then_some(other))
                .advise(advice)
                .run(delete(found), "host", None, Impact::OpensFirewall),
        );
    }
    let verdict = base(
        id,
        "the FORWARD chain's policy is DROP and no rule before it accepts the packet".into(),
    );
    if elsewhere {
        return Some(
            verdict
                .fact(other)
                .run(delete(found), "host", None, Impact::OpensFirewall),
        );
    }
    let drop = &case.evidence.drop;
    if own.docker
        && drop.source.kind != EndpointKind::Container
        && let Some(container) = &drop.destination.container
        && !drop
            .nat
            .as_ref()
            .is_some_and(|nat| nat.kind != NatKind::Snat)
    {
        // Docker's rules are there and do not mean this packet.
        let what = match case.packet().and_then(|packet| packet.dst_port) {
            Some(port) => format!("port {port} of {}", container.name),
            None => container.name.clone(),
        };
        return Some(
            verdict
                .fact(format!("Docker's rules are in place and accept what is published; this was sent straight to {what}"))
                .advise("if this should pass: publish the port and use the host's address, or accept this traffic in DOCKER-USER"),
        );
    }
    Some(
        verdict
            .maybe_fact((!own.exist).then(|| "Docker's chains are gone: something has flushed them".to_owned()))
            .maybe_fact((own.exist && !own.docker).then(|| "FORWARD no longer calls Docker's chains: something has flushed it".to_owned()))
            .run("systemctl restart docker", "host", None, Impact::RestartsContainers)
            .advise(format!(
                "until then, to let everything pass: {}; put rules of your own into DOCKER-USER, and do not flush FORWARD after Docker \
                 has started; \"ip-forward-no-drop\": true in /etc/docker/daemon.json leaves the policy alone",
                delete(found)
            )),
    )
}

/// What the base chain of a drop has to do with Docker.
struct Calls {
    /// Docker's chains are in its table.
    exist: bool,
    /// It goes through one of Docker's own.
    docker: bool,
    /// It goes through DOCKER-USER before it comes to the dropping rule.
    user_first: bool,
}

fn calls(now: &Firewall, found: &Attribution) -> Calls {
    let dropped = &found.dropped;
    let mut calls = Calls {
        exist: false,
        docker: false,
        user_first: false,
    };
    let table = now.tables().find(|(backend, table)| {
        *backend == dropped.backend && table.family == dropped.family && table.name == dropped.table
    });
    let Some((_, table)) = table else {
        return calls;
    };
    calls.exist = table.chain("DOCKER").is_some();
    let first = dropped.path.first();
    let base = first.map_or(dropped.chain.as_str(), |step| step.chain.as_str());
    let last = first.map_or(usize::MAX, |step| step.number);
    for rule in table.chain(base).into_iter().flat_map(|chain| &chain.rules) {
        for target in &rule.targets {
            let Target::Jump(to) = target else { continue };
            if to == "DOCKER-USER" {
                calls.user_first |= rule.number < last;
            } else {
                calls.docker |= to.starts_with("DOCKER");
            }
        }
    }
    calls
}

/// `iptables` and its like, for the family and backend of a rule.
fn program(found: &Attribution) -> &'static str {
    match (found.dropped.backend, found.dropped.family) {
        (Backend::IptablesLegacy, Family::Ip6) => "ip6tables-legacy",
        (Backend::IptablesLegacy, _) => "iptables-legacy",
        (_, Family::Ip6) => "ip6tables",
        _ => "iptables",
    }
}

/// The program, and the table where it is not the default one.
fn tables(found: &Attribution) -> String {
    match found.dropped.table.as_str() {
        "filter" => program(found).to_owned(),
        table => format!("{} -t {table}", program(found)),
    }
}

/// The command that takes the rule away, or opens the policy.
fn delete(found: &Attribution) -> String {
    let dropped = &found.dropped;
    match (&dropped.rule, dropped.backend) {
        (Some(rule), Backend::Nft) => match rule.handle {
            Some(handle) => format!(
                "nft delete rule {} {} {} handle {handle}",
                dropped.family.name(),
                dropped.table,
                dropped.chain
            ),
            None => format!(
                "nft -a list chain {} {} {}",
                dropped.family.name(),
                dropped.table,
                dropped.chain
            ),
        },
        (None, Backend::Nft) => format!(
            "nft chain {} {} {} '{{ policy accept; }}'",
            dropped.family.name(),
            dropped.table,
            dropped.chain
        ),
        (Some(rule), _) => match rule.text.strip_prefix("-A ") {
            // By what it says: a number is another rule's as soon as the command is run twice. `iptables-save` quotes for
            // its own parser; what a shell would expand is left to the number.
            Some(text) if !text.contains(['$', '`', '\\', '!']) || is_plain_negation(text) => {
                format!("{} -D {text}", tables(found))
            }
            _ => format!("{} -D {} {}", tables(found), dropped.chain, rule.number),
        },
        (None, _) => format!("{} -P {} ACCEPT", tables(found), dropped.chain),
    }
}

/// Whether each `!` stands alone, which no shell expands, and nothing else is special.
fn is_plain_negation(text: &str) -> bool {
    !text.contains(['$', '`', '\\'])
        && text
            .split(' ')
            .all(|word| word == "!" || !word.contains('!'))
}
