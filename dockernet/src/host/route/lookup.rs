//! Asks the kernel which way a packet would go: `ip route get DST from SRC iif DEV`.
//!
//! With an incoming interface IPv4 runs its whole input path (net/ipv4/route.c, `ip_route_input_slow`): martian
//! checks, the search, whether the interface forwards, `rp_filter`, in this order. It says no with an errno that
//! several reasons share. Measured on 6.18:
//!
//! | errno | IPv4 | IPv6 |
//! |---|---|---|
//! | `ENETUNREACH` | no route; an `unreachable` rule | no route |
//! | `EHOSTUNREACH` | an `unreachable` route; the interface does not forward (whatever the search found) | an `unreachable` route |
//! | `EACCES` | a `prohibit` route or rule | the same |
//! | `EINVAL` | a `blackhole` route or rule; `rp_filter` (`EXDEV` on older kernels); a martian source or destination | `blackhole` |
//!
//! IPv6 looks at neither `forwarding` nor `disable_ipv6` here. What rejects is told apart by [`super::fib::find`]
//! and the sysctls.

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;
use netlink_packet_route::{
    RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage},
};
use rtnetlink::packet_core::DefaultNla;
use serde::{Deserialize, Serialize};

use super::{Family, Route, RouteKind, decode};
use crate::host::{
    inside,
    netlink::{self, NetlinkError},
    netns::NetnsHandle,
};

/// A packet whose way is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RouteQuery {
    /// Where it goes.
    pub destination: IpAddr,
    /// Where it comes from; needed with `iif`.
    pub source: Option<IpAddr>,
    /// Interface that it came in by; `None` for a packet of this host's own.
    pub iif: Option<String>,
    /// Packet mark.
    pub mark: u32,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// Source port.
    pub source_port: Option<u16>,
    /// Destination port.
    pub destination_port: Option<u16>,
}

impl RouteQuery {
    /// A packet of this host's own, to `destination`.
    #[must_use]
    pub fn to(destination: IpAddr) -> Self {
        Self {
            destination,
            source: None,
            iif: None,
            mark: 0,
            protocol: None,
            source_port: None,
            destination_port: None,
        }
    }

    /// The same from this source.
    #[must_use]
    pub fn from(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// The same, come in by this interface.
    #[must_use]
    pub fn iif(mut self, interface: impl Into<String>) -> Self {
        self.iif = Some(interface.into());
        self
    }

    /// The command that asks the same.
    #[must_use]
    pub fn command(&self) -> String {
        let ip = Family::of(self.destination).ip_command();
        let mut command = format!("{ip} route get {}", self.destination);
        if let Some(source) = self.source {
            command += &format!(" from {source}");
        }
        if let Some(iif) = &self.iif {
            command += &format!(" iif {iif}");
        }
        if self.mark != 0 {
            command += &format!(" mark {:#x}", self.mark);
        }
        command
    }
}

/// The kernel's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteAnswer {
    /// It has a way.
    Found(Box<RouteFound>),
    /// It has none.
    Refused(Refusal),
}

impl RouteAnswer {
    /// The way, where there is one.
    #[must_use]
    pub fn found(&self) -> Option<&RouteFound> {
        match self {
            Self::Found(found) => Some(found),
            Self::Refused(_) => None,
        }
    }

    /// Why not, where there is none.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Found(_) => None,
            Self::Refused(refusal) => Some(*refusal),
        }
    }
}

/// A packet's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteFound {
    /// Sent on, or delivered here.
    pub kind: RouteKind,
    /// Interface that it leaves by.
    pub oif: Option<String>,
    /// Router that it goes to.
    pub gateway: Option<IpAddr>,
    /// Source address that a packet of this host's own gets.
    pub prefsrc: Option<IpAddr>,
    /// Table that decided. 254 may stand for 255: the kernel searches both as one while there are no rules but its own.
    pub table: u32,
    /// The route that decided (`RTM_F_FIB_MATCH`, IPv4 4.13+, IPv6 4.14+), where the kernel says.
    pub matched: Option<Route>,
}

/// How the kernel refuses a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Refusal {
    /// The errno of the answer.
    pub errno: i32,
}

