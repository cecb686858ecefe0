//! Ways that lead elsewhere, or nowhere.

use std::net::IpAddr;

use super::{
    firewall::uplink,
    forwarding::{forwarded, whole},
    subnets,
};
use crate::{
    cause::{ROUTE_COMES_BACK, Verdict, another_subnet, on_the_internet, refused},
    check::{
        Finding, Grade, Sight, Subject, finding::Affected, gather::Gather, probe::somewhere,
        sight::Member,
    },
    host::route::{
        Family, Route, RouteKind, TABLE_MAIN, fib::FibMatch, lookup::RouteQuery, rule::RuleVerdict,
    },
    map::marks::is_link_local,
    model::{Impact, Link, Network},
};

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(no_default(sight));
    found.extend(no_advertised(sight));
    found.extend(rejected(sight));
    let misled = to_containers(sight);
    // One rule may do both: that containers are not reached says more.
    found.extend(from_containers(sight).into_iter().filter(|finding| {
        let rule = finding.cause.evidence.first();
        !misled
            .iter()
            .any(|known| rule.is_some_and(|rule| known.cause.evidence.contains(rule)))
    }));
    found.extend(misled);
    found
}

fn all_affected(sight: &Sight<'_>) -> Vec<Affected> {
    forwarded(sight)
        .iter()
        .flat_map(|(.., members)| members)
        .flat_map(|member| whole(member.container))
        .map(|affected| Affected {
            published: None,
            ..affected
        })
        .collect()
}

/// Routing daemons put rejecting routes for whole prefixes in place on purpose (`RTPROT_*`, include/uapi/linux/rtnetlink.h; 80 is
/// Calico's).
fn of_daemon(route: &Route) -> bool {
    matches!(route.protocol, 11 | 12 | 42 | 80 | 186..=192)
}

/// The host has no default route.
fn no_default(sight: &Sight<'_>) -> Option<Finding> {
    let affected = all_affected(sight);
    if affected.is_empty() || !sight.host.unread.is_empty() && sight.host.routes.is_empty() {
        return None;
    }
    let query = RouteQuery::to(somewhere(Family::V4));
    if sight.host.route(&query) != FibMatch::Nothing {
        return None;
    }
    let six = RouteQuery::to(somewhere(Family::V6));
    let leads_out =
        matches!(sight.host.route(&six), FibMatch::Route { route, .. } if !route.kind.rejects());
    let has_address = |link: &&Link| {
        let mut addresses = link.addresses.iter();
        addresses
            .any(|net| net.addr().is_ipv4() && !net.addr().is_loopback() && !is_link_local(net))
    };
    let mut own = sight
        .host
        .links
        .iter()
        .filter(|link| !sight.is_engines(link));
    // A host of IPv6 alone, and not one that has lost its route.
    if leads_out && !own.any(|link| has_address(&link)) {
        let verdict = Verdict::confirmed(
            "no-route",
            "the host has no default route of IPv4, but one of IPv6: containers reach the outside by IPv6 alone",
        )
        .fact("no route matches IPv4 addresses of the internet");
        let finding = Finding::new(Grade::Note, Subject::host(), verdict);
        return Some(finding.affects(affected));
    }
    let mut verdict = Verdict::confirmed(
        "no-route",
        "the host has no default route: containers reach nothing beyond its own networks",
    )
    .fact("no route matches addresses of the internet");
    for link in &sight.host.links {
        let lame = (!link.up || !link.carrier) && !sight.is_engines(link) && link.master.is_none();
        if lame
            && link
                .addresses
                .iter()
                .any(|net| net.addr().is_ipv4() && !net.addr().is_loopback())
        {
            verdict = verdict.fact(format!(
                "{} is {}: its routes went with it",
                link.name,
                if link.up { "without carrier" } else { "down" }
            ));
            if !link.up {
                verdict = verdict.run(
                    format!("ip link set {} up", link.name),
                    "host",
                    None,
                    Impact::None,
                );
            }
        }
    }
    let verdict = verdict.advise(
        "bring the uplink or its default route back (ip route add default via GATEWAY dev UPLINK), or restart what manages it: \
         networkd, NetworkManager, ifupdown, dhcp client; on a host that is to have none, use --internal networks",
    );
    Some(Finding::new(Grade::Risk, Subject::host(), verdict).affects(affected))
}

