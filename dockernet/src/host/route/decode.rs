//! Netlink route and rule messages into this crate's own types.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    route::{
        RouteAddress, RouteAttribute, RouteMessage, RouteNextHop, RouteNextHopFlags, RouteType,
        RouteVia,
    },
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
};

use super::{
    Family, NextHop, Route, RouteKind,
    rule::{PolicyRule, RuleVerdict},
};

pub(super) fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn family(family: AddressFamily) -> Option<Family> {
    match family {
        AddressFamily::Inet => Some(Family::V4),
        AddressFamily::Inet6 => Some(Family::V6),
        _ => None,
    }
}

fn kind(kind: RouteType) -> RouteKind {
    match kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local => RouteKind::Local,
        RouteType::Broadcast => RouteKind::Broadcast,
        RouteType::Anycast => RouteKind::Anycast,
        RouteType::Multicast => RouteKind::Multicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        RouteType::Throw => RouteKind::Throw,
        other => RouteKind::Other(other.into()),
    }
}

fn address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

fn via(via: &RouteVia) -> Option<IpAddr> {
    match via {
        RouteVia::Inet(v4) => Some((*v4).into()),
        RouteVia::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

fn prefix(family: Family, address: Option<IpAddr>, length: u8) -> Option<IpNet> {
    let address = address.unwrap_or_else(|| family.everything().addr());
    IpNet::new(address, length).ok()
}

fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(to) => address(to),
        RouteAttribute::Via(to) => via(to),
        _ => None,
    }
}

fn nexthop(hop: &RouteNextHop, name: &impl Fn(u32) -> String) -> NextHop {
    NextHop {
        oif: name(hop.interface_index),
        gateway: hop.attributes.iter().find_map(gateway),
        weight: u16::from(hop.hops) + 1,
    }
}

/// What a route is for; `None` for one of another family.
pub(super) fn prefix_of(message: &RouteMessage) -> Option<IpNet> {
    let family = family(message.header.address_family)?;
    let destination = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(to) => address(to),
            _ => None,
        });
    prefix(
        family,
        destination,
        message.header.destination_prefix_length,
    )
}

/// A route; `None` for one of another family. `name` turns an interface's index into its name.
pub(crate) fn route(message: &RouteMessage, name: &impl Fn(u32) -> String) -> Option<Route> {
    let header = &message.header;
    let family = family(header.address_family)?;
    let mut route = Route::new(prefix_of(message)?, kind(header.kind));
    route.table = header.table.into();
    route.protocol = header.protocol.into();
    route.scope = header.scope.into();
    let flags = RouteNextHopFlags::from_bits_retain(header.flags.bits().to_le_bytes()[0]);
    route.dead = flags.contains(RouteNextHopFlags::Dead);
    route.linkdown = flags.contains(RouteNextHopFlags::Linkdown);
    let mut source = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Source(from) => source = address(from),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => {
                route.gateway = gateway(attribute);
            }
            RouteAttribute::PrefSource(from) => route.prefsrc = address(from),
            RouteAttribute::Oif(index) => route.oif = Some(name(*index)),
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::MultiPath(hops) => {
                route.nexthops = hops.iter().map(|hop| nexthop(hop, name)).collect();
            }
            _ => {}
        }
    }
    if header.source_prefix_length > 0 {
        route.from = prefix(family, source, header.source_prefix_length);
    }
    Some(route)
}

/// A policy rule; `None` for one of another family.
pub(super) fn rule(message: &RuleMessage) -> Option<PolicyRule> {
    let header = &message.header;
    let family = family(header.family)?;
    let mut rule = PolicyRule::new(family, 0, RuleVerdict::Nop);
    rule.not = header.flags.contains(RuleFlags::Invert);
    rule.tos = header.tos;
    let mut table = u32::from(header.table);
    let (mut target, mut from, mut to, mut mark, mut mask) = (None, None, None, None, u32::MAX);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Destination(address) => to = Some(*address),
            RuleAttribute::Source(address) => from = Some(*address),
            RuleAttribute::Iifname(name) => rule.iif = Some(name.clone()),
            RuleAttribute::Oifname(name) => rule.oif = Some(name.clone()),
            RuleAttribute::Goto(priority) => target = Some(*priority),
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::FwMark(value) => mark = Some(*value),
            RuleAttribute::FwMask(value) => mask = *value,
            RuleAttribute::Table(number) => table = *number,
            // The kernel sends -1 where nothing is suppressed.
            RuleAttribute::SuppressPrefixLen(length) => {
                rule.suppress_prefixlength = u8::try_from(*length).ok();
            }
            RuleAttribute::L3MDev(true) => rule.unread = true,
            RuleAttribute::TunId(id) if *id != 0 => rule.unread = true,
            RuleAttribute::UidRange(range) => rule.uids = Some((range.start, range.end)),
            RuleAttribute::IpProtocol(protocol) => rule.protocol = Some((*protocol).into()),
            RuleAttribute::SourcePortRange(range) => {
                rule.source_ports = Some((range.start, range.end));
            }
            RuleAttribute::DestinationPortRange(range) => {
                rule.destination_ports = Some((range.start, range.end));
            }
            _ => {}
        }
    }
    rule.fwmark = mark.map(|mark| (mark, mask));
    if header.src_len > 0 {
        rule.from = prefix(family, from, header.src_len);
    }
    if header.dst_len > 0 {
        rule.to = prefix(family, to, header.dst_len);
    }
    rule.verdict = match header.action {
        RuleAction::ToTable => RuleVerdict::Table(table),
        RuleAction::Goto => RuleVerdict::Goto(target?),
        RuleAction::Blackhole => RuleVerdict::Blackhole,
        RuleAction::Unreachable => RuleVerdict::Unreachable,
        RuleAction::Prohibit => RuleVerdict::Prohibit,
        _ => RuleVerdict::Nop,
    };
    Some(rule)
}
