//! Address translation: what published ports and outgoing connections come down to.

use std::net::IpAddr;

use dockernet_common::packet::TCP;

use super::{
    firewall::{number, uplink},
    forwarding::{forwarded, whole},
};
use crate::{
    cause::{Verdict, delete, translated_again, untracked},
    check::{
        Finding, Grade, Sight, Subject,
        finding::Affected,
        gather::Gather,
        probe::{Probe, somewhere, translation},
        sight::{Member, has_been_given},
    },
    host::{
        firewall::{Dropped, Hook, NatKind, NatTarget, Translation},
        route::Family,
    },
    model::{Impact, Network, Published},
};

pub(in crate::check) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut gather = Gather::default();
    for (network, bridge, members) in forwarded(sight) {
        for member in &members {
            published(sight, network, member, &mut gather);
        }
        gather
            .findings
            .extend(masquerade(sight, network, bridge, &members));
    }
    let mut found = gather.findings;
    found.extend(dead_targets(sight, &found));
    found
}

/// What is translated for clients of the outside.
fn published(sight: &Sight<'_>, network: &Network, member: &Member<'_>, gather: &mut Gather) {
    let container = member.container;
    if member.attachment.gateway.is_none() {
        return;
    }
    for published in &container.published {
        let affected = [Affected::port(container, published)];
        if published.host_ip.is_loopback() {
            let verdict = Verdict::confirmed(
                "published-on-loopback",
                "the port is published for this host alone: other machines are refused",
            )
            .fact(format!("published on {}", published.host_ip))
            .advise(format!(
                "if others should reach it: publish it without the address (-p {}:{})",
                published.host_port, published.container_port
            ));
            gather.add(
                Finding::new(Grade::Note, Subject::container(container), verdict),
                affected,
            );
            continue;
        }
        if network.gateway_mode.as_deref() == Some("routed") {
            let verdict = Verdict::confirmed(
                "routed-mode-host-port",
                format!(
                    "{} is routed, so port {} of the host leads nowhere: the container is reached by its own address",
                    network.name, published.host_port
                ),
            )
            .fact("com.docker.network.bridge.gateway_mode_ipv4 = routed")
            .advise("use the container's address, with a route to its subnet on the clients' router; or recreate the network with gateway_mode_ipv4=nat");
            gather.add(
                Finding::new(Grade::Risk, Subject::container(container), verdict),
                affected,
            );
            continue;
        }
        if !network.is_nat() || !sight.daemon.switch("iptables", true) {
            continue;
        }
        let family = Family::of(published.host_ip);
        let (Some(address), Some(proto)) = (member.address(family), number(&published.protocol))
        else {
            continue;
        };
        let Some(probe) = client(sight, published, proto, family) else {
            continue;
        };
        let uplink = uplink(sight, family);
        let iif = uplink.map(|uplink| uplink.link.name.as_str());
        let packet = probe.untranslated(iif, None);
        match translation(&sight.host, &packet, Hook::Prerouting) {
            Translation::To(target, rule) => {
                if let Some((grade, verdict)) =
                    wrong(sight, published, member, &target, &rule, address)
                {
                    gather.add(
                        Finding::new(grade, Subject::container(container), verdict),
                        affected,
                    );
                }
            }
            Translation::CannotTell(at) => {
                let what = "where its published port leads";
                let why = format!("it depends on a rule that cannot be told: {at}");
                gather.add(
                    Finding::unknown(Subject::container(container), what, why),
                    affected,
                );
            }
            Translation::Untracked {
                rule,
                instead: true,
            } => {
                let (grade, verdict) = missing(sight, published, Some(&rule));
                gather.add(Finding::new(grade, Subject::host(), verdict), affected);
            }
            // Engines without ip6tables serve IPv6 by docker-proxy alone.
            Translation::Nothing | Translation::Untracked { .. } if family == Family::V6 => {}
            Translation::Nothing | Translation::Untracked { .. } => {
                let (grade, verdict) = missing(sight, published, None);
                gather.add(Finding::new(grade, Subject::host(), verdict), affected);
            }
        }
    }
}