/// The host has no IPv6 default route, though a router advertises one.
fn no_advertised(sight: &Sight<'_>) -> Option<Finding> {
    let host = &sight.host;
    let is_way_out = |route: &Route| {
        route.prefix.prefix_len() == 0 && route.prefix.addr().is_ipv6() && !route.kind.rejects()
    };
    if host.routes.iter().any(is_way_out) {
        return None;
    }
    // A router may be one that offers no default route: without an address of the internet there was none.
    let links = on_the_internet(&host.links);
    let (verdict, key) = refused(&links, &host.neighbours, |key| {
        sight.state.sysctl(&host.handle, key).ok().flatten()
    })?;
    let verdict = verdict
        .likely()
        .set_host_sysctl(&sight.files, &key, "1", "2")
        .advise(ROUTE_COMES_BACK);
    let networks = forwarded(sight);
    let six = networks
        .iter()
        .flat_map(|(.., members)| members)
        .filter(|member| member.address(Family::V6).is_some());
    let affected: Vec<Affected> = six.flat_map(|member| whole(member.container)).collect();
    Some(Finding::new(Grade::Risk, Subject::host(), verdict).affects(affected))
}

/// Routes and rules that refuse what containers send or are sent.
fn rejected(sight: &Sight<'_>) -> Vec<Finding> {
    let networks = forwarded(sight);
    let mut gather = Gather::default();
    let mut single_hosts = 0;
    for (_, bridge, members) in &networks {
        for member in members {
            for family in [Family::V4, Family::V6] {
                let Some(own) = member.address(family) else {
                    continue;
                };
                for (target, reach) in targets(sight, family) {
                    let query = RouteQuery::to(target).from(own).iif(*bridge);
                    let found = sight.host.route(&query);
                    if !found.rejects() {
                        continue;
                    }
                    let (Some(text), Some(delete)) = (found.text(), found.delete_command()) else {
                        continue;
                    };
                    let (host_route, daemon) = match &found {
                        FibMatch::Route { route, .. } => (
                            route.prefix.prefix_len() == route.prefix.max_prefix_len(),
                            of_daemon(route),
                        ),
                        _ => (false, false),
                    };
                    single_hosts += usize::from(host_route);
                    let internet = target == somewhere(family);
                    let grade = match (internet, host_route, daemon) {
                        (true, ..) => Grade::Broken,
                        (_, _, true) => Grade::Note,
                        // Dozens of single addresses are somebody's list of the banned.
                        (_, true, _) if single_hosts > 64 => continue,
                        _ => Grade::Risk,
                    };
                    let verdict = Verdict::confirmed(
                        "route-rejects",
                        format!("a route or policy rule of the host refuses what containers send to {reach}"),
                    )
                    .fact(text)
                    .run(delete, "host", None, Impact::None)
                    .advise("if it comes back, look for who adds it: a VPN client, ifupdown or networkd scripts, fail2ban");
                    gather.add(
                        Finding::new(grade, Subject::host(), verdict),
                        [Affected::container(member.container)],
                    );
                }
            }
        }
    }
    gather.findings
}

/// Addresses to try: the internet, and one in each prefix that some route or rule refuses.
fn targets(sight: &Sight<'_>, family: Family) -> Vec<(IpAddr, String)> {
    let mut found = vec![(somewhere(family), "the outside".to_owned())];
    let mut add = |prefix: &ipnet::IpNet| {
        let docker = sight.inventory.network_of(prefix.addr()).is_some();
        if Family::of(prefix.addr()) == family && prefix.prefix_len() > 0 && !docker {
            let first = prefix.hosts().next().unwrap_or(prefix.addr());
            found.push((first, prefix.to_string()));
        }
    };
    for route in sight
        .host
        .routes
        .iter()
        .filter(|route| route.kind.rejects())
    {
        add(&route.prefix);
    }
    for rule in sight
        .host
        .rules
        .iter()
        .filter(|rule| rule.verdict.rejects())
    {
        if let Some(to) = &rule.to {
            add(to);
        }
    }
    found.truncate(256);
    found
}

