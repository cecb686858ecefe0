//! Docker subnets that others claim as well.

use super::forwarding::whole;
use crate::{
    cause::{Verdict, another_subnet},
    check::{Finding, Grade, Sight, Subject, finding::Affected},
    host::route::{RouteKind, TABLE_MAIN},
    map::marks::is_link_local,
    model::{Impact, Network},
};

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    conflicts(sight)
}

/// A route inside a network's subnet that takes away addresses that no container has yet.
pub(super) fn shadows(sight: &Sight<'_>, network: &Network, bridge: &str) -> Option<Finding> {
    let route = sight.host.routes.iter().find(|route| {
        route.table == TABLE_MAIN
            && matches!(route.kind, RouteKind::Unicast)
            && route.oif.as_deref().is_some_and(|oif| oif != bridge)
            && network.subnets.iter().any(|subnet| {
                subnet.prefix != route.prefix && subnet.prefix.contains(&route.prefix)
            })
            && !is_link_local(&route.prefix)
            && route.prefix.prefix_len() < route.prefix.max_prefix_len()
    })?;
    let oif = route.oif.clone().unwrap_or_default();
    // The LAN's own prefix inside a Docker subnet: the other way round.
    if sight.is_own_network(&oif, &route.prefix) {
        return None;
    }
    let verdict = Verdict::confirmed(
        "route-shadows-subnet",
        format!("a route takes {} out of {}: a container that gets an address there is not reached", route.prefix, network.name),
    )
    .fact(route.to_string())
    .run(route.delete_command(), "host", None, Impact::Interrupts)
    .advise("give Docker other subnets (default-address-pools, bip), or take the prefix out of what the VPN sets");
    Some(Finding::new(
        Grade::Risk,
        Subject::network(&network.name),
        verdict,
    ))
}

/// Two interfaces that claim one prefix, and Docker subnets that hold the LAN's addresses.
fn conflicts(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (network, bridge) in sight.bridge_networks() {
        let members = sight.members(network);
        let affected: Vec<Affected> = members
            .iter()
            .flat_map(|member| whole(member.container))
            .collect();
        for subnet in &network.subnets {
            let prefix = subnet.prefix;
            for link in sight.host.links.iter().filter(|link| link.name != bridge) {
                for net in link.addresses.iter().filter(|net| !is_link_local(net)) {
                    if net.addr().is_ipv4() != prefix.addr().is_ipv4() || net.addr().is_loopback() {
                        continue;
                    }
                    let theirs = net.trunc();
                    if theirs == prefix && !sight.leads_out(&link.name) {
                        let verdict = Verdict::confirmed(
                            "connected-route-conflict",
                            format!("{} and {bridge} both claim {prefix}: packets for it go to one of them only", link.name),
                        )
                        .fact(format!("{net} is on {}", link.name))
                        .run(format!("ip addr del {net} dev {}", link.name), "host", None, Impact::Interrupts);
                        found.push(
                            Finding::new(Grade::Risk, Subject::network(&network.name), verdict)
                                .affects(affected.clone()),
                        );
                    } else if prefix.contains(&theirs) || theirs.contains(&prefix) {
                        // One of both is the LAN's.
                        found.push(
                            overlap(
                                network,
                                bridge,
                                prefix,
                                &format!("{net} is on {}", link.name),
                            )
                            .affects(affected.clone()),
                        );
                    }
                }
            }
            let gateway = sight.host.routes.iter().find(|route| {
                route
                    .gateway
                    .is_some_and(|gateway| prefix.contains(&gateway))
                    && route.oif.as_deref().is_some_and(|oif| oif != bridge)
            });
            let known = found.iter().any(|finding: &Finding| {
                finding.subject == Subject::network(&network.name)
                    && finding.cause.id == "subnet-overlaps-lan"
            });
            if let Some(route) = gateway.filter(|_| !known) {
                found.push(
                    overlap(network, bridge, prefix, &route.to_string()).affects(affected.clone()),
                );
            }
        }
    }
    found
}

fn overlap(network: &Network, bridge: &str, prefix: ipnet::IpNet, fact: &str) -> Finding {
    let verdict = Verdict::confirmed(
        "subnet-overlaps-lan",
        format!("the subnet of {} covers addresses of the host's own network: machines with one of them get no answer", network.name),
    )
    .fact(format!("{prefix} is on {bridge}"))
    .fact(fact)
    .advise(another_subnet(&network.name));
    Finding::new(Grade::Risk, Subject::network(&network.name), verdict)
}
