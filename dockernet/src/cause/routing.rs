//! No route, a route that rejects, a source that the host does not believe.

use std::net::IpAddr;

use super::{Case, Verdict, case::known};
use crate::{
    host::{
        route::{fib::FibMatch, lookup::RouteQuery},
        sysctl::{display_key, interface_key},
    },
    model::{Container, Impact, Link, LinkKind, NetnsInfo},
};

/// Functions that free what a route refuses, IPv4 and IPv6, forwarded and sent.
pub(super) const REFUSED: &[&str] = &[
    "ip_error",
    "dst_discard",
    "dst_discard_out",
    "ip6_pkt_discard",
    "ip6_pkt_discard_out",
    "ip6_pkt_prohibit",
    "ip6_pkt_prohibit_out",
    "ip6_pkt_drop",
    "ip6_pkt_blackhole",
];

/// The packet, as the question that its route is the answer to.
pub(super) fn query(case: &Case<'_>) -> Option<RouteQuery> {
    let mut query = RouteQuery::to(case.dst()?);
    if let Some(src) = case.src() {
        query = query.from(src);
    }
    if let Some(device) = case.evidence.drop.ingress_device.as_deref() {
        query = query.iif(device);
    }
    // Policy rules may ask for all of these.
    let packet = case.packet()?;
    query.mark = packet.mark;
    query.protocol = case.protocol();
    query.source_port = packet.src_port;
    query.destination_port = packet.dst_port;
    Some(query)
}

fn matching(case: &Case<'_>) -> Option<(RouteQuery, FibMatch)> {
    let query = query(case)?;
    let found = case.state.matching_route(&case.netns()?, &query).ok()?;
    Some((query, found))
}

/// Row 5. `blackhole`, `unreachable` and `prohibit`, as a route or as a policy rule.
pub(super) fn route_rejects(case: &Case<'_>) -> Option<Verdict> {
    if !case.evidence.freed_in(REFUSED) || case.evidence.reason() == "IP_INADDRERRORS" {
        return None;
    }
    let (_, found) = matching(case)?;
    if !found.rejects() {
        return None;
    }
    let text = found.text()?;
    let dst = case.dst()?;
    let mut verdict = Verdict::confirmed(
        "route-rejects",
        format!(
            "a route or policy rule of {} refuses packets to {dst}",
            case.place()
        ),
    )
    .fact(text);
    if let Some(command) = found.delete_command() {
        verdict = verdict.run(case.command(&command), case.place(), None, Impact::None);
    }
    Some(verdict.advise("if it comes back, look for who adds it: a VPN client, ifupdown or networkd scripts, fail2ban"))
}

/// Row 4.
pub(super) fn no_route(case: &Case<'_>) -> Option<Verdict> {
    if !case.evidence.freed_in(REFUSED)
        || !["", "NOT_SPECIFIED", "IP_INNOROUTES", "IP_OUTNOROUTES"]
            .contains(&case.evidence.reason())
    {
        return None;
    }
    let (query, found) = matching(case)?;
    let FibMatch::Nothing = found else {
        return None;
    };
    let dst = case.dst()?;
    let mut verdict = Verdict::confirmed(
        "no-route",
        format!("{} has no route to {dst}", case.place()),
    )
    .fact(format!(
        "no route matches {dst}, and there is no default route for it"
    ));
    for link in down_uplinks(case) {
        verdict = verdict
            .fact(format!(
                "{} is {}: its routes went with it",
                link.name,
                if link.up { "without carrier" } else { "down" }
            ))
            .maybe_run((!link.up).then(|| {
                let command = format!("ip link set {} up", link.name);
                (case.command(&command), case.place())
            }));
    }
    Some(
        verdict
            .fact(format!("to see it: {}", case.command(&query.command())))
            .advise(default_route_advice(dst)),
    )
}

/// Interfaces that lead out and do not work: with an address, or with no master; neither a network's bridge nor a container's veth.
fn down_uplinks<'a>(case: &Case<'a>) -> Vec<&'a Link> {
    let Some(info) = case.inventory.netns(case.evidence.netns) else {
        return Vec::new();
    };
    info.links
        .iter()
        .filter(|link| !link.up || !link.carrier)
        .filter(|link| link.kind != LinkKind::Loopback && !super::device::is_inward(case, link))
        .filter(|link| link.master.is_none())
        // What has no address now may never have had a part in this; IPv6 addresses go with the link.
        .filter(|link| link.addresses.iter().any(|net| net.addr().is_ipv4()))
        .collect()
}