pub(super) fn client(
    sight: &Sight<'_>,
    published: &Published,
    proto: u8,
    family: Family,
) -> Option<Probe> {
    let own = || {
        let uplink = uplink(sight, family)?;
        let mut addresses = uplink.link.addresses.iter().map(ipnet::IpNet::addr);
        addresses.find(|address| {
            Family::of(*address) == family
                && !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
        })
    };
    let host = published.host_ip;
    let to = if host.is_unspecified() { own()? } else { host };
    Some(Probe::new(
        proto,
        somewhere(family),
        to,
        published.host_port,
    ))
}

/// Nothing leads to the container; `kept_out` by this rule.
fn missing(
    sight: &Sight<'_>,
    published: &Published,
    kept_out: Option<&Dropped>,
) -> (Grade, Verdict) {
    let proxy = sight
        .daemon
        .has_proxy(&published.protocol, published.host_port);
    let summary = if kept_out.is_some() {
        "what comes to the published port is kept from the rule that leads to the container"
    } else {
        "no rule leads from the published port to the container"
    };
    let verdict = Verdict::confirmed("nat-rules-missing", summary);
    let verdict = match kept_out {
        Some(_) => verdict,
        None if sight
            .host
            .firewall
            .has_docker_chains(crate::host::firewall::Family::Ip) =>
        {
            verdict.fact("the rule that translates its destination is missing in table nat")
        }
        None => verdict.fact("Docker's chains are gone from the firewall"),
    };
    let verdict = translated_again(verdict, kept_out);
    let verdict = if proxy {
        verdict.fact("docker-proxy still serves it, and the container sees its gateway as every client's address")
    } else {
        verdict.fact("no docker-proxy serves it either")
    };
    (if proxy { Grade::Risk } else { Grade::Broken }, verdict)
}

/// What is wrong with where a rule leads, if anything.
fn wrong(
    sight: &Sight<'_>,
    published: &Published,
    member: &Member<'_>,
    target: &NatTarget,
    rule: &str,
    address: IpAddr,
) -> Option<(Grade, Verdict)> {
    if target.kind != NatKind::Dnat {
        return None;
    }
    let to = target.address?;
    let port = target.port.unwrap_or(published.host_port);
    let own = has_been_given(member.container, to);
    if own && port == published.container_port {
        return None;
    }
    let whose = holder(sight, to);
    let summary = match &whose {
        None => format!(
            "port {} leads to {to}, an address that nobody has",
            published.host_port
        ),
        Some(_) if own => format!(
            "port {} leads to port {port} of the container, not to {}",
            published.host_port, published.container_port
        ),
        Some(name) => format!(
            "port {} leads to {to}, which is {name}'s",
            published.host_port
        ),
    };
    let verdict = Verdict::when(whose.is_none(), "dnat-to-dead-address", summary)
        .fact(rule)
        .fact(format!(
            "Docker gave {address} to {}",
            member.container.name
        ));
    let stray = number(&published.protocol).and_then(|proto| {
        sight
            .host
            .firewall
            .stray_dnat(proto, published.host_port, to)
    });
    Some((Grade::Broken, led_right(verdict, stray)))
}

/// Adds what makes a port lead where it should: somebody's rule is deleted, Docker writes its own anew.
fn led_right(verdict: Verdict, stray: Option<Dropped>) -> Verdict {
    match stray {
        Some(rule) => verdict.advise("that rule is none of Docker's").run(
            delete(&rule),
            "host",
            None,
            Impact::Interrupts,
        ),
        None => verdict.restart_engine(),
    }
}

/// Who has an address: a container, or the host.
fn holder(sight: &Sight<'_>, address: IpAddr) -> Option<String> {
    if sight.host.has_address(address) {
        return Some("the host".into());
    }
    let space = sight.spaces.iter().find(|space| space.has_address(address));
    space.map(|space| space.label.clone()).or_else(|| {
        sight.inventory.label(address).or_else(|| {
            let container = sight.inventory.container_by_address(address)?;
            container.ended.is_none().then(|| container.name.clone())
        })
    })
}

