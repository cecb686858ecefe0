//! Packets for a container that the host's routes do not lead to the container's bridge.

use std::net::IpAddr;

use super::{
    Case, Verdict,
    bridged::{bridge_of, bridged, lost_address},
};
use crate::{
    host::{
        firewall::Hook,
        route::{
            Family, Route, TABLE_LOCAL, TABLE_MAIN,
            fib::{self, FibMatch},
            lookup::RouteQuery,
            rule::{PolicyRule, RuleVerdict},
            table_name,
        },
    },
    model::{EndpointKind, Impact, Link, Network, Subnet},
};

/// The table that distributions leave empty, which the last rule of every system leads to.
const TABLE_DEFAULT: u32 = 253;

/// Rows 6, 7 and 11: where the route to a container does not lead to its bridge, whatever drops the packet on its wrong
/// way (the policy of FORWARD, as a rule) is not the cause.
///
/// What a container sends is refused for it too, by the reverse path filter: where answers would go astray. Loosening the filter would
/// mend nothing.
pub(super) fn misrouted(case: &Case<'_>) -> Option<Verdict> {
    if !case.in_host() {
        return None;
    }
    let place = Place::of(case)?;
    let dst = place.container(case)?;
    let (network, subnet) = bridged(case, dst)?;
    let bridge = bridge_of(case, network)?;
    // A bridge that is down has no route either: another cause.
    if !bridge.up || case.evidence.out_device.as_deref() == Some(&bridge.name) {
        return None;
    }
    if place == Place::Filtered && case.device() != bridge.name {
        return None;
    }
    let query = place.query(case, dst)?;
    let found = case.state.matching_route(case.host, &query).ok()?;
    if let FibMatch::Route { route, .. } = &found
        && (route.oif.as_deref() == Some(&bridge.name) || route.oif.is_none())
    {
        // Right by now, or by several ways.
        let left = case.evidence.out_device.as_deref()?;
        return route
            .oif
            .is_some()
            .then(|| transient(dst, left, &bridge.name));
    }
    let verdict = lost_address(case.inventory, network, subnet, bridge)
        .or_else(|| by_rule(case, &query, &found, subnet, bridge))
        .or_else(|| by_route(&found, network, subnet, bridge))?;
    let verdict = verdict.maybe_fact((place == Place::Filtered).then(|| {
        format!("so the reverse path filter (rp_filter) refuses what {dst} sends: answers to it would not leave by {}", bridge.name)
    }));
    Some(verdict.fact(match (&found, &case.evidence.out_device) {
        (FibMatch::Route { route, .. }, _) => format!("the way to {dst} is: {route}"),
        (_, Some(device)) => format!("the packet was to leave by {device}"),
        _ => format!("there is no route to {dst}"),
    }))
}

/// What dropped the packet on its wrong way is not the cause, and what led it there is gone.
fn transient(dst: IpAddr, left: &str, bridge: &str) -> Verdict {
    Verdict::unexplained(format!(
        "the host was about to send what is for {dst} out by {left} instead of {bridge}: its routes were wrong for a moment"
    ))
    .fact(format!("by now the way to {dst} is by {bridge}"))
    .advise("if it comes back, see who changes routes, rules or addresses: ip monitor route rule address")
}

/// How a packet on its wrong way shows itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It was being forwarded.
    Forwarded,
    /// The host had sent it, and it has come back.
    Returned,
    /// A container had sent it, and answers to it would not go back by the bridge that it came in by.
    Filtered,
}

impl Place {
    fn of(case: &Case<'_>) -> Option<Self> {
        let evidence = case.evidence;
        if evidence.drop.source.kind == EndpointKind::Container
            && super::routing::reverse_filtered(case).is_some()
        {
            return Some(Self::Filtered);
        }
        if evidence.drop.destination.kind != EndpointKind::Container {
            return None;
        }
        let netfilter = matches!(evidence.reason(), "NETFILTER_DROP" | "");
        let hook = evidence.hook.filter(|point| netfilter && !point.bridge);
        let forwarded = hook.is_some_and(|point| point.hook == Hook::Forward)
            // Between the host and a router that sends it back until its time is up.
            || evidence.freed_in(&["ip_forward", "ip6_forward"]) && evidence.reason_or_silent("IP_INHDR")
            || evidence.freed_in(&["ip_error"])
                && matches!(evidence.reason(), "" | "NOT_SPECIFIED" | "IP_INNOROUTES")
            || super::neighbour::gave_up(case);
        if forwarded {
            return Some(Self::Forwarded);
        }
        let refused = evidence.reason() == "IP_LOCAL_SOURCE"
            || hook.is_some_and(|point| point.hook == Hook::Prerouting);
        let src = case.src()?;
        (refused && own(case, src).is_some()).then_some(Self::Returned)
    }

