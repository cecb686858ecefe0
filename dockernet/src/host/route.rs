//! Routes and policy rules of a network namespace, and which of them decides a packet's way.

mod decode;
pub mod fib;
pub mod lookup;
pub mod rule;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use netlink_packet_route::{RouteNetlinkMessage, route::RouteMessage};
use serde::{Deserialize, Serialize};

pub(crate) use decode::route as decode_route;

use super::{netlink, netns::NetnsHandle};

/// The table that `ip route` shows when none is named.
pub const TABLE_MAIN: u32 = 254;
/// The kernel's own table of local and broadcast addresses.
pub const TABLE_LOCAL: u32 = 255;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    /// Every address of the family.
    #[must_use]
    pub fn everything(self) -> IpNet {
        let any: IpAddr = match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        IpNet::new_assert(any, 0)
    }

    /// `ip` or `ip -6`: the command that handles this family.
    #[must_use]
    pub fn ip_command(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip -6",
        }
    }
}

/// What a route does with a packet (`RTN_*`, include/uapi/linux/rtnetlink.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RouteKind {
    /// Sent on, directly or to a gateway.
    Unicast,
    /// Delivered to this host.
    Local,
    /// Delivered to this host as a broadcast.
    Broadcast,
    /// Delivered to this host as an anycast.
    Anycast,
    /// Sent to a group.
    Multicast,
    /// Dropped in silence.
    Blackhole,
    /// Dropped; the sender is told "host unreachable".
    Unreachable,
    /// Dropped; the sender is told "administratively prohibited".
    Prohibit,
    /// The search goes on with the next rule.
    Throw,
    /// Any other type.
    Other(u8),
}

impl RouteKind {
    /// Its name in `ip route`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unicast => "unicast",
            Self::Local => "local",
            Self::Broadcast => "broadcast",
            Self::Anycast => "anycast",
            Self::Multicast => "multicast",
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
            Self::Throw => "throw",
            Self::Other(_) => "unknown",
        }
    }

    /// True for a route that exists to refuse packets.
    #[must_use]
    pub fn rejects(self) -> bool {
        matches!(self, Self::Blackhole | Self::Unreachable | Self::Prohibit)
    }
}

/// One way out of a route that has several.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NextHop {
    /// Interface that it leaves by.
    pub oif: String,
    /// Router that it goes to.
    pub gateway: Option<IpAddr>,
    /// Share of the traffic, from 1.
    pub weight: u16,
}

/// A route, as a table holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Route {
    /// Destinations that it is for.
    pub prefix: IpNet,
    /// Sources that it is for, where it is for some only (IPv6).
    pub from: Option<IpNet>,
    /// Number of its table.
    pub table: u32,
    /// What it does.
    pub kind: RouteKind,
    /// Interface that packets leave by.
    pub oif: Option<String>,
    /// Router that packets go to.
    pub gateway: Option<IpAddr>,
    /// The lower, the better; 0 where none was given.
    pub metric: u32,
    /// Source address of this host's own packets.
    pub prefsrc: Option<IpAddr>,
    /// Who put it there (`RTPROT_*`).
    pub protocol: u8,
    /// How far it reaches (`RT_SCOPE_*`).
    pub scope: u8,
    /// The interface is down or without a carrier (`RTNH_F_DEAD`).
    pub dead: bool,
    /// The interface has no carrier (`RTNH_F_LINKDOWN`).
    pub linkdown: bool,
    /// Several ways out; `oif` and `gateway` are then empty.
    pub nexthops: Vec<NextHop>,
}

impl Route {
    /// A plain route in the main table.
    #[must_use]
    pub fn new(prefix: IpNet, kind: RouteKind) -> Self {
        Self {
            prefix,
            from: None,
            table: TABLE_MAIN,
            kind,
            oif: None,
            gateway: None,
            metric: 0,
            prefsrc: None,
            protocol: 3,
            scope: 0,
            dead: false,
            linkdown: false,
            nexthops: Vec::new(),
        }
    }

    /// Whether packets leave by this interface, it alone or one of several.
    #[must_use]
    pub fn leaves_by(&self, device: &str) -> bool {
        let mut hops = self.nexthops.iter();
        self.oif.as_deref() == Some(device) || hops.any(|hop| hop.oif == device)
    }

    /// Whether it leads to a router, or to everywhere else.
    #[must_use]
    pub fn leads_on(&self) -> bool {
        let mut hops = self.nexthops.iter();
        let by_router = self.gateway.is_some() || hops.any(|hop| hop.gateway.is_some());
        self.kind == RouteKind::Unicast && (by_router || self.prefix.prefix_len() == 0)
    }

    /// The command that deletes this route and no other.
    #[must_use]
    pub fn delete_command(&self) -> String {
        let ip = Family::of(self.prefix.addr()).ip_command();
        let mut command = format!("{ip} route del ");
        if self.kind != RouteKind::Unicast {
            command += self.kind.name();
            command.push(' ');
        }
        command += &prefix_text(&self.prefix);
        if let Some(gateway) = self.gateway {
            command += &format!(" via {gateway}");
        }
        // The kernel shows IPv6's rejecting routes on lo, and takes them back without it.
        if let Some(oif) = self.oif.as_ref().filter(|_| !self.kind.rejects()) {
            command += &format!(" dev {oif}");
        }
        if self.table != TABLE_MAIN {
            command += &format!(" table {}", table_name(self.table));
        }
        if self.metric != 0 {
            command += &format!(" metric {}", self.metric);
        }
        command
    }
}