fn default_route_advice(dst: IpAddr) -> String {
    let family = if dst.is_ipv6() { "-6 " } else { "" };
    format!(
        "bring the uplink or its default route back (ip {family}route add default via GATEWAY dev UPLINK), \
         or restart what manages it: networkd, NetworkManager, ifupdown, dhcp client"
    )
}

/// Rows 13 and 14. The larger of `all` and the device's value counts (net/ipv4/fib_frontend.c `fib_validate_source`).
pub(super) fn rp_filter(case: &Case<'_>) -> Option<Verdict> {
    let (own, all) = reverse_filtered(case)?;
    let device = case.device();
    let key = interface_key(false, device, "rp_filter");
    let src = case.src()?;
    let back = case
        .netns()
        .and_then(|netns| case.state.route_lookup(&netns, &RouteQuery::to(src)).ok())
        .and_then(|answer| answer.found().map(|route| route.oif.clone()));
    let verdict = Verdict::when(
        own.max(all) > 0,
        "rp-filter",
        format!("reverse path filter: {src} came in by {device}, but answers to it would not leave by {device}"),
    )
    .fact(format!("{} = {own}", display_key(&key)))
    .fact(format!(
        "net.ipv4.conf.all.rp_filter = {all}; the larger of both counts: {}",
        match own.max(all) {
            1 => "strict",
            2 => "loose",
            _ => "off by now",
        }
    ))
    .fact(match back.flatten() {
        Some(back) => format!("the route to {src} leaves by {back}"),
        None => format!("no route leads to {src}"),
    });
    if own.max(all) == 2 {
        return Some(verdict.advise(format!("loose already: add a route to {src}")));
    }
    let who = (all > own && case.in_host())
        .then(|| {
            let files = case.state.sysctl_files();
            let setting = files.who_sets_to("net/ipv4/conf/all/rp_filter", &all.to_string())?;
            Some(format!(
                "{}:{} sets net.ipv4.conf.all.rp_filter to {all}",
                setting.file.display(),
                setting.line
            ))
        })
        .flatten();
    let verdict = verdict.maybe_fact(who);
    // `all` counts too, so that lowering the device's own value alone mends nothing while `all` is 1; 2 beats both.
    Some(case.set_sysctl(verdict, &key, &own.max(all).to_string(), "2").advise(
        "give the answer the same way: a source-based rule and table for that interface; in a container with two \
         networks, choose the default route with --network name=NET,gw-priority=1 (Docker 28+)",
    ))
}

/// The device's setting and that of `all`, where the reverse path filter took it.
pub(super) fn reverse_filtered(case: &Case<'_>) -> Option<(i32, i32)> {
    let settings = case.settings();
    let (own, all) = (known(settings.rp_filter)?, known(settings.all_rp_filter)?);
    let filtered = case.evidence.reason() == "IP_RPFILTER" || is_filtered(case, own.max(all));
    filtered.then_some((own, all))
}

/// Whether the reverse path filter took it, on kernels that give no reason (before 5.18): the function that looks up the
/// way in freed it, the filter is on, and the way back is one that it refuses.
fn is_filtered(case: &Case<'_>, mode: i32) -> bool {
    let silent = case.evidence.reason().is_empty() && case.evidence.freed_in(ROUTED_IN);
    let (true, Some(src), Some(netns)) = (silent && mode > 0, case.src(), case.netns()) else {
        return false;
    };
    // Refused as a martian whatever the filter says.
    let own = case
        .inventory
        .netns(case.evidence.netns)
        .is_none_or(|info| {
            let mut addresses = info.links.iter().flat_map(|link| &link.addresses);
            addresses.any(|net| net.addr() == src)
        });
    if own || src.is_loopback() {
        return false;
    }
    let Ok(answer) = case.state.route_lookup(&netns, &RouteQuery::to(src)) else {
        return false;
    };
    match answer.found() {
        Some(route) => mode == 1 && route.oif.as_deref() != Some(case.ingress()),
        None => true,
    }
}

