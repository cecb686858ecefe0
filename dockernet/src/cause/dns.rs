//! A container's name server that cannot be reached, and the engine's own one.

use std::net::{IpAddr, Ipv4Addr};

use super::{Case, Verdict};
use crate::{
    host::listeners::{Transport, listening_on},
    model::{Endpoint, EndpointKind, Impact, Rule},
};

/// Where the engine's resolver is asked in containers on user-defined networks.
const EMBEDDED: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));

/// Row 79. The resolver listens on a port of its own; rules inside the container lead port 53 to it.
pub(super) fn embedded_broken(case: &Case<'_>) -> Option<Verdict> {
    let packet = case.packet()?;
    let transport = match packet.protocol.as_ref() {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        _ => return None,
    };
    if !case.in_container()
        || !case.evidence.reason_or_silent("NO_SOCKET")
        || !case
            .evidence
            .freed_in(&["tcp_v4_rcv", "__udp4_lib_rcv", "udp_rcv"])
        || packet.dst != Some(EMBEDDED)
        || packet.dst_port != Some(53)
    {
        return None;
    }
    let container = case.container_here()?;
    let pid = u32::try_from(container.pid?).ok()?;
    if !case
        .state
        .resolver(Some(pid))
        .ok()?
        .nameservers
        .contains(&EMBEDDED)
    {
        return None;
    }
    let (_, firewall) = case.firewall()?;
    let is_led = |transport: Transport| firewall.leads_elsewhere(transport.number(), EMBEDDED, 53);
    if !firewall.notes.is_empty() || is_led(transport) {
        return None;
    }
    let all = case.state.listeners(&case.netns()?).ok()?;
    let held = |transport: Transport| {
        let mut all = all.iter();
        all.find(|listener| listener.transport == transport && listener.local.ip() == EMBEDDED)
    };
    let resolver = held(transport);
    let name = &container.name;
    let protocol = &packet.protocol;
    let verdict = Verdict::confirmed(
        "embedded-dns-broken",
        format!("{name} asks Docker's resolver, 127.0.0.11, and the rules inside {name} that lead {protocol} port 53 to it are gone"),
    )
    .fact(format!("no rule in {name}'s nat table translates {protocol} to 127.0.0.11:53"))
    .maybe_fact(resolver.map(|socket| format!("the resolver listens on {}/{protocol} there", socket.local)));
    // Of both protocols: what is too long for UDP is asked by TCP.
    let rules: Vec<String> = [(Transport::Udp, "udp"), (Transport::Tcp, "tcp")]
        .into_iter()
        .filter(|(transport, _)| !is_led(*transport))
        .filter_map(|(transport, protocol)| {
            let socket = held(transport)?;
            Some(case.command(&format!(
                "iptables -t nat -I OUTPUT -d 127.0.0.11 -p {protocol} --dport 53 -j DNAT --to-destination {}",
                socket.local
            )))
        })
        .collect();
    let verdict =
        verdict.maybe_run((!rules.is_empty()).then(|| (rules.join(" && "), name.clone())));
    Some(
        verdict
            .run(format!("docker restart {name}"), "host", None, Impact::RestartsContainers)
            .advise(format!("find what flushes the nat table inside {name} (its start script, a VPN client, iptables-restore)")),
    )
}

/// Rows 78 and 80. A name server at a loopback address means the container itself, where nobody serves names.
pub(super) fn loopback_resolver(case: &Case<'_>) -> Option<Verdict> {
    let packet = case.packet()?;
    let server = packet.dst.filter(IpAddr::is_loopback)?;
    if !case.in_container()
        || !case.evidence.reason_or_silent("NO_SOCKET")
        || packet.dst_port != Some(53)
        || server == EMBEDDED
    {
        return None;
    }
    let container = case.container_here()?;
    let pid = u32::try_from(container.pid?).ok()?;
    let own = case.state.resolver(Some(pid)).ok()?;
    let all = case.state.listeners(&case.netns()?).ok()?;
    let mut sockets = [Transport::Udp, Transport::Tcp]
        .into_iter()
        .flat_map(|transport| listening_on(&all, transport, 53));
    let is_served = sockets.any(|socket| socket.accepts(server));
    if is_served {
        return None;
    }
    let name = &container.name;
    let (id, fact) = if own.nameservers.contains(&server) {
        (
            "dns-wrong-resolver",
            format!("{name}'s resolv.conf: nameserver {server}"),
        )
    } else if own.is_embedded() && container.dns.contains(&server) {
        (
            "dns-upstream-unreachable",
            format!(
                "Docker's resolver was told to ask {server} for {name} (--dns), and asks from inside {name}"
            ),
        )
    } else {
        return None;
    };
    let advice = if container.dns.contains(&server) {
        format!(
            "recreate {name} with a --dns that it can reach (the host's address instead of loopback)"
        )
    } else {
        "name a server that containers can reach in \"dns\" of /etc/docker/daemon.json, or give --dns".to_owned()
    };
    Some(
        Verdict::confirmed(
            id,
            format!("{name} asks {server} for names: that is {name} itself, and no name server runs there"),
        )
        .fact(fact)
        .fact("nothing listens on port 53 there")
        .advise(advice),
    )
}