/// The host's way to each container: by its bridge, whoever asks.
fn to_containers(sight: &Sight<'_>) -> Vec<Finding> {
    let mut gather = Gather::default();
    for (network, bridge) in sight.bridge_networks() {
        // A bridge that is down or without its address has no route: another finding.
        let lame = sight.host.link(bridge).is_none_or(|link| !link.up);
        for member in sight.members(network) {
            for family in [Family::V4, Family::V6] {
                let Some(address) = member.address(family) else {
                    continue;
                };
                let lost = family == Family::V4 && has_lost_address(sight, network, bridge);
                if lame || lost {
                    continue;
                }
                for query in askers(sight, address, family) {
                    let found = sight.host.route(&query);
                    if let Some(verdict) = misled(sight, network, bridge, address, &query, &found) {
                        gather.add(
                            Finding::new(Grade::Broken, Subject::network(&network.name), verdict),
                            whole(member.container),
                        );
                        break;
                    }
                }
            }
        }
        if let Some(finding) = subnets::shadows(sight, network, bridge)
            && !gather
                .findings
                .iter()
                .any(|known| known.subject == finding.subject)
        {
            gather.findings.push(finding);
        }
    }
    gather.findings
}

fn has_lost_address(sight: &Sight<'_>, network: &Network, bridge: &str) -> bool {
    let link = sight.host.link(bridge);
    network.subnets.iter().any(|subnet| {
        sight
            .inventory
            .gateway(network, subnet)
            .is_some_and(|gateway| {
                gateway.is_ipv4()
                    && link
                        .is_some_and(|link| !link.addresses.iter().any(|has| has.addr() == gateway))
            })
    })
}

/// Who sends to a container: the host itself, clients of the outside, containers of other networks.
fn askers(sight: &Sight<'_>, address: IpAddr, family: Family) -> Vec<RouteQuery> {
    let mut queries = vec![RouteQuery::to(address)];
    if let Some(uplink) = uplink(sight, family) {
        let query = RouteQuery::to(address).from(somewhere(family));
        queries.push(query.iif(uplink.link.name.clone()));
    }
    queries
}

