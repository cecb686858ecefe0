//! The host's own firewall towards containers, and rules in more than one backend.

use super::forwarding::{forwarded, whole};
use crate::{
    cause::{Verdict, accept},
    check::{
        Finding, Grade, Sight, Subject,
        finding::Affected,
        probe::{Judged, Probe, judge},
        sight::Member,
    },
    host::firewall::{Attribution, Backend, Hook, Owner},
    model::{Impact, Rule},
};

/// Ports of the host that are tried before it is said that all are closed.
const PORTS: usize = 16;

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = closed(sight);
    found.extend(backends(sight));
    found
}

/// What containers ask the host itself for: its services, and published ports by its address.
fn closed(sight: &Sight<'_>) -> Vec<Finding> {
    let mut ports: Vec<(u8, u16)> = sight
        .host
        .listeners
        .iter()
        .filter(|listener| !listener.is_loopback() && listener.remote.is_none())
        .map(|listener| (listener.transport.number(), listener.local.port()))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports.truncate(PORTS);
    let mut found = Vec::new();
    for (network, bridge, members) in forwarded(sight) {
        let Some(link) = sight.host.link(bridge) else {
            continue;
        };
        let gateway = link
            .addresses
            .iter()
            .map(ipnet::IpNet::addr)
            .find(std::net::IpAddr::is_ipv4);
        let own = members.iter().find_map(Member::ipv4);
        let (Some(gateway), Some(own)) = (gateway, own) else {
            continue;
        };
        let judged: Vec<Judged> = ports
            .iter()
            .map(|(proto, port)| {
                let probe = Probe::new(*proto, own, gateway, *port);
                judge(&sight.host, &probe.first(Some(bridge), None), Hook::Input)
            })
            .collect();
        let mut drops: Vec<&Attribution> = judged
            .iter()
            .filter_map(|judged| match judged {
                Judged::Drops(found) => Some(&**found),
                _ => None,
            })
            .collect();
        let all = drops.len() == judged.len();
        let Some(first) = drops.pop() else { continue };
        // A policy that lets in what was allowed is how host firewalls are meant; a rule against all of a bridge hits
        // what Docker itself needs: published ports by the host's own address.
        let grade = match (&first.dropped.rule, all) {
            (Some(_), true) => Grade::Risk,
            _ => Grade::Note,
        };
        let what = if all {
            format!(
                "the host's own firewall drops all that comes from {bridge}: containers reach neither its services nor ports published on its address"
            )
        } else {
            format!(
                "the host's own firewall drops some of what comes from {bridge} to its services"
            )
        };
        let verdict = Verdict::confirmed("host-input-drop", what)
            .fact(format!(
                "{} in table {}: {}",
                first.place(),
                first.dropped.table,
                first.words()
            ))
            .advise("if this should pass: accept what containers need from the host");
        let verdict = match first.owner {
            Owner::Ufw => verdict.advise(format!("with ufw: ufw allow in on {bridge} to any port PORT")),
            Owner::Firewalld => verdict.advise("with firewalld: firewall-cmd --zone=ZONE --add-port=PORT/tcp, and again with --permanent"),
            _ => verdict.run(accept(first, &[("i", bridge)], None), "host", None, Impact::OpensFirewall),
        };
        let verdict = verdict.rule(Rule::from(first));
        let affected = members
            .iter()
            .map(|member| Affected::container(member.container));
        found.push(Finding::new(grade, Subject::network(&network.name), verdict).affects(affected));
    }
    found
}

/// Rules of iptables-legacy and of nf_tables at once: both count, and each program shows its own.
fn backends(sight: &Sight<'_>) -> Option<Finding> {
    let firewall = &sight.host.firewall;
    if !firewall.is_mixed() {
        return None;
    }
    let dockers: Vec<&str> = firewall
        .tables()
        .filter(|(_, table)| table.chain("DOCKER").is_some())
        .map(|(backend, _)| backend.name())
        .collect();
    let docker = dockers.first().copied().unwrap_or("neither");
    let other = if docker == Backend::IptablesLegacy.name() {
        "iptables-nft"
    } else {
        "iptables-legacy"
    };
    let verdict = Verdict::confirmed(
        "iptables-backend-mix",
        "iptables-legacy and iptables-nft both hold rules: a packet has to pass both, and each program shows its own alone",
    )
    .fact(format!("Docker's rules are in {docker}"))
    .fact(format!("{other} has rules as well"))
    .advise(format!(
        "choose one (update-alternatives --config iptables), move the rules of {other} there, then empty it, its policies first: for p in {other} {}; do for c in INPUT FORWARD OUTPUT; do $p -P $c ACCEPT; done; for t in filter nat mangle raw; do $p -t $t -F; done; done",
        other.replacen("ip", "ip6", 1)
    ));
    let affected = forwarded(sight)
        .iter()
        .flat_map(|(.., members)| members)
        .flat_map(|member| whole(member.container))
        .collect::<Vec<_>>();
    Some(Finding::new(Grade::Risk, Subject::host(), verdict).affects(affected))
}
