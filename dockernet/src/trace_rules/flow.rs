//! Which packets are traced: one direction of one flow.

use std::net::IpAddr;

use dockernet_common::{conntrack::info, record::flag};

use crate::{evidence::Evidence, model::Tuple};

/// TCP, UDP and SCTP have their ports in the first four bytes.
const WITH_PORTS: [u8; 3] = [6, 17, 132];

/// A packet's tuple, at some point of its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub(super) protocol: u8,
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    /// Source and destination; none for protocols without.
    pub(super) ports: Option<[u16; 2]>,
}

impl Flow {
    /// What packets of a dead one's flow look like on the PREROUTING or OUTPUT hook, before NAT. Conntrack remembers what it looked like before NAT; one that it does
    /// not track has not been translated.
    pub(super) fn entering(evidence: &Evidence) -> Option<Self> {
        let conntrack = &evidence.record.conntrack;
        let is_tracked = evidence.record.flags & flag::CONNTRACK != 0;
        let raw = match conntrack.info {
            _ if !is_tracked => None,
            info::NEW | info::ESTABLISHED => Some(&conntrack.original),
            info::IS_REPLY => Some(&conntrack.reply),
            // An ICMP error is not of the flow that it is about.
            _ => None,
        };
        if let Some(raw) = raw {
            let tuple = Tuple::of(raw)?;
            return Some(Self::new(raw.protocol, tuple));
        }
        Self::dropped(evidence)
    }

    /// What they look like where it died.
    pub(super) fn dropped(evidence: &Evidence) -> Option<Self> {
        let packet = evidence.drop.packet.as_ref()?;
        let tuple = Tuple {
            src: packet.src?,
            src_port: packet.src_port,
            dst: packet.dst?,
            dst_port: packet.dst_port,
        };
        let protocol = evidence.record.key.protocol;
        (protocol != 0).then(|| Self::new(protocol, tuple))
    }

    fn new(protocol: u8, tuple: Tuple) -> Self {
        let ports = tuple.src_port.zip(tuple.dst_port);
        Self {
            protocol,
            src: tuple.src,
            dst: tuple.dst,
            ports: ports
                .filter(|_| WITH_PORTS.contains(&protocol))
                .map(Into::into),
        }
    }

    /// The flow of a packet, by its network and transport header; IPv6 without extension headers.
    pub(super) fn of_headers(network: &[u8], transport: &[u8]) -> Option<Self> {
        let (protocol, src, dst): (u8, IpAddr, IpAddr) = match network.first()? >> 4 {
            4 => (
                *network.get(9)?,
                network.get(12..)?.first_chunk::<4>().copied()?.into(),
                network.get(16..)?.first_chunk::<4>().copied()?.into(),
            ),
            6 => (
                *network.get(6)?,
                network.get(8..)?.first_chunk::<16>().copied()?.into(),
                network.get(24..)?.first_chunk::<16>().copied()?.into(),
            ),
            _ => return None,
        };
        let ports = transport
            .first_chunk::<4>()
            .filter(|_| WITH_PORTS.contains(&protocol));
        Some(Self {
            protocol,
            src,
            dst,
            ports: ports
                .map(|[a, b, c, d]| [u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])]),
        })
    }
}