/// What leads packets for a container elsewhere.
fn misled(
    sight: &Sight<'_>,
    network: &Network,
    bridge: &str,
    address: IpAddr,
    query: &RouteQuery,
    found: &FibMatch,
) -> Option<Verdict> {
    let from = query.iif.as_deref().map_or_else(
        || "the host".to_owned(),
        |iif| format!("what comes in by {iif}"),
    );
    if found.rejects() {
        return Some(
            Verdict::confirmed(
                "route-rejects",
                format!(
                    "a route or policy rule of the host refuses packets to containers of {}",
                    network.name
                ),
            )
            .fact(found.text()?)
            .fact(format!("{from} does not reach {address}"))
            .run(found.delete_command()?, "host", None, Impact::None),
        );
    }
    let FibMatch::Route { rule, route } = found else {
        return None;
    };
    let oif = route
        .oif
        .as_deref()
        .or_else(|| route.nexthops.first().map(|hop| hop.oif.as_str()));
    if oif == Some(bridge) || route.kind == RouteKind::Local {
        return None;
    }
    let elsewhere = oif.unwrap_or("nowhere");
    let ip = Family::of(address).ip_command();
    let subnet = network
        .subnets
        .iter()
        .map(|subnet| subnet.prefix)
        .find(|prefix| prefix.contains(&address))?;
    let has_main = sight.host.routes.iter().any(|route| {
        route.table == TABLE_MAIN && route.oif.as_deref() == Some(bridge) && route.prefix == subnet
    });
    let by_rule = rule.verdict != RuleVerdict::Table(TABLE_MAIN);
    let connected = route.prefix == subnet && route.gateway.is_none() && !by_rule;
    let verdict = if by_rule {
        Verdict::confirmed(
            "policy-rule-misroutes",
            format!("a policy rule sends packets for containers of {} to {elsewhere} instead of {bridge}", network.name),
        )
        .fact(rule.to_string())
        .run(
            format!("{ip} rule add to {subnet} lookup main priority {}", rule.priority.saturating_sub(1)),
            "host",
            None,
            Impact::None,
        )
        .advise("to keep it: the same in what sets the rules (a VPN client, networkd's [RoutingPolicyRule])")
    } else if route.gateway.is_none()
        && oif.is_some_and(|oif| sight.leads_out(oif) && sight.is_own_network(oif, &route.prefix))
    {
        Verdict::confirmed(
            "subnet-overlaps-lan",
            format!("{} is the host's own network on {elsewhere}, and the subnet of {} covers it: packets for containers go out by {elsewhere}", route.prefix, network.name),
        )
        .advise(another_subnet(&network.name))
    } else if connected && has_main {
        Verdict::confirmed(
            "connected-route-conflict",
            format!("{elsewhere} and {bridge} both claim {subnet}, and packets for containers go to {elsewhere}"),
        )
        .run(route.delete_command(), "host", None, Impact::Interrupts)
        .advise(format!("take the address out of {subnet} off {elsewhere}"))
    } else {
        Verdict::confirmed(
            "route-shadows-subnet",
            format!("a route leads packets for containers of {} to {elsewhere} instead of {bridge}", network.name),
        )
        .run(route.delete_command(), "host", None, Impact::Interrupts)
        .advise(format!(
            "give Docker other subnets (default-address-pools, bip), or take {subnet} out of what the VPN or routing daemon sets"
        ))
    };
    Some(verdict.fact(route.to_string()).fact(format!(
        "{from} does not reach {address}; to see it: {}",
        query.command()
    )))
}

/// Policy rules that take containers' own packets to a table without the other bridges.
fn from_containers(sight: &Sight<'_>) -> Vec<Finding> {
    let networks = forwarded(sight);
    let mut gather = Gather::default();
    for (network, bridge, members) in &networks {
        for member in members {
            let Some(own) = member.ipv4() else { continue };
            for (other, other_bridge, others) in &networks {
                let Some(target) = others.iter().find_map(Member::ipv4) else {
                    continue;
                };
                if other.id == network.id {
                    continue;
                }
                let query = RouteQuery::to(target).from(own).iif(*bridge);
                let FibMatch::Route { rule, route } = sight.host.route(&query) else {
                    continue;
                };
                let main = rule.verdict == RuleVerdict::Table(TABLE_MAIN);
                if main || route.oif.as_deref() == Some(other_bridge) || route.oif.is_none() {
                    continue;
                }
                let verdict = Verdict::confirmed(
                    "policy-rule-misroutes",
                    format!(
                        "a policy rule sends what containers of {} send to other networks out by {}",
                        network.name,
                        route.oif.as_deref().unwrap_or("another interface")
                    ),
                )
                .fact(rule.to_string())
                .run(
                    format!("ip rule add to {} lookup main priority {}", prefix_of(other, target), rule.priority.saturating_sub(1)),
                    "host",
                    None,
                    Impact::None,
                )
                .advise("so that table of the rule need not know Docker's bridges");
                gather.add(
                    Finding::new(Grade::Risk, Subject::network(&network.name), verdict),
                    [Affected::container(member.container)],
                );
            }
        }
    }
    gather.findings
}

fn prefix_of(network: &Network, address: IpAddr) -> String {
    let mut prefixes = network.subnets.iter().map(|subnet| subnet.prefix);
    prefixes
        .find(|prefix| prefix.contains(&address))
        .map_or_else(|| address.to_string(), |prefix| prefix.to_string())
}
