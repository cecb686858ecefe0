//! The reverse path filter: strict, and answers that would leave by another interface.

use super::forwarding::whole;
use crate::{
    cause::Verdict,
    check::{Finding, Grade, Sight, Subject, sight::Uplink, space::Space},
    host::{
        inside,
        route::{Family, RouteKind, fib::FibMatch, lookup::RouteQuery},
        sysctl::{display_key, interface_key},
    },
    model::{Impact, LinkKind},
};

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = host(sight);
    found.extend(containers(sight));
    found
}

/// The larger of `all` and the device's value counts (net/ipv4/fib_frontend.c `fib_validate_source`).
fn strict(sight: &Sight<'_>, space: &Space, device: &str) -> Option<(i64, i64)> {
    let own = sight.number(space, &interface_key(false, device, "rp_filter"))?;
    let all = sight.number(space, "net/ipv4/conf/all/rp_filter")?;
    (own.max(all) == 1).then_some((own, all))
}

fn facts(verdict: Verdict, device: &str, (own, all): (i64, i64)) -> Verdict {
    let key = interface_key(false, device, "rp_filter");
    verdict
        .fact(format!("{} = {own}", display_key(&key)))
        .fact(format!(
            "net.ipv4.conf.all.rp_filter = {all}; the larger of both counts: strict"
        ))
}

/// Packets refused so far in a namespace (`IPReversePathFilter`, /proc/net/netstat).
fn refused(space: &Space) -> u64 {
    let text = space
        .handle
        .run(|| inside::read("/proc/thread-self/net/netstat"));
    let Ok(Ok(text)) = text else { return 0 };
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        return 0;
    };
    let pairs = names.split(' ').zip(values.split(' '));
    pairs
        .filter(|(name, _)| *name == "IPReversePathFilter")
        .find_map(|(_, value)| value.parse().ok())
        .unwrap_or(0)
}

/// Routes to somewhere beyond the wire, by another interface than the one that clients come in by.
fn host(sight: &Sight<'_>) -> Vec<Finding> {
    let uplinks = sight.uplinks();
    let counted = refused(&sight.host);
    let mut found = Vec::new();
    for uplink in uplinks
        .iter()
        .filter(|uplink| uplink.default || uplink.reserve)
    {
        let name = &uplink.link.name;
        let Some(values) = strict(sight, &sight.host, name) else {
            continue;
        };
        for other in uplinks.iter().filter(|other| other.link.name != *name) {
            let beyond = sight.host.routes.iter().find(|route| {
                route.kind == RouteKind::Unicast
                    && Family::of(route.prefix.addr()) == Family::V4
                    && route.oif.as_ref() == Some(&other.link.name)
                    // What the kernel made of an address is that interface's own neighbourhood.
                    && route.protocol != 2
                    // Answers do not leave by a default route that another comes before.
                    && (route.prefix.prefix_len() > 0 || sight.is_first_default(route))
            });
            let Some(route) = beyond else { continue };
            let grade = if counted == 0 && is_tunnel(other) {
                Grade::Note
            } else {
                Grade::Risk
            };
            let verdict = Verdict::when(
                counted > 0,
                "rp-filter",
                format!(
                    "the reverse path filter is strict at {name}, and answers to {} leave by {}: what comes from there by {name} is dropped",
                    route.prefix, other.link.name
                ),
            );
            let verdict = facts(verdict, name, values)
                .fact(route.to_string())
                .maybe_fact((counted > 0).then(|| {
                    format!("{counted} packets were refused so far (IPReversePathFilter)")
                }));
            let key = interface_key(false, name, "rp_filter");
            let wrong = values.0.max(values.1).to_string();
            let verdict = verdict
                .set_host_sysctl(&sight.files, &key, &wrong, "2")
                .advise("or give answers the same way back: a source-based rule and table for that interface");
            found.push(Finding::new(grade, Subject::host(), verdict));
        }
    }
    found
}

/// A container on two networks: what others send to one comes from addresses that its default route, on the other, answers.
fn containers(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for container in sight.running() {
        let Some(space) = sight.space_of(container) else {
            continue;
        };
        if container.attachments.len() < 2 {
            continue;
        }
        let counted = refused(space);
        let target = sight.host.firewall.dnat_targets();
        for attachment in &container.attachments {
            let Some(interface) = sight.interface_of(container, &attachment.network) else {
                continue;
            };
            let name = &interface.device.name;
            let Some(values) = strict(sight, space, name) else {
                continue;
            };
            let outside = RouteQuery::to(crate::check::probe::somewhere(Family::V4));
            let FibMatch::Route { route, .. } = space.route(&outside) else {
                continue;
            };
            if route.oif.as_ref() == Some(name) {
                continue;
            }
            let served = attachment
                .ipv4
                .is_some_and(|own| target.iter().any(|dnat| dnat.address == own.addr()));
            let grade = match (served, counted) {
                (true, _) => Grade::Broken,
                (_, 0) => Grade::Note,
                _ => Grade::Risk,
            };
            let verdict = Verdict::when(
                served || counted > 0,
                "rp-filter",
                format!(
                    "the reverse path filter in {} is strict at {name} ({}), and its answers to the outside leave by {}: what comes from there by {name} is dropped",
                    container.name,
                    attachment.network,
                    route.oif.as_deref().unwrap_or("another interface")
                ),
            );
            let key = interface_key(false, name, "rp_filter");
            let verdict = facts(verdict, name, values)
                .maybe_fact(served.then(|| "its published ports lead there".to_owned()))
                .maybe_fact((counted > 0).then(|| format!("{counted} packets were refused so far (IPReversePathFilter)")))
                .run(
                    space.command(&format!("sysctl -w {key}=2")),
                    container.name.clone(),
                    None,
                    Impact::None,
                )
                .advise("to keep it: recreate the container with --sysctl net.ipv4.conf.all.rp_filter=2, or choose its default route with --network name=NET,gw-priority=1 (Docker 28+)");
            let affected = if served { whole(container) } else { Vec::new() };
            found.push(
                Finding::new(grade, Subject::container(container), verdict).affects(affected),
            );
        }
    }
    found
}

/// Whether an uplink is a tunnel: what comes from beyond it comes in by it.
fn is_tunnel(uplink: &Uplink<'_>) -> bool {
    matches!(&uplink.link.kind, LinkKind::Other(kind)
        if matches!(kind.as_str(), "tun" | "wireguard" | "ipip" | "gre" | "sit" | "ip6tnl" | "vti" | "xfrm" | "ppp"))
}
