//! VXLAN devices: the tunnels of overlay networks.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use netlink_packet_route::link::{
    InfoData, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use serde::{Deserialize, Serialize};

use super::{netlink, netns::NetnsHandle};

/// A VXLAN device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vxlan {
    /// Its name.
    pub name: String,
    /// It is set up: only then it takes packets.
    pub up: bool,
    /// Its network's number (VNI).
    pub id: u32,
    /// The UDP port that it takes packets on.
    pub port: u16,
    /// Where it sends what it has no other way for: a peer or a group.
    pub remote: Option<IpAddr>,
    /// It takes every number, as the packet's metadata says.
    pub any_id: bool,
}

/// The VXLAN devices of a namespace.
///
/// # Errors
/// The kernel does not answer.
pub fn vxlans(netns: &NetnsHandle) -> Result<Vec<Vxlan>> {
    netns
        .run(|| netlink::links(|link| decode(&link)))?
        .with_context(|| {
            format!(
                "reading the VXLAN devices of network namespace {}",
                netns.inum()
            )
        })
}

fn decode(link: &LinkMessage) -> Option<Vxlan> {
    let mut name = format!("if{}", link.header.index);
    let mut data = None;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(found) => name.clone_from(found),
            LinkAttribute::LinkInfo(infos) => {
                data = infos.iter().find_map(|info| match info {
                    LinkInfo::Data(InfoData::Vxlan(data)) => Some(data),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let mut vxlan = Vxlan {
        name,
        up: link.header.flags.contains(LinkFlags::Up),
        id: 0,
        port: 0,
        remote: None,
        any_id: false,
    };
    for attribute in data? {
        match attribute {
            InfoVxlan::Id(id) => vxlan.id = *id,
            InfoVxlan::Port(port) => vxlan.port = *port,
            InfoVxlan::Group(address) => vxlan.remote = Some((*address).into()),
            InfoVxlan::Group6(address) => vxlan.remote = Some((*address).into()),
            InfoVxlan::CollectMetadata(on) | InfoVxlan::Vnifilter(on) => vxlan.any_id |= *on,
            _ => {}
        }
    }
    Some(vxlan)
}
