//! Containers whose gateway does not answer.

use super::{
    Case, Verdict,
    bridged::{bridge_of, bridged, lost_address},
};
use crate::{
    host::route::{Family, Route, fib::FibMatch},
    model::Impact,
};

/// Rows 10 and 11 as the container sees them: nobody answers for the router that its route names.
pub(super) fn gateway(case: &Case<'_>) -> Option<Verdict> {
    if !case.in_container() || !super::neighbour::gave_up(case) {
        return None;
    }
    let query = super::routing::query(case)?;
    let found = case.state.matching_route(&case.netns()?, &query).ok()?;
    let FibMatch::Route { route, .. } = found else {
        return None;
    };
    let asked = route.gateway?;
    let (network, subnet) = bridged(case, asked)?;
    let container = case.container_here()?;
    let given = container
        .attachments
        .iter()
        .find(|attachment| attachment.network_id == network.id)?;
    let right = given
        .gateway
        .filter(|gateway| gateway.is_ipv4() == asked.is_ipv4())
        .or(subnet.gateway)?;
    if right == asked {
        let bridge = bridge_of(case, network).filter(|bridge| bridge.up)?;
        return lost_address(case.inventory, network, subnet, bridge);
    }
    let device = route.oif.as_deref().unwrap_or("eth0");
    let netns = case.netns()?;
    let neighbours = case.state.neighbours(&netns).ok()?;
    let answers = neighbours
        .iter()
        .any(|entry| entry.address == asked && entry.is_usable());
    if answers || case.inventory.container_by_address(asked).is_some() {
        return None;
    }
    Some(
        Verdict::confirmed(
            "container-wrong-gateway",
            format!(
                "{} sends by the gateway {asked}, which does not answer; the gateway of {} is {right}",
                container.name, network.name
            ),
        )
        .fact(format!("route in {}: {route}", container.name))
        .fact(format!("Docker gave it the gateway {right}"))
        .run(
            case.command(&mended(&route, right, device)),
            container.name.clone(),
            None,
            Impact::None,
        )
        .advise(format!(
            "for good: {} gives it Docker's routes again; find what changes routes inside (a VPN client, the start script)",
            super::reattach::command(container)
        )),
    )
}

fn mended(route: &Route, right: std::net::IpAddr, device: &str) -> String {
    let ip = Family::of(right).ip_command();
    if route.prefix.prefix_len() == 0 {
        format!("{ip} route replace default via {right} dev {device}")
    } else {
        route.delete_command()
    }
}