/// Rules that lead into a Docker network, to an address that nobody has, and that no published port told of.
fn dead_targets(sight: &Sight<'_>, told: &[Finding]) -> Vec<Finding> {
    let mut gather = Gather::default();
    for target in sight.host.firewall.dnat_targets() {
        let Some(network) = sight.inventory.network_of(target.address) else {
            continue;
        };
        let address = target.address;
        let known = told.iter().any(|finding| {
            finding
                .cause
                .summary
                .contains(&format!("leads to {address},"))
        });
        if known || holder(sight, address).is_some() || network.driver != "bridge" {
            continue;
        }
        let assigned = sight
            .running()
            .iter()
            .any(|container| has_been_given(container, address));
        // Its container has lost it: another finding.
        if assigned {
            continue;
        }
        let port = target
            .host_port
            .map_or_else(|| "a rule".to_owned(), |port| format!("port {port}"));
        let verdict = Verdict::confirmed(
            "dnat-to-dead-address",
            format!(
                "{port} leads to {address}, an address of {} that nobody has",
                network.name
            ),
        );
        let stray = target
            .proto
            .zip(target.host_port)
            .and_then(|(proto, port)| sight.host.firewall.stray_dnat(proto, port, address));
        let verdict = led_right(verdict, stray);
        let finding = Finding::new(Grade::Risk, Subject::network(&network.name), verdict);
        if !gather.findings.contains(&finding) {
            gather.findings.push(finding);
        }
    }
    gather.findings
}

/// Whether what containers send out gets an address that answers come back to.
fn masquerade(
    sight: &Sight<'_>,
    network: &Network,
    bridge: &str,
    members: &[Member<'_>],
) -> Option<Finding> {
    if !network.masquerade || !network.is_nat() {
        return None;
    }
    let uplink = uplink(sight, Family::V4)?;
    let address = members.iter().find_map(Member::ipv4)?;
    let probe = Probe::new(TCP, address, somewhere(Family::V4), 443);
    let packet = probe.untranslated(Some(bridge), Some(&uplink.link.name));
    let arriving = probe.untranslated(Some(bridge), None);
    let masqueraded = translation(&sight.host, &packet, Hook::Postrouting) != Translation::Nothing;
    let kept_out = match translation(&sight.host, &arriving, Hook::Prerouting) {
        Translation::Untracked { rule, .. } if masqueraded => Some(rule),
        _ if masqueraded => return None,
        _ => None,
    };
    let prefix = network
        .subnets
        .iter()
        .map(|subnet| subnet.prefix)
        .find(|prefix| prefix.contains(&address));
    let subnet = prefix.map_or_else(|| address.to_string(), |prefix| prefix.to_string());
    let lost = || {
        Verdict::confirmed(
            "masquerade-missing",
            format!(
                "what containers of {} send out keeps their own addresses, to which no answer comes back",
                network.name
            ),
        )
    };
    let command = format!(
        "{} -t nat -I POSTROUTING -s {subnet} ! -o {bridge} -j MASQUERADE",
        sight.host.firewall.docker_iptables()
    );
    let rules = if let Some(rule) = &kept_out {
        untracked(lost(), rule)
    } else if sight.daemon.switch("iptables", true) {
        let way = &uplink.link.name;
        let is_there = prefix.is_some_and(|prefix| sight.host.firewall.has_masquerade_for(prefix));
        if is_there {
            lost()
                .fact(format!("a rule in table nat translates {subnet}, and what goes out by {way} does not come to it: one before it ends the chain, or it is for another interface"))
                .advise("find the rule before it (a VPN's script?): iptables -t nat -S POSTROUTING; restarting Docker does not help")
                .run(command, "host", None, Impact::None)
        } else {
            lost()
                .fact(format!(
                    "no rule in table nat translates {subnet} on its way out by {way}"
                ))
                .run(command, "host", None, Impact::None)
                .restart_engine()
        }
    } else {
        Verdict::when(
            false,
            "masquerade-missing",
            format!("what containers of {} send out keeps their own addresses: unless the clients' router knows them, no answer comes back", network.name),
        )
        .fact("dockerd was told to write no rules (iptables: false)")
        .run(command, "host", None, Impact::None)
    };
    let grade = if sight.daemon.switch("iptables", true) {
        Grade::Broken
    } else {
        Grade::Risk
    };
    let affected = members.iter().flat_map(|member| {
        whole(member.container)
            .into_iter()
            .map(|affected| Affected {
                published: None,
                ..affected
            })
    });
    Some(Finding::new(grade, Subject::network(&network.name), rules).affects(affected))
}
