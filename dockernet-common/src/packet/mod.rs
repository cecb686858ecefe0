//! L2–L4 headers out of bytes.
//!
//! [`parse`] is for user space: it takes the bytes the kernel half copied from an skb, and what the skb says about them. [`flow_key`] is
//! for the kernel half: it reads only what names the flow. Neither ever fails as a whole: what is not there is `None`.

mod arp;
pub mod ethertype;
mod flow;
mod icmp;
mod ip;
mod ipv4;
mod ipv6;
mod link;
mod protocol;
mod source;
mod tcp;
mod transport;

pub use arp::Arp;
pub(crate) use flow::mapped;
pub use flow::{FlowKey, flow_key, halves};
pub use icmp::{Icmp, Original};
pub use ip::{Fragment, Ip};
pub use ipv4::Ipv4;
pub use ipv6::{Extensions, Ipv6};
pub use link::{Link, VlanTag, VlanTags};
pub use protocol::{TCP, UDP, has_ports};
pub use source::ByteSource;
pub use tcp::{Tcp, TcpFlags};
pub use transport::{Ports, Transport, Udp};

use network_types::eth::EthHdr;

/// What the skb says about the bytes. Offsets count from the first byte; one that lies before it is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Start {
    /// `skb->mac_header`, if it was set (it is not 0xffff).
    pub mac: Option<usize>,
    /// `skb->network_header`, if it was set (an skb starts with 0, which lies in the headroom).
    pub network: Option<usize>,
    /// `skb->transport_header`, if it was set (it is not 0xffff). Used only if it is all there is: the IP header knows better,
    /// because until `ip_rcv()` this is the network header's offset (`__netif_receive_skb_core()`, `net/core/dev.c`, 3.10).
    pub transport: Option<usize>,
    /// Protocol number of the packet's socket, if it has one: says what is at `transport` when a packet dies before it got
    /// its IP header.
    pub protocol: Option<u8>,
}

/// The network layer's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// ARP.
    Arp(Arp),
    /// IPv4 or IPv6.
    Ip(Ip),
}

/// A packet's headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Parsed {
    /// Ethernet header.
    pub link: Option<Link>,
    /// VLAN tags in the bytes.
    pub vlans: VlanTags,
    /// EtherType of the network layer, host order: behind in-line tags what they say, else `skb->protocol`; `None` if
    /// neither tells.
    pub ethertype: Option<u16>,
    /// ARP or IP.
    pub network: Option<Network>,
    /// TCP, UDP, ICMP …; `None` in later fragments.
    pub transport: Option<Transport>,
    /// In ICMP errors: the packet they complain about.
    pub original: Option<Original>,
}

impl Parsed {
    /// IP header.
    pub const fn ip(&self) -> Option<&Ip> {
        match &self.network {
            Some(Network::Ip(ip)) => Some(ip),
            _ => None,
        }
    }

    /// ARP message.
    pub const fn arp(&self) -> Option<&Arp> {
        match &self.network {
            Some(Network::Arp(arp)) => Some(arp),
            _ => None,
        }
    }

    /// Ports, if it has them.
    pub fn ports(&self) -> Option<Ports> {
        self.transport.as_ref().and_then(Transport::ports)
    }

    fn parse_transport(&mut self, payload: &[u8], protocol: u8) {
        self.transport = transport::parse(payload, protocol);
        self.original = self
            .transport
            .and_then(|transport| icmp::original(payload, &transport));
    }
}

/// Reads all headers in `bytes`. `ethertype` is `skb->protocol` in host order.
pub fn parse(bytes: &[u8], at: Start, ethertype: u16) -> Parsed {
    let mut parsed = Parsed::default();
    let network = find_network(bytes, at, ethertype, &mut parsed);
    if let (Some(begin), Some(ethertype)) = (network, parsed.ethertype)
        && let Some(header) = bytes.get(begin..)
    {
        if ethertype == ethertype::ARP {
            parsed.network = arp::parse(header).map(Network::Arp);
        } else if let Some((ip, payload)) = ip::parse(header, ethertype) {
            parsed.network = Some(Network::Ip(ip));
            if let (Some(payload), Some(protocol)) = (payload, ip.protocol()) {
                parsed.parse_transport(payload, protocol);
            }
        }
    }
    // On its way down, without IP header yet.
    if let (None, None) = (at.mac, at.network)
        && let (Some(transport), Some(protocol)) = (at.transport, at.protocol)
        && let Some(payload) = bytes.get(transport..)
    {
        parsed.parse_transport(payload, protocol);
    }
    parsed
}

/// Where the network header begins. Fills in link header, tags and EtherType.
fn find_network(bytes: &[u8], at: Start, ethertype: u16, parsed: &mut Parsed) -> Option<usize> {
    let tagged = ethertype::is_vlan(ethertype);
    // 0: sent through a packet socket that did not say.
    let known = !tagged && ethertype != 0;
    if known {
        parsed.ethertype = Some(ethertype);
    }
    let walk = at.mac.and_then(|mac| {
        // Devices without link header (tun, WireGuard) have both at the same place; stale offsets can be anywhere.
        if let Some(network) = at.network
            && network.checked_sub(mac)? < EthHdr::LEN
        {
            return None;
        }
        let link = link::parse(bytes, mac)?;
        parsed.link = Some(link);
        Some(link::walk_tags(bytes, mac + EthHdr::LEN, link.ethertype))
    });
    let walk = match (at.network, walk) {
        // Tags right up to the network header: taken from there, or put in for sending.
        (Some(network), Some(walk)) if walk.begin() == Some(network) => walk,
        // Received, and the tag not taken out yet: what is there is its control information.
        (Some(network), _) if tagged => link::walk_tags(bytes, network, ethertype),
        (Some(network), _) => return Some(network),
        (None, Some(walk)) => walk,
        (None, None) => return None,
    };
    parsed.vlans = walk.tags;
    let (begin, inner) = walk.network?;
    if !known {
        parsed.ethertype = Some(inner);
    } else if at.network.is_none() && inner != ethertype {
        // The link header says otherwise than the skb: it is stale.
        return None;
    }
    Some(begin)
}

#[cfg(test)]
mod tests;
