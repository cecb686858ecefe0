//! Neighbours (ARP and NDP entries) of a network namespace.

use std::{fmt, net::IpAddr};

use anyhow::{Context as _, Result};
use netlink_packet_route::{
    RouteNetlinkMessage,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
        NeighbourState as WireState,
    },
};
use serde::{Deserialize, Serialize};

use super::{netlink, netns::NetnsHandle};

/// What the kernel knows of a neighbour (`NUD_*`, include/uapi/linux/neighbour.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NeighbourState {
    /// Asked for, no answer yet.
    Incomplete,
    /// Answered of late.
    Reachable,
    /// Known, not confirmed of late.
    Stale,
    /// Used while stale; asked for soon.
    Delay,
    /// Being asked for again.
    Probe,
    /// Did not answer.
    Failed,
    /// Needs no asking.
    Noarp,
    /// Set by hand.
    Permanent,
    /// No state.
    None,
}

impl fmt::Display for NeighbourState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Incomplete => "INCOMPLETE",
            Self::Reachable => "REACHABLE",
            Self::Stale => "STALE",
            Self::Delay => "DELAY",
            Self::Probe => "PROBE",
            Self::Failed => "FAILED",
            Self::Noarp => "NOARP",
            Self::Permanent => "PERMANENT",
            Self::None => "NONE",
        })
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its address.
    pub address: IpAddr,
    /// Interface that it is on.
    pub device: String,
    /// Its link-layer address, lower case with colons, where it is known.
    pub mac: Option<String>,
    /// What the kernel knows.
    pub state: NeighbourState,
    /// It has said of itself that it is a router (IPv6 only).
    pub router: bool,
}

impl Neighbour {
    /// True where the kernel sends to it without asking first.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.mac.is_some() && !self.is_unresolved()
    }

    /// True where the kernel cannot send to it now.
    #[must_use]
    pub fn is_unresolved(&self) -> bool {
        matches!(
            self.state,
            NeighbourState::Failed | NeighbourState::Incomplete
        )
    }
}

/// As `ip neighbour` prints it.
impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.address, self.device)?;
        if let Some(mac) = &self.mac {
            write!(f, " lladdr {mac}")?;
        }
        write!(f, " {}", self.state)
    }
}

/// Every IPv4 and IPv6 entry of a namespace, multicast and loopback ones included.
pub fn neighbours(netns: &NetnsHandle) -> Result<Vec<Neighbour>> {
    netns
        .run(|| {
            let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
            netlink::dump(request, |message| match message {
                RouteNetlinkMessage::NewNeighbour(entry) => decode(&entry),
                _ => None,
            })
        })?
        .with_context(|| {
            format!(
                "reading the neighbours of network namespace {}",
                netns.inum()
            )
        })
}

fn decode(message: &NeighbourMessage) -> Option<Neighbour> {
    let attributes = message.attributes.iter();
    let address = attributes.clone().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    })?;
    let mac = attributes.clone().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) if !bytes.is_empty() => {
            let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Some(pairs.join(":"))
        }
        _ => None,
    });
    Some(Neighbour {
        address,
        device: netlink::interface_name(message.header.ifindex),
        router: message.header.flags.contains(NeighbourFlags::Router),
        mac,
        state: match message.header.state {
            WireState::Incomplete => NeighbourState::Incomplete,
            WireState::Reachable => NeighbourState::Reachable,
            WireState::Stale => NeighbourState::Stale,
            WireState::Delay => NeighbourState::Delay,
            WireState::Probe => NeighbourState::Probe,
            WireState::Failed => NeighbourState::Failed,
            WireState::Noarp => NeighbourState::Noarp,
            WireState::Permanent => NeighbourState::Permanent,
            _ => NeighbourState::None,
        },
    })
}
