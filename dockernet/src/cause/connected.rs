//! Two interfaces that claim one network.

use ipnet::IpNet;

use super::{Case, Verdict, neighbour, overlap::another_subnet};
use crate::{
    host::route::{Family, Route, RouteKind, TABLE_MAIN},
    model::{Impact, Link},
};

/// Row 85. Of two connected routes with one prefix the kernel takes the older, whoever is behind it.
pub(super) fn route_conflict(case: &Case<'_>) -> Option<Verdict> {
    if !case.in_host() {
        return None;
    }
    let refused = case.evidence.reason() == "NETFILTER_DROP"
        && case.evidence.below(&["ip_forward", "ip6_forward"]);
    let taken = if neighbour::gave_up(case) {
        case.evidence
            .out_device
            .clone()
            .unwrap_or_else(|| case.device().to_owned())
    } else if refused {
        case.evidence.out_device.clone()?
    } else {
        return None;
    };
    let dst = case.dst()?;
    let network = case.inventory.network_of(dst)?;
    let bridge = network.bridge.as_deref()?;
    if taken == bridge {
        return None;
    }
    let routes = case.state.routes(case.host, Family::of(dst)).ok()?;
    let on = |device: &str| {
        routes.iter().find(|route| {
            is_connected(route)
                && route.oif.as_deref() == Some(device)
                && route.prefix.contains(&dst)
        })
    };
    let (wrong, right) = (on(&taken)?, on(bridge)?);
    if wrong.prefix.prefix_len() < right.prefix.prefix_len() {
        return None;
    }
    let link = case.inventory.link_named(case.evidence.netns, &taken);
    if leads_out(link, &routes, &taken) {
        // Whom no container is may be a machine of the LAN's that is switched off.
        let is_containers =
            case.assigned_to(dst).is_some() || case.inventory.container_by_address(dst).is_some();
        return is_containers.then(|| {
            Verdict::confirmed(
                "subnet-overlaps-lan",
                format!(
                    "{} is the host's own network on {taken}, and the subnet {} of {} covers it: what is for containers with such addresses goes out by {taken}",
                    wrong.prefix, right.prefix, network.name
                ),
            )
            .fact(format!("route {} dev {taken} comes before {} dev {bridge}", wrong.prefix, right.prefix))
            .advise(another_subnet(&network.name))
        });
    }
    let own: Option<IpNet> = link.and_then(|link| {
        link.addresses
            .iter()
            .find(|net| net.trunc() == wrong.prefix)
            .copied()
    });
    let verdict = Verdict::confirmed(
        "connected-route-conflict",
        format!(
            "{taken} claims {} as well as {bridge}, the bridge of network {}, and what is for the network goes there",
            wrong.prefix, network.name
        ),
    )
    .fact(format!("route {} dev {taken} comes before {} dev {bridge}", wrong.prefix, right.prefix))
    .maybe_fact(own.map(|own| format!("{taken} has the address {own}")));
    let remove = match own {
        Some(own) => format!("ip addr del {own} dev {taken}"),
        None => format!("ip route del {} dev {taken}", wrong.prefix),
    };
    Some(
        verdict
            .run(remove, "host", None, Impact::Interrupts)
            .advise(format!(
                "find what gives it to {taken}: a leftover of a network that was moved, a script, networkd or a VPN; or give the network another subnet"
            )),
    )
}

/// Whether others than containers are behind an interface of the host: by its kind, or by a route.
pub(crate) fn leads_out(link: Option<&Link>, routes: &[Route], device: &str) -> bool {
    let mut routes = routes.iter();
    link.is_some_and(|link| link.kind.is_physical())
        || routes.any(|route| route.leads_on() && route.leaves_by(device))
}

/// `RTPROT_KERNEL` (include/uapi/linux/rtnetlink.h).
const KERNEL: u8 = 2;

/// Made by the kernel for an interface's address: no router, in the main table. What a VPN adds without a router is another matter.
fn is_connected(route: &Route) -> bool {
    route.kind == RouteKind::Unicast
        && route.gateway.is_none()
        && route.table == TABLE_MAIN
        && route.protocol == KERNEL
        && !route.dead
}