impl Refusal {
    /// What it can mean. The errno alone never tells a route from a setting: ask [`super::fib::find`] and the sysctls.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self.errno {
            libc::ENETUNREACH => "no route, or an unreachable rule",
            libc::EHOSTUNREACH => "an unreachable route, or the interface does not forward",
            libc::EACCES => "a prohibit route or rule",
            libc::EINVAL => {
                "a blackhole route or rule, or an address refused by rp_filter or as martian"
            }
            libc::EXDEV => "a source that rp_filter refuses",
            _ => "refused",
        }
    }

    /// Its name in C, for evidence.
    #[must_use]
    pub fn name(self) -> String {
        format!("{:?}", nix::errno::Errno::from_raw(self.errno))
    }
}

/// Asks the kernel in `netns`.
///
/// # Errors
/// The namespace cannot be entered, the interface has no such name there, or netlink does not answer. A refusal is
/// an answer, not an error.
pub fn lookup(netns: &NetnsHandle, query: &RouteQuery) -> Result<RouteAnswer> {
    netns
        .run(|| lookup_here(query))?
        .with_context(|| format!("asking `{}`", query.command()))
}

fn lookup_here(query: &RouteQuery) -> Result<RouteAnswer> {
    let index = query.iif.as_deref().map(inside::device_index);
    let iif = index
        .transpose()
        .context("the incoming interface is not in that namespace")?;
    let answer = match ask(query, iif, RouteFlags::LookupTable) {
        Err(NetlinkError::Refused(errno)) => return Ok(RouteAnswer::Refused(Refusal { errno })),
        other => other?,
    };
    let Some((route, error)) = answer else {
        bail!("the kernel's answer holds no route");
    };
    // IPv6 hands out rejecting routes as answers, with their errno inside.
    let errno = match route.kind {
        _ if error != 0 => error,
        RouteKind::Blackhole => libc::EINVAL,
        RouteKind::Unreachable => libc::EHOSTUNREACH,
        RouteKind::Prohibit => libc::EACCES,
        _ => 0,
    };
    if errno != 0 {
        return Ok(RouteAnswer::Refused(Refusal { errno }));
    }
    let flags = RouteFlags::LookupTable | RouteFlags::FibMatch;
    let matched = ask(query, iif, flags)
        .ok()
        .flatten()
        .map(|(route, _)| route);
    Ok(RouteAnswer::Found(Box::new(RouteFound {
        kind: route.kind,
        oif: route.oif,
        gateway: route.gateway,
        prefsrc: route.prefsrc,
        table: route.table,
        matched,
    })))
}

/// One question; the route of the answer and the errno inside it.
fn ask(
    query: &RouteQuery,
    iif: Option<u32>,
    flags: RouteFlags,
) -> Result<Option<(Route, i32)>, NetlinkError> {
    let request = RouteNetlinkMessage::GetRoute(request(query, iif, flags));
    let Some(RouteNetlinkMessage::NewRoute(message)) = netlink::get(request)? else {
        return Ok(None);
    };
    let error = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            // IPv6 puts a negative errno into the unsigned field.
            RouteAttribute::CacheInfo(info) => Some(info.error.cast_signed().saturating_abs()),
            _ => None,
        });
    let route = decode::route(&message, &netlink::interface_name);
    Ok(route.map(|route| (route, error.unwrap_or(0))))
}

fn request(query: &RouteQuery, iif: Option<u32>, flags: RouteFlags) -> RouteMessage {
    const RTA_IP_PROTO: u16 = 27;
    const RTA_SPORT: u16 = 28;
    const RTA_DPORT: u16 = 29;

    let mut message = RouteMessage::default();
    let host = IpNet::from(query.destination).max_prefix_len();
    message.header.address_family = decode::address_family(Family::of(query.destination));
    message.header.destination_prefix_length = host;
    message.header.flags = flags;
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Destination(address(query.destination)));
    if let Some(source) = query.source {
        message.header.source_prefix_length = host;
        attributes.push(RouteAttribute::Source(address(source)));
    }
    attributes.extend(iif.map(RouteAttribute::Iif));
    if query.mark != 0 {
        attributes.push(RouteAttribute::Mark(query.mark));
    }
    if let Some(protocol) = query.protocol {
        let nla = DefaultNla::new(RTA_IP_PROTO, vec![protocol]);
        attributes.push(RouteAttribute::Other(nla));
    }
    for (kind, port) in [
        (RTA_SPORT, query.source_port),
        (RTA_DPORT, query.destination_port),
    ] {
        if let Some(port) = port {
            let nla = DefaultNla::new(kind, port.to_be_bytes().to_vec());
            attributes.push(RouteAttribute::Other(nla));
        }
    }
    message
}

fn address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(v4) => RouteAddress::Inet(v4),
        IpAddr::V6(v6) => RouteAddress::Inet6(v6),
    }
}
