//! Default routes that routers advertise, and a host that forwards no longer takes.

use std::net::IpAddr;

use super::{Case, Verdict};
use crate::{
    host::{
        neighbour::Neighbour,
        route::{Route, fib::FibMatch},
        sysctl::{display_key, interface_key},
    },
    model::{Link, LinkKind},
};

/// Row 76. With `forwarding` on, `accept_ra` = 1 means no (`ipv6_accept_ra`, include/net/ipv6.h), and the routes that were
/// there go (`rt6_purge_dflt_routers`, net/ipv6/route.c).
pub(super) fn ipv6_route_lost(case: &Case<'_>) -> Option<Verdict> {
    if !case.is_ipv6()
        || !case.in_host()
        || !case.evidence.freed_in(super::routing::REFUSED)
        || !["", "NOT_SPECIFIED", "IP_INNOROUTES", "IP_OUTNOROUTES"]
            .contains(&case.evidence.reason())
    {
        return None;
    }
    let query = super::routing::query(case)?;
    let found = case.state.matching_route(case.host, &query).ok()?;
    // The table ends in the kernel's own unreachable route where IPv6 has no other.
    let nothing = match &found {
        FibMatch::Nothing => true,
        FibMatch::Route { route, .. } => route.kind.rejects() && route.prefix.prefix_len() == 0,
        FibMatch::Rule(_) | FibMatch::Unsure(_) => false,
    };
    if !nothing {
        return None;
    }
    let neighbours = case.state.neighbours(case.host).ok()?;
    let info = case.inventory.netns(case.inventory.host_key())?;
    let read = |key: &str| case.state.sysctl(case.host, key).ok().flatten();
    // A router may be one that offers no default route: without an address of the internet there was none.
    let sure = refused(&on_the_internet(&info.links), &neighbours, read);
    let unsure = || {
        let (verdict, key) = refused(&info.links, &neighbours, read)?;
        let why =
            "it has no address of the internet: the router may never have offered a default route";
        Some((verdict.likely().fact(why), key))
    };
    let (verdict, key) = sure.or_else(unsure)?;
    Some(case.set_sysctl(verdict, &key, "1", "2").advise(ADVICE))
}

/// How the route comes back.
pub(crate) const ADVICE: &str = "the route comes with the next advertisement (rdisc6 asks for one); networkd and NetworkManager take \
     advertisements themselves if they manage the interface (IPv6AcceptRA=yes)";

/// Interfaces with a global unicast address (2000::/3): where there is a way out, routers give such.
pub(crate) fn on_the_internet(links: &[Link]) -> Vec<Link> {
    let is_global =
        |net: &ipnet::IpNet| matches!(net.addr(), IpAddr::V6(ip) if ip.segments()[0] >> 13 == 1);
    let there = |link: &&Link| link.addresses.iter().any(is_global);
    links.iter().filter(there).cloned().collect()
}

/// The interface whose default route would go with its router's advertisements if the host began to forward.
pub(crate) fn at_stake(
    links: &[Link],
    neighbours: &[Neighbour],
    routes: &[Route],
    read: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    /// `RTPROT_RA` (include/uapi/linux/rtnetlink.h).
    const ADVERTISED: u8 = 9;
    let advertised = routes
        .iter()
        .filter(|route| route.protocol == ADVERTISED && route.prefix.prefix_len() == 0)
        .flat_map(|route| {
            route
                .oif
                .iter()
                .chain(route.nexthops.iter().map(|hop| &hop.oif))
        });
    advertised
        .chain(by_routers(links, neighbours).map(|(link, _)| &link.name))
        .find(|device| {
            let key = interface_key(true, device, "accept_ra");
            read(&key).is_some_and(|mode| mode.trim() == "1")
        })
        .cloned()
}

/// Interfaces that a router is behind.
fn by_routers<'a>(
    links: &'a [Link],
    neighbours: &'a [Neighbour],
) -> impl Iterator<Item = (&'a Link, &'a Neighbour)> {
    links
        .iter()
        .filter(|link| link.up && !matches!(link.kind, LinkKind::Bridge | LinkKind::Loopback))
        .filter_map(|link| {
            let is_router = |entry: &&Neighbour| entry.router && entry.device == link.name;
            Some((link, neighbours.iter().find(is_router)?))
        })
}

/// The router whose advertisements the host does not take because it forwards, and the setting that would have it take them.
pub(crate) fn refused(
    links: &[Link],
    neighbours: &[Neighbour],
    read: impl Fn(&str) -> Option<String>,
) -> Option<(Verdict, String)> {
    let (device, router) = by_routers(links, neighbours).find_map(|(link, router)| {
        let read = |name: &str| read(&interface_key(true, &link.name, name));
        let refuses = read("forwarding")?.trim() != "0" && read("accept_ra")?.trim() == "1";
        refuses.then_some((link.name.as_str(), router))
    })?;
    let key = interface_key(true, device, "accept_ra");
    let verdict = Verdict::confirmed(
        "ipv6-route-lost",
        format!("the host has no IPv6 default route: since it forwards, it takes none from the router that advertises itself on {device}"),
    )
    .fact(format!("{} = 1, which counts as 0 while forwarding is on", display_key(&key)))
    .fact(format!("{} = 1", display_key(&interface_key(true, device, "forwarding"))))
    .fact(format!("a router is there: {} on {device}", router.address));
    Some((verdict, key))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::host::{neighbour::NeighbourState, route::RouteKind};

    #[test]
    fn a_routers_interface_keeps_taking_its_advertisements() {
        let mut link = crate::cause::tests::link("2001:db8:1::10/64");
        link.name = "wan0".into();
        let router = Neighbour {
            address: IpAddr::V6(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
            device: "wan0".into(),
            mac: None,
            state: NeighbourState::Reachable,
            router: true,
        };
        let links = [link];
        let with = |router: &Neighbour, mode: &'static str| {
            at_stake(&links, std::slice::from_ref(router), &[], |key| {
                (key == "net/ipv6/conf/wan0/accept_ra").then(|| mode.to_owned())
            })
        };
        assert_eq!(with(&router, "1\n").as_deref(), Some("wan0"));
        assert_eq!(with(&router, "2\n"), None);
        let host = Neighbour {
            router: false,
            ..router
        };
        assert_eq!(with(&host, "1\n"), None);
        // On a bridge, and its neighbour entry is gone: the route is there still.
        let mut route = Route::new("::/0".parse().unwrap(), RouteKind::Unicast);
        (route.oif, route.protocol) = (Some("br0".into()), 9);
        let by_route = at_stake(&links, &[], &[route], |_| Some("1".into()));
        assert_eq!(by_route.as_deref(), Some("br0"));
        let files = crate::host::sysctl::files::SysctlFiles::default();
        let verdict =
            Verdict::confirmed("ipv6-forwarding-disabled", "").forward_ipv6(&files, Some("wan0"));
        let text = format!("{:?}", verdict.cause.fix);
        assert!(
            text.contains("sysctl -w net/ipv6/conf/wan0/accept_ra=2 && sysctl -w net/ipv6/conf/all/forwarding=1"),
            "{text}"
        );
    }
}
