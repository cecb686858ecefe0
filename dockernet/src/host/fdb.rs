//! Forwarding databases: which port of a bridge, or which end of a tunnel, a MAC address is behind.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage},
};
use serde::{Deserialize, Serialize};

use super::{netlink, netns::NetnsHandle};

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbEntry {
    /// MAC address, lower case with colons; all zeroes: every address that has no entry of its own.
    pub mac: String,
    /// The port or the tunnel's device.
    pub device: String,
    /// The tunnel's other end.
    pub remote: Option<IpAddr>,
}

/// The entries of all bridges and tunnels of a namespace.
///
/// # Errors
/// The kernel does not answer.
pub fn fdb(netns: &NetnsHandle) -> Result<Vec<FdbEntry>> {
    netns
        .run(|| {
            let mut request = NeighbourMessage::default();
            request.header.family = AddressFamily::Bridge;
            netlink::dump(
                RouteNetlinkMessage::GetNeighbour(request),
                |message| match message {
                    RouteNetlinkMessage::NewNeighbour(entry) => decode(&entry),
                    _ => None,
                },
            )
        })?
        .with_context(|| {
            format!(
                "reading the forwarding database of network namespace {}",
                netns.inum()
            )
        })
}

fn decode(message: &NeighbourMessage) -> Option<FdbEntry> {
    let mut mac = None;
    let mut remote = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                mac = Some(pairs.join(":"));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                remote = Some(IpAddr::V4(*v4));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                remote = Some(IpAddr::V6(*v6));
            }
            _ => {}
        }
    }
    Some(FdbEntry {
        mac: mac?,
        device: netlink::interface_name(message.header.ifindex),
        remote,
    })
}
