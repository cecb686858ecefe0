//! Bridges and their ports: who may pass frames now.
//!
//! Read over netlink: /sys/class/net shows the namespace that sysfs was mounted in, not the reader's.

use std::{fmt, time::Duration};

use anyhow::{Context as _, Result};
use netlink_packet_route::link::{
    BridgePortState, BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoPortData,
    LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use serde::{Deserialize, Serialize};

use super::{netlink, netns::NetnsHandle};

/// What the spanning tree lets a port do (`BR_STATE_*`, include/uapi/linux/if_bridge.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PortState {
    /// Nothing; its link is down.
    Disabled,
    /// Waits; passes nothing.
    Listening,
    /// Learns addresses; passes nothing.
    Learning,
    /// Passes frames.
    Forwarding,
    /// Passes nothing, to break a loop.
    Blocking,
    /// A state of a newer kernel.
    Other(u8),
}

impl PortState {
    /// From the number in `IFLA_BRPORT_STATE` or in the kernel's `net_bridge_port`.
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Disabled,
            1 => Self::Listening,
            2 => Self::Learning,
            3 => Self::Forwarding,
            4 => Self::Blocking,
            other => Self::Other(other),
        }
    }

    /// True while a port waits for the forward delay to pass.
    #[must_use]
    pub fn is_waiting(self) -> bool {
        matches!(self, Self::Listening | Self::Learning)
    }
}

impl fmt::Display for PortState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled => f.write_str("disabled"),
            Self::Listening => f.write_str("listening"),
            Self::Learning => f.write_str("learning"),
            Self::Forwarding => f.write_str("forwarding"),
            Self::Blocking => f.write_str("blocking"),
            Self::Other(number) => write!(f, "state {number}"),
        }
    }
}

/// An interface that is a port of a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgePort {
    /// Index of the port.
    pub ifindex: u32,
    /// Name of the port, such as `veth1a2b3c`.
    pub name: String,
    /// Index of its bridge.
    pub bridge_ifindex: u32,
    /// Name of its bridge.
    pub bridge: String,
    /// What it may do.
    pub state: PortState,
    /// Sends a frame back by the port that it came in by.
    pub hairpin: bool,
    /// Exchanges nothing with other isolated ports (4.18+).
    pub isolated: bool,
    /// Gets unicast frames to unknown addresses.
    pub unicast_flood: bool,
    /// Gets multicast frames of unknown groups (4.9+).
    pub multicast_flood: bool,
    /// Gets broadcast frames (4.10+).
    pub broadcast_flood: bool,
    /// Learns addresses.
    pub learning: bool,
}

/// A bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// Its index.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// It is set up.
    pub up: bool,
    /// The spanning tree runs.
    pub stp: bool,
    /// How long a port waits in listening and again in learning.
    pub forward_delay: Duration,
    /// `nf_call_iptables` of this bridge alone; the sysctl counts too.
    pub nf_call_iptables: bool,
    /// `nf_call_ip6tables` of this bridge alone; the sysctl counts too.
    pub nf_call_ip6tables: bool,
    /// VLAN filtering is on.
    pub vlan_filtering: bool,
}

/// A namespace's bridges and ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridges {
    /// Bridges.
    pub bridges: Vec<Bridge>,
    /// Ports of all of them.
    pub ports: Vec<BridgePort>,
}

impl Bridges {
    /// A bridge by name.
    #[must_use]
    pub fn bridge(&self, name: &str) -> Option<&Bridge> {
        self.bridges.iter().find(|bridge| bridge.name == name)
    }

    /// A port by name.
    #[must_use]
    pub fn port(&self, name: &str) -> Option<&BridgePort> {
        self.ports.iter().find(|port| port.name == name)
    }

    /// The ports of a bridge.
    pub fn ports_of<'a>(&'a self, bridge: &'a str) -> impl Iterator<Item = &'a BridgePort> {
        self.ports.iter().filter(move |port| port.bridge == bridge)
    }
}