/// Functions that free what `ip_route_input_noref` refuses.
const ROUTED_IN: &[&str] = &[
    "ip_rcv_finish_core",
    "ip_rcv_finish",
    "ip_route_input_noref",
];

/// Row 15. 6.13 and later say so; before, the same function frees it without a reason.
pub(super) fn martian_source(case: &Case<'_>) -> Option<Verdict> {
    let says = matches!(case.evidence.reason(), "IP_LOCAL_SOURCE" | "IP_LOCALNET");
    let may =
        matches!(case.evidence.reason(), "" | "NOT_SPECIFIED") && case.evidence.freed_in(ROUTED_IN);
    if !says && !may {
        return None;
    }
    let src = case.src()?;
    if let Some(verdict) = loopback_source(case, src) {
        return Some(verdict);
    }
    if case.evidence.reason() == "IP_LOCALNET" {
        return None;
    }
    let holder = case
        .inventory
        .netns(case.evidence.netns)?
        .links
        .iter()
        .find(|link| link.addresses.iter().any(|net| net.addr() == src));
    if holder.is_none() && !says {
        return None;
    }
    let device = case.device();
    let mac = case.packet().and_then(|packet| packet.src_mac.clone());
    let sender = mac.as_deref().and_then(|mac| container_of_mac(case, mac));
    let also = sender.and_then(|(container, info)| {
        let link = info
            .links
            .iter()
            .find(|link| link.addresses.iter().any(|net| net.addr() == src))?;
        let prefix = link.addresses.iter().find(|net| net.addr() == src)?;
        // Docker gave it to this one: the other holder is the wrong one.
        if case
            .assigned_to(src)
            .is_some_and(|owner| owner.id == container.id)
        {
            return None;
        }
        let command = format!("ip addr del {prefix} dev {}", link.name);
        Some((case.command_in(info.key, &command), container.name.clone()))
    });
    Some(
        Verdict::when(
            holder.is_some(),
            "martian-source",
            format!("a packet came in by {device} that claims {src}, an address of {} itself, as its source", case.place()),
        )
        .maybe_fact(holder.map(|link| format!("{src} is an address of {}", link.name)))
        .maybe_fact(mac.as_ref().map(|mac| match sender {
            Some((container, _)) => format!("sent by MAC address {mac}, which is {}'s", container.name),
            None => format!("sent by MAC address {mac}"),
        }))
        .maybe_run(also)
        .advise(format!(
            "find who uses {src} as well (a duplicate address, a loop, a VPN or policy route that sends our own packets back): \
             tcpdump -eni {device} src {src}"
        )),
    )
}

/// 127/8 never comes in from a wire: nobody could answer (`ip_route_input_slow`, net/ipv4/route.c).
fn loopback_source(case: &Case<'_>, src: IpAddr) -> Option<Verdict> {
    // In a container it is the host's own connection to a published port that was not masqueraded: another cause.
    if !src.is_loopback() || !src.is_ipv4() || !case.in_host() || case.ingress() == "lo" {
        return None;
    }
    let device = case.ingress();
    Some(
        Verdict::confirmed(
            "martian-source",
            format!("a packet came in by {device} that claims the loopback address {src} as its source"),
        )
        .fact(format!("{src} is in 127.0.0.0/8, which is valid on lo only"))
        .maybe_fact(
            case.packet()
                .and_then(|packet| packet.src_mac.as_ref())
                .map(|mac| format!("sent by MAC address {mac}")),
        )
        .advise(format!("find who sends it (a NAT rule gone wrong, or a forged source): tcpdump -eni {device} src {src}")),
    )
}

/// The running container that has an interface with this MAC address.
fn container_of_mac<'a>(case: &Case<'a>, mac: &str) -> Option<(&'a Container, &'a NetnsInfo)> {
    case.inventory
        .containers()
        .filter(|container| container.ended.is_none())
        .find_map(|container| {
            let info = case.inventory.netns(container.netns?)?;
            // Of the host's own links none is a container's.
            (info.key != case.inventory.host_key()
                && info
                    .links
                    .iter()
                    .any(|link| link.mac.as_deref() == Some(mac)))
            .then_some((container, info))
        })
}
