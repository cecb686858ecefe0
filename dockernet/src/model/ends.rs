//! Which addresses a drop's two ends have.

use std::net::IpAddr;

use super::Drop;

/// An address, with its port where the protocol has ports.
pub type End = (IpAddr, Option<u16>);

/// The addresses of `source` (before NAT) and `destination` (after NAT), as [`Drop`] names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Where the packet came from.
    pub source: Option<End>,
    /// Where it was going.
    pub destination: Option<End>,
}

impl Drop {
    /// The addresses of both ends. The packet's own unless its flow is translated; then the conntrack entry knows
    /// both sides, and the packet only tells the direction.
    #[must_use]
    pub fn ends(&self) -> Ends {
        let Some(packet) = &self.packet else {
            return Ends::default();
        };
        // Conntrack's "ports" of ICMP are echo ids: not for display.
        let has_ports = packet.src_port.is_some() || packet.dst_port.is_some();
        let end = |address, port: Option<u16>| Some((address, port.filter(|_| has_ports)));
        let own = Ends {
            source: packet.src.and_then(|address| end(address, packet.src_port)),
            destination: packet.dst.and_then(|address| end(address, packet.dst_port)),
        };
        let (Some(nat), Some(source), Some(destination)) = (&self.nat, own.source, own.destination)
        else {
            return own;
        };
        let (original, reply) = (&nat.original, &nat.reply);
        let client = end(original.src, original.src_port);
        let server = end(reply.src, reply.src_port);
        // The two sides as seen before and after translation.
        let is_client =
            |found: End| Some(found) == client || Some(found) == end(reply.dst, reply.dst_port);
        let is_server = |found: End| {
            Some(found) == server || Some(found) == end(original.dst, original.dst_port)
        };
        if is_client(source) && is_server(destination) {
            Ends {
                source: client,
                destination: server,
            }
        } else if is_server(source) && is_client(destination) {
            Ends {
                source: server,
                destination: client,
            }
        } else {
            // Another packet of the flow: an ICMP error about it.
            own
        }
    }
}