/// Bridges and ports of a namespace.
pub fn bridges(netns: &NetnsHandle) -> Result<Bridges> {
    netns
        .run(|| netlink::links(Some).map(|links| decode(&links)))?
        .with_context(|| format!("reading the bridges of network namespace {}", netns.inum()))
}

fn decode(links: &[LinkMessage]) -> Bridges {
    let mut found = Bridges::default();
    for link in links {
        for info in infos(link) {
            match info {
                LinkInfo::Data(InfoData::Bridge(data)) => found.bridges.push(bridge(link, data)),
                LinkInfo::PortData(InfoPortData::BridgePort(data)) => {
                    found.ports.extend(port(link, data));
                }
                _ => {}
            }
        }
    }
    for port in &mut found.ports {
        let index = port.bridge_ifindex;
        let bridge = found.bridges.iter().find(|bridge| bridge.ifindex == index);
        port.bridge = bridge.map_or_else(|| format!("if{index}"), |bridge| bridge.name.clone());
    }
    found
}

fn infos(link: &LinkMessage) -> &[LinkInfo] {
    let infos = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => Some(infos.as_slice()),
            _ => None,
        });
    infos.unwrap_or_default()
}

fn name(link: &LinkMessage) -> String {
    let name = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        });
    name.unwrap_or_else(|| format!("if{}", link.header.index))
}

fn bridge(link: &LinkMessage, data: &[InfoBridge]) -> Bridge {
    let mut bridge = Bridge {
        ifindex: link.header.index,
        name: name(link),
        up: link.header.flags.contains(LinkFlags::Up),
        stp: false,
        forward_delay: Duration::ZERO,
        nf_call_iptables: false,
        nf_call_ip6tables: false,
        vlan_filtering: false,
    };
    for attribute in data {
        match attribute {
            InfoBridge::StpState(state) => bridge.stp = *state != BridgeStpState::Disabled,
            // Clock ticks of user space, 100 a second on every architecture that Docker runs on.
            InfoBridge::ForwardDelay(ticks) => {
                bridge.forward_delay = Duration::from_millis(u64::from(*ticks) * 10);
            }
            InfoBridge::NfCallIpTables(on) => bridge.nf_call_iptables = *on,
            InfoBridge::NfCallIp6Tables(on) => bridge.nf_call_ip6tables = *on,
            InfoBridge::VlanFiltering(on) => bridge.vlan_filtering = *on,
            _ => {}
        }
    }
    bridge
}

fn port(link: &LinkMessage, data: &[InfoBridgePort]) -> Option<BridgePort> {
    let bridge_ifindex = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Controller(index) => Some(*index),
            _ => None,
        })?;
    // What an older kernel does not send is what it does.
    let mut port = BridgePort {
        ifindex: link.header.index,
        name: name(link),
        bridge_ifindex,
        bridge: String::new(),
        state: PortState::Disabled,
        hairpin: false,
        isolated: false,
        unicast_flood: true,
        multicast_flood: true,
        broadcast_flood: true,
        learning: true,
    };
    for attribute in data {
        match attribute {
            InfoBridgePort::State(state) => port.state = port_state(*state),
            InfoBridgePort::HairpinMode(on) => port.hairpin = *on,
            InfoBridgePort::Isolated(on) => port.isolated = *on,
            InfoBridgePort::UnicastFlood(on) => port.unicast_flood = *on,
            InfoBridgePort::MulticastFlood(on) => port.multicast_flood = *on,
            InfoBridgePort::BroadcastFlood(on) => port.broadcast_flood = *on,
            InfoBridgePort::Learning(on) => port.learning = *on,
            _ => {}
        }
    }
    Some(port)
}

fn port_state(state: BridgePortState) -> PortState {
    match state {
        BridgePortState::Disabled => PortState::Disabled,
        BridgePortState::Listening => PortState::Listening,
        BridgePortState::Learning => PortState::Learning,
        BridgePortState::Forwarding => PortState::Forwarding,
        BridgePortState::Blocking => PortState::Blocking,
        other => PortState::from_number(other.into()),
    }
}
