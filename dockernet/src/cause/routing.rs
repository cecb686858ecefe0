//! No route, a route that rejects, a source that the host does not believe.

use std::net::IpAddr;

use super::{Case, Verdict, case::known};
use crate::{
    host::{
        route::{fib::FibMatch, lookup::RouteQuery},
        sysctl::{display_key, interface_key},
    },
    model::Impact,
};

/// Functions that free what a route refuses, IPv4 and IPv6, forwarded and sent.
const REFUSED: &[&str] = &[
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

fn query(case: &Case<'_>) -> Option<RouteQuery> {
    let mut query = RouteQuery::to(case.dst()?);
    if let Some(src) = case.src() {
        query = query.from(src);
    }
    if let Some(device) = case.evidence.drop.ingress_device.as_deref() {
        query = query.iif(device);
    }
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
    Some(
        Verdict::confirmed(
            "no-route",
            format!("{} has no route to {dst}", case.place()),
        )
        .fact(format!(
            "no route matches {dst}, and there is no default route for it"
        ))
        .fact(format!("to see it: {}", case.command(&query.command())))
        .advise(default_route_advice(dst)),
    )
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
    if case.evidence.reason() != "IP_RPFILTER" {
        return None;
    }
    let settings = case.settings();
    let (own, all) = (known(settings.rp_filter)?, known(settings.all_rp_filter)?);
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
    // `all` counts too, so that lowering the device's own value alone mends nothing while `all` is 1; 2 beats both.
    Some(case.set_sysctl(verdict, &key, &own.max(all).to_string(), "2").advise(
        "or give the answer the same way: a source-based rule and table for that interface; in a container with two \
         networks, choose the default route with --network name=NET,gw-priority=1 (Docker 28+)",
    ))
}

/// Row 15. 6.13 and later say so; before, the same function frees it without a reason.
pub(super) fn martian_source(case: &Case<'_>) -> Option<Verdict> {
    let says = case.evidence.reason() == "IP_LOCAL_SOURCE";
    let may = matches!(case.evidence.reason(), "" | "NOT_SPECIFIED")
        && case.evidence.freed_in(&[
            "ip_rcv_finish_core",
            "ip_rcv_finish",
            "ip_route_input_noref",
        ]);
    if !says && !may {
        return None;
    }
    let src = case.src()?;
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
    Some(
        Verdict::when(
            holder.is_some(),
            "martian-source",
            format!("a packet came in by {device} that claims {src}, an address of {} itself, as its source", case.place()),
        )
        .maybe_fact(holder.map(|link| format!("{src} is an address of {}", link.name)))
        .maybe_fact(mac.map(|mac| format!("sent by MAC address {mac}")))
        .advise(format!(
            "find who uses {src} as well (a duplicate address, a loop, a VPN or policy route that sends our own packets back): \
             tcpdump -eni {device} src {src}"
        )),
    )
}