/// As `ip route show table all` prints it.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind != RouteKind::Unicast {
            write!(f, "{} ", self.kind.name())?;
        }
        f.write_str(&prefix_text(&self.prefix))?;
        if let Some(from) = &self.from {
            write!(f, " from {}", prefix_text(from))?;
        }
        if let Some(gateway) = self.gateway {
            let other = Family::of(gateway) != Family::of(self.prefix.addr());
            write!(f, " via {}{gateway}", if other { "inet6 " } else { "" })?;
        }
        if let Some(oif) = &self.oif {
            write!(f, " dev {oif}")?;
        }
        if self.table != TABLE_MAIN {
            write!(f, " table {}", table_name(self.table))?;
        }
        match self.protocol {
            0 | 3 => {}
            other => match protocol_name(other) {
                Some(name) => write!(f, " proto {name}")?,
                None => write!(f, " proto {other}")?,
            },
        }
        match self.scope {
            0 => {}
            200 => f.write_str(" scope site")?,
            253 => f.write_str(" scope link")?,
            254 => f.write_str(" scope host")?,
            255 => f.write_str(" scope nowhere")?,
            other => write!(f, " scope {other}")?,
        }
        if let Some(source) = self.prefsrc {
            write!(f, " src {source}")?;
        }
        if self.metric != 0 {
            write!(f, " metric {}", self.metric)?;
        }
        for hop in &self.nexthops {
            f.write_str(" nexthop")?;
            if let Some(gateway) = hop.gateway {
                write!(f, " via {gateway}")?;
            }
            write!(f, " dev {} weight {}", hop.oif, hop.weight)?;
        }
        f.write_str(if self.dead { " dead" } else { "" })?;
        f.write_str(if self.linkdown { " linkdown" } else { "" })
    }
}

/// Every route of every table of a namespace, in the kernel's order.
pub fn routes(netns: &NetnsHandle, family: Family) -> Result<Vec<Route>> {
    read(netns, family, |_| true)
}

/// The routes of every table that are for `destination`, and no others: there may be a million.
pub fn routes_to(netns: &NetnsHandle, destination: IpAddr) -> Result<Vec<Route>> {
    read(netns, Family::of(destination), |message| {
        decode::prefix_of(message).is_some_and(|prefix| prefix.contains(&destination))
    })
}

fn read(
    netns: &NetnsHandle,
    family: Family,
    wanted: impl Fn(&RouteMessage) -> bool + Sync,
) -> Result<Vec<Route>> {
    netns
        .run(|| {
            let mut message = RouteMessage::default();
            message.header.address_family = decode::address_family(family);
            netlink::dump(
                RouteNetlinkMessage::GetRoute(message),
                |message| match message {
                    RouteNetlinkMessage::NewRoute(route) if wanted(&route) => {
                        decode::route(&route, &netlink::interface_name)
                    }
                    _ => None,
                },
            )
        })?
        .with_context(|| format!("reading the routes of network namespace {}", netns.inum()))
}

/// `default`, `192.0.2.0/24` or, for one address, `192.0.2.1`, as `ip` prints prefixes.
fn prefix_text(prefix: &IpNet) -> String {
    if prefix.prefix_len() == 0 {
        "default".into()
    } else if prefix.prefix_len() == prefix.max_prefix_len() {
        prefix.addr().to_string()
    } else {
        prefix.to_string()
    }
}

/// Name of a table that every system has, else its number. `ip` takes both.
#[must_use]
pub fn table_name(table: u32) -> String {
    match table {
        // A rule for VRF devices: the device names the table.
        0 => "[l3mdev-table]".into(),
        253 => "default".into(),
        TABLE_MAIN => "main".into(),
        TABLE_LOCAL => "local".into(),
        other => other.to_string(),
    }
}

fn protocol_name(protocol: u8) -> Option<&'static str> {
    Some(match protocol {
        1 => "redirect",
        2 => "kernel",
        4 => "static",
        9 => "ra",
        11 => "zebra",
        12 => "bird",
        16 => "dhcp",
        18 => "keepalived",
        42 => "babel",
        186 => "bgp",
        187 => "isis",
        188 => "ospf",
        189 => "rip",
        192 => "eigrp",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn routes_print_as_ip_prints_them() {
        let mut route = Route::new("0.0.0.0/0".parse().unwrap(), RouteKind::Unicast);
        route.gateway = Some("198.51.100.1".parse().unwrap());
        route.oif = Some("eth0".into());
        route.protocol = 16;
        route.metric = 100;
        let text = "default via 198.51.100.1 dev eth0 proto dhcp metric 100";
        assert_eq!(route.to_string(), text);

        let mut route = Route::new("172.17.0.0/16".parse().unwrap(), RouteKind::Prohibit);
        route.table = 100;
        assert_eq!(route.to_string(), "prohibit 172.17.0.0/16 table 100");
        let command = "ip route del prohibit 172.17.0.0/16 table 100";
        assert_eq!(route.delete_command(), command);

        let route = Route::new("2001:db8::1/128".parse().unwrap(), RouteKind::Blackhole);
        assert_eq!(
            route.delete_command(),
            "ip -6 route del blackhole 2001:db8::1"
        );
    }
}