/// Row 78. The engine's embedded server asks from inside the container's namespace, so the question bears the
/// container's address.
pub(super) fn upstream_unreachable(case: &Case<'_>, underlying: &Verdict) -> Option<Verdict> {
    /// What stops one flow rather than all that the host forwards: those keep their own name.
    const SELECTIVE: &[&str] = &[
        "docker-user-drop",
        "forward-drop",
        "ipv6-filter-drop",
        "foreign-table-drop",
        "network-isolation",
        "route-rejects",
        "container-firewall-drop",
        "host-input-drop",
    ];
    let id = underlying.cause.id.as_ref();
    if !SELECTIVE.contains(&id) || underlying.rule.as_ref().is_some_and(takes_all) {
        return None;
    }
    let (name, server, question) = parties(case)?;
    // What drops answers is about name servers only if it says so: a rule that kills all answers keeps its own name.
    let about_dns = |rule: &Rule| {
        let address = server.to_string();
        rule.rule
            .split([' ', '/', '"', ',', '{', '}'])
            .any(|word| word == "53" || word == "domain" || word == address)
    };
    if !question && !underlying.rule.as_ref().is_some_and(about_dns) {
        return None;
    }
    let container = case.inventory.container_named(name)?;
    if !is_upstream(case, container.pid, &container.dns, server) {
        return None;
    }
    let mut verdict = Verdict::when(
        underlying.cause.confidence == crate::model::Confidence::Confirmed,
        "dns-upstream-unreachable",
        format!(
            "{} {server}: {}",
            if question {
                format!("{name} cannot reach its name server")
            } else {
                format!("{name} gets no answer from its name server")
            },
            underlying.cause.summary
        ),
    )
    .fact(format!("{server} is a name server of {name}"));
    verdict
        .cause
        .evidence
        .extend(underlying.cause.evidence.iter().cloned());
    verdict
        .cause
        .fix
        .extend(underlying.cause.fix.iter().cloned());
    verdict.rule.clone_from(&underlying.rule);
    Some(verdict.advise("or give the container another server: --dns ADDRESS, or \"dns\" in /etc/docker/daemon.json"))
}

/// The container, the other end, and whether this is a question to it (else an answer of its).
fn parties<'a>(case: &Case<'a>) -> Option<(&'a str, IpAddr, bool)> {
    const DOMAIN: u16 = 53;
    let packet = case.packet()?;
    let drop = &case.evidence.drop;
    let name = |end: &'a Endpoint| {
        let container = end.container.as_ref()?;
        (end.kind == EndpointKind::Container).then_some(container.name.as_str())
    };
    if packet.dst_port == Some(DOMAIN) {
        let (server, _) = drop.ends().destination?;
        return Some((name(&drop.source)?, server, true));
    }
    if packet.src_port == Some(DOMAIN) {
        return Some((name(&drop.destination)?, packet.src?, false));
    }
    None
}

/// Whether it is a policy, or a rule without conditions: then names are the least of what fails.
fn takes_all(rule: &Rule) -> bool {
    let mut words = rule.rule.split(' ').skip(1);
    rule.rule == "policy drop"
        || matches!(
            (words.next(), words.next(), words.next()),
            (Some("-A"), Some(_), Some("-j" | "-g"))
        )
        || matches!(
            rule.rule.split(' ').collect::<Vec<_>>().as_slice(),
            [_, "drop" | "reject"]
        )
}

fn is_upstream(case: &Case<'_>, pid: Option<i32>, given: &[IpAddr], server: IpAddr) -> bool {
    if given.contains(&server) {
        return true;
    }
    let own = pid
        .and_then(|pid| u32::try_from(pid).ok())
        .and_then(|pid| case.state.resolver(Some(pid)).ok());
    let host = case.state.resolver(None).unwrap_or_default();
    own.is_some_and(|own| {
        own.nameservers.contains(&server)
            || own
                .upstreams_or_host(&host)
                .iter()
                .any(|upstream| upstream.address == server)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_without_conditions_is_not_about_names() {
        let rule = |text: &str| Rule {
            backend: "iptables-nft".into(),
            table: "ip filter".into(),
            chain: "FORWARD".into(),
            rule: text.into(),
            handle: None,
            how: "simulated".into(),
            owner: "user".into(),
        };
        for text in ["policy drop", "#1 -A FORWARD -j DROP", "#2 drop"] {
            assert!(takes_all(&rule(text)), "{text}");
        }
        for text in [
            "#1 -A FORWARD -p udp -m udp --dport 53 -j DROP",
            "#1 -A DOCKER-USER -d 203.0.113.7/32 -j DROP",
            "#1 udp dport 53 drop",
        ] {
            assert!(!takes_all(&rule(text)), "{text}");
        }
    }
}