    /// The container that is not reached.
    fn container(self, case: &Case<'_>) -> Option<IpAddr> {
        match self {
            Self::Forwarded | Self::Returned => case.dst(),
            Self::Filtered => case.src(),
        }
    }

    /// The question that its route was the answer to.
    fn query(self, case: &Case<'_>, dst: IpAddr) -> Option<RouteQuery> {
        match self {
            Self::Forwarded => super::routing::query(case),
            Self::Returned => Some(RouteQuery::to(dst).from(case.src()?)),
            Self::Filtered => Some(RouteQuery::to(dst)),
        }
    }
}

/// The interface of the host that has this address.
fn own<'a>(case: &Case<'a>, address: IpAddr) -> Option<&'a Link> {
    let info = case.inventory.netns(case.inventory.host_key())?;
    let has = |link: &&Link| link.addresses.iter().any(|net| net.addr() == address);
    info.links.iter().find(has)
}

/// Row 6.
fn by_rule(
    case: &Case<'_>,
    query: &RouteQuery,
    found: &FibMatch,
    subnet: &Subnet,
    bridge: &Link,
) -> Option<Verdict> {
    let FibMatch::Route { rule, route } = found else {
        return None;
    };
    let RuleVerdict::Table(table) = rule.verdict else {
        return None;
    };
    if [TABLE_MAIN, TABLE_LOCAL, TABLE_DEFAULT].contains(&table) {
        return None;
    }
    let family = Family::of(query.destination);
    let routes = case.state.routes(case.host, family).ok()?;
    let main = PolicyRule::new(family, 32766, RuleVerdict::Table(TABLE_MAIN));
    let right = fib::find(&[main], &routes, query);
    let FibMatch::Route { route: right, .. } = right else {
        return None;
    };
    if right.oif.as_deref() != Some(&bridge.name) {
        return None;
    }
    let (ip, prefix) = (family.ip_command(), subnet.prefix);
    let way = route.oif.as_deref().unwrap_or("another interface");
    let verdict = Verdict::confirmed(
        "policy-rule-misroutes",
        format!(
            "a policy rule looks for the way to {} in table {}, which leads out by {way} instead of {}",
            query.destination,
            table_name(table),
            bridge.name
        ),
    )
    .fact(format!("ip rule: {rule}"))
    .fact(format!("the main table has it right: {right}"));
    let verdict = match rule.priority.checked_sub(1).filter(|before| *before > 0) {
        Some(before) => verdict.run(
            format!("{ip} rule add to {prefix} lookup main priority {before}"),
            "host",
            Some(format!(
                "where the other rule is made: [RoutingPolicyRule] To={prefix} Table=main Priority={before} of networkd, \
                 routing-rules of NetworkManager, PostUp of wg-quick"
            )),
            Impact::None,
        ),
        None => verdict.run(rule.delete_command(), "host", None, Impact::Interrupts),
    };
    Some(verdict)
}

/// Row 7; and a connected route that is simply gone, which has no name in the catalogue.
fn by_route(
    found: &FibMatch,
    network: &Network,
    subnet: &Subnet,
    bridge: &Link,
) -> Option<Verdict> {
    let (name, prefix) = (&bridge.name, subnet.prefix);
    let narrow = |route: &Route| {
        route.prefix.prefix_len() >= prefix.prefix_len() && prefix.contains(&route.prefix.network())
    };
    match found {
        FibMatch::Route { route, rule } if narrow(route) && !route.kind.rejects() => Some(
            Verdict::confirmed(
                "route-shadows-subnet",
                format!(
                    "a route leads part of {prefix}, the subnet of {}, away from {name}",
                    network.name
                ),
            )
            .maybe_fact((rule.priority < 32766).then(|| format!("ip rule: {rule}")))
            .run(route.delete_command(), "host", None, Impact::Interrupts)
            .advise(format!(
                "find who adds it (a VPN client, a routing daemon, dhcp) and exclude {prefix} there; or move Docker's networks: \
                 \"bip\" and \"default-address-pools\" in /etc/docker/daemon.json, docker network create --subnet"
            )),
        ),
        // The route that a bridge's address brings along.
        FibMatch::Route { route, .. } if route.kind.rejects() => None,
        FibMatch::Route { .. } | FibMatch::Nothing => {
            let own = bridge.addresses.iter().find(|net| prefix.contains(&net.addr()))?;
            let ip = Family::of(own.addr()).ip_command();
            Some(
                Verdict::unexplained(format!("the route to {}, {prefix} by {name}, is gone", network.name))
                    .fact(format!("{name} has {own}, and no route to {prefix} leads to it"))
                    .run(
                        format!("{ip} route add {prefix} dev {name} proto kernel scope link src {}", own.addr()),
                        "host",
                        None,
                        Impact::None,
                    ),
            )
        }
        FibMatch::Rule(_) | FibMatch::Unsure(_) => None,
    }
}
