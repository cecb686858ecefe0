//! A container's own way out.

use std::net::IpAddr;

use super::forwarding::whole;
use crate::{
    cause::Verdict,
    check::{Finding, Grade, Sight, Subject, probe::somewhere, space::Space},
    host::route::{Family, fib::FibMatch, lookup::RouteQuery},
    model::{Attachment, Container, Impact, NetworkMode},
};

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for container in sight.running() {
        if container.mode != NetworkMode::Networks {
            continue;
        }
        let Some(space) = sight
            .space_of(container)
            .filter(|space| space.key != sight.host.key)
        else {
            continue;
        };
        for family in [Family::V4, Family::V6] {
            found.extend(of(sight, container, space, family));
        }
    }
    found
}

/// Networks that give a container a way out by a gateway.
fn gateways<'c>(
    sight: &Sight<'_>,
    container: &'c Container,
    family: Family,
) -> Vec<(&'c Attachment, IpAddr)> {
    container
        .attachments
        .iter()
        .filter_map(|attachment| {
            let network = sight.inventory.network(&attachment.network_id)?;
            if network.internal
                || network.gateway_mode.as_deref() == Some("isolated")
                || network.driver != "bridge"
            {
                return None;
            }
            match family {
                Family::V4 => Some((attachment, attachment.gateway.filter(IpAddr::is_ipv4)?)),
                Family::V6 => {
                    let own = attachment.ipv6?;
                    let subnet = network
                        .subnets
                        .iter()
                        .find(|subnet| subnet.prefix.contains(&own.addr()))?;
                    let gateway = sight.inventory.gateway(network, subnet)?;
                    Some((attachment, gateway))
                }
            }
        })
        .collect()
}

/// What is wrong with one container's way out.
pub(in crate::check) fn of(
    sight: &Sight<'_>,
    container: &Container,
    space: &Space,
    family: Family,
) -> Option<Finding> {
    let gateways = gateways(sight, container, family);
    let (attachment, gateway) = gateways.first()?;
    let interface = sight.interface_of(container, &attachment.network)?;
    // An interface that is down, or has lost its address, took its routes with it: another finding.
    if !interface.device.up {
        return None;
    }
    let own = match family {
        Family::V4 => attachment.ipv4,
        Family::V6 => attachment.ipv6,
    }?;
    if !space.has_address(own.addr()) {
        return None;
    }
    let subject = Subject::container(container);
    let ip = family.ip_command();
    let words = if family == Family::V6 { "IPv6 " } else { "" };
    match space.route(&RouteQuery::to(somewhere(family))) {
        FibMatch::Nothing => {
            let verdict = Verdict::confirmed(
                "container-no-default-route",
                format!("{} has no {words}default route: it reaches nothing outside {}, and answers nobody who is not on it", container.name, attachment.network),
            )
            .fact(format!("Docker gave it the gateway {gateway} on {}", attachment.network))
            .run(
                space.command(&format!("{ip} route add default via {gateway} dev {}", interface.device.name)),
                container.name.clone(),
                None,
                Impact::None,
            )
            .advise(format!("find what takes it away inside; docker restart {} brings it back", container.name));
            Some(Finding::new(Grade::Broken, subject, verdict).affects(whole(container)))
        }
        found if found.rejects() => {
            let verdict = Verdict::confirmed(
                "route-rejects",
                format!(
                    "a route or policy rule inside {} refuses what it sends to the outside",
                    container.name
                ),
            )
            .fact(found.text()?)
            .run(
                space.command(&found.delete_command()?),
                container.name.clone(),
                None,
                Impact::None,
            );
            Some(Finding::new(Grade::Broken, subject, verdict).affects(whole(container)))
        }
        FibMatch::Route { route, .. } => {
            let used = route.gateway?;
            if gateways.iter().any(|(_, gateway)| *gateway == used) {
                return None;
            }
            let oif = route.oif.as_deref()?;
            // A gateway on another network, or beyond a tunnel, is somebody's choice.
            if oif != interface.device.name || !own.contains(&used) {
                return None;
            }
            let known = sight.host.has_address(used)
                || sight.spaces.iter().any(|space| space.has_address(used));
            let (grade, summary) = if known {
                (
                    Grade::Note,
                    format!(
                        "{} sends by {used}, which is not the gateway that Docker gave it",
                        container.name
                    ),
                )
            } else {
                (
                    Grade::Broken,
                    format!(
                        "{} sends by {used}, an address that nobody has",
                        container.name
                    ),
                )
            };
            let verdict = Verdict::confirmed("container-wrong-gateway", summary)
                .fact(route.to_string())
                .fact(format!("Docker gave it {gateway}"))
                .run(
                    space.command(&format!(
                        "{ip} route replace default via {gateway} dev {oif}"
                    )),
                    container.name.clone(),
                    None,
                    Impact::Interrupts,
                );
            Some(Finding::new(grade, subject, verdict).affects(whole(container)))
        }
        _ => None,
    }
}
