//! Docker networks that cover addresses of the world outside.

use std::net::IpAddr;

use super::{
    Case, Verdict,
    bridged::{bridge_of, bridged},
};
use crate::{
    host::{
        firewall::Hook,
        route::{
            Family, Route,
            lookup::{RouteAnswer, RouteQuery},
        },
    },
    model::{Impact, Link, Network},
};

/// How a network gets out of the LAN's way.
pub(crate) fn another_subnet(network: &str) -> String {
    format!(
        "recreate {network} with another --subnet, and keep Docker off the LAN's addresses: default-address-pools (or bip) in /etc/docker/daemon.json"
    )
}

/// Row 8: the address is one of the LAN, and by its subnet also one of a Docker network, whose bridge is asked for it in
/// vain; or answers to it would go there, and a strict reverse path filter refuses what comes from it.
pub(super) fn subnet_overlaps_lan(case: &Case<'_>) -> Option<Verdict> {
    let unanswered = super::neighbour::gave_up(case);
    let forwarded = case.in_host()
        && matches!(case.evidence.reason(), "NETFILTER_DROP" | "")
        && case
            .evidence
            .hook
            .is_some_and(|point| point.hook == Hook::Forward && !point.bridge);
    let refused = case.in_host() && super::routing::reverse_filtered(case).is_some();
    let dst = match refused {
        true => case.src()?,
        false if unanswered || forwarded => case.dst()?,
        false => return None,
    };
    let (network, subnet) = bridged(case, dst)?;
    // Somebody of Docker's has the address, or had it: its absence is another matter.
    if case.assigned_to(dst).is_some() || case.inventory.container_by_address(dst).is_some() {
        return None;
    }
    let bridge = bridge_of(case, network)?;
    let way_in = if refused {
        case.device() != bridge.name && leads_into(case, dst, bridge)
    } else if case.in_host() {
        case.evidence.out_device.as_deref() == Some(&bridge.name)
    } else {
        on_network(case, network)
    };
    if !way_in || subnet.gateway == Some(dst) {
        return None;
    }
    let Lan {
        device: lan,
        gateway,
        fact,
    } = lan(case, dst, bridge, refused.then(|| case.device()))?;
    let prefix = subnet.prefix;
    // One that a rule has led there may as well be the address of a container that is gone.
    let led = case.evidence.drop.nat.as_ref();
    let led = led.is_some_and(|nat| nat.reply.src == dst && nat.original.dst != dst);
    let verdict = Verdict::when(
        !led,
        "subnet-overlaps-lan",
        format!(
            "{dst} is reached by {lan}, but {}'s subnet {prefix} covers it too: packets to it go into {}",
            network.name, bridge.name
        ),
    )
    .fact(fact)
    .maybe_fact(refused.then(|| {
        format!(
            "it came in by {}, answers would go into {}: the reverse path filter refuses it (a looser one lets it in, and the answers go astray)",
            case.device(),
            bridge.name
        )
    }))
    .fact(format!("{} has {prefix}, and no container has {dst}", network.name))
    .maybe_fact(led.then(|| {
        format!("or a container had {dst}, and the rule that leads there is left over: ip neighbour show {dst} tells whether the LAN has it")
    }));
    let ip = Family::of(dst).ip_command();
    let verdict = if case.in_host() {
        // Helps the other networks' containers and the host, not the ones that are on this network.
        let via = gateway.map_or_else(String::new, |gateway| format!("via {gateway} "));
        verdict.run(
            format!("{ip} route add {dst} {via}dev {lan}"),
            "host",
            None,
            Impact::None,
        )
    } else {
        verdict
    };
    let move_it = if network.name == "bridge" {
        "give the default bridge another subnet: \"bip\" in /etc/docker/daemon.json, then restart Docker".to_owned()
    } else {
        format!(
            "for good: recreate {} with a subnet that nobody else uses (docker network create --subnet)",
            network.name
        )
    };
    Some(verdict.advise(format!(
        "{move_it}; \"default-address-pools\" in /etc/docker/daemon.json keeps new networks away from the LAN's addresses"
    )))
}

/// Whether the container in whose namespace it died is on this network.
fn on_network(case: &Case<'_>, network: &Network) -> bool {
    case.container_here().is_some_and(|container| {
        let mut attachments = container.attachments.iter();
        attachments.any(|attachment| attachment.network_id == network.id)
    })
}

/// Whether the host sends what is for the address into this bridge.
fn leads_into(case: &Case<'_>, dst: IpAddr, bridge: &Link) -> bool {
    let answer = case.state.route_lookup(case.host, &RouteQuery::to(dst));
    let oif = |answer: RouteAnswer| answer.found().and_then(|route| route.oif.clone());
    answer.ok().and_then(oif).as_deref() == Some(&bridge.name)
}

/// How the host really reaches an address that a Docker network covers.
struct Lan {
    device: String,
    gateway: Option<IpAddr>,
    /// What says so.
    fact: String,
}

/// By an interface that has it in its own subnet, by a route; or `by` the one that a packet from it came in by.
fn lan(case: &Case<'_>, dst: IpAddr, bridge: &Link, by: Option<&str>) -> Option<Lan> {
    let fits = |name: &str| match by {
        Some(by) => name == by,
        None => {
            let mut networks = case.inventory.networks();
            name != bridge.name
                && name != "lo"
                && !networks.any(|network| network.bridge.as_deref() == Some(name))
        }
    };
    let info = case.inventory.netns(case.inventory.host_key())?;
    let links = info.links.iter();
    let connected = links
        .filter(|link| link.up && fits(&link.name))
        .find_map(|link| {
            let net = link.addresses.iter().find(|net| net.contains(&dst))?;
            Some(Lan {
                device: link.name.clone(),
                gateway: None,
                fact: format!("{} has {net}", link.name),
            })
        });
    connected.or_else(|| {
        let routes = case.state.routes(case.host, Family::of(dst)).ok()?;
        let leads = |route: &&Route| {
            // What came in by the uplink may as well be behind the default route.
            (route.prefix.prefix_len() > 0 || by.is_some())
                && route.prefix.contains(&dst)
                && route.gateway.is_some()
                && route.oif.as_deref().is_some_and(fits)
        };
        let route = routes
            .iter()
            .filter(leads)
            .max_by_key(|route| route.prefix.prefix_len())?;
        Some(Lan {
            device: route.oif.clone()?,
            gateway: route.gateway,
            fact: format!("a route of the host's leads there: {route}"),
        })
    })
}
