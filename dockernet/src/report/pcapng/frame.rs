//! A dropped packet as it will be written: bytes, and the texts that go with them.

use std::net::IpAddr;

use jiff::{Timestamp, tz::TimeZone};

use super::blocks::{self, Way};
use crate::{
    model::{Capture, Confidence, Drop, EndpointKind, LinkType, NetnsOwner},
    report::{Look, Width, block, clean},
};

/// Devices are told apart by namespace, name, and what their packets begin with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Interface {
    pub(super) netns: u32,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) link: LinkType,
}

/// A packet with all that pcapng says about it.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(super) time: Timestamp,
    pub(super) interface: Interface,
    /// Names of its ends.
    pub(super) names: Vec<(IpAddr, String)>,
    pub(super) bytes: Vec<u8>,
    pub(super) length: u32,
    pub(super) way: Way,
    pub(super) comment: String,
}

impl Frame {
    /// None for a drop that was only counted.
    pub(crate) fn of(drop: &Drop) -> Option<Self> {
        Self::cut(drop, |capture| capture.bytes.len())
    }

    /// The same with the first bytes alone.
    pub(crate) fn cut(drop: &Drop, keep: impl Fn(&Capture) -> usize) -> Option<Self> {
        drop.capture
            .as_ref()
            .map(|capture| Self::with(drop, capture, keep(capture)))
    }

    fn with(drop: &Drop, capture: &Capture, keep: usize) -> Self {
        let packet = drop.packet.as_ref();
        let pkt_type = packet.map_or("", |packet| packet.pkt_type.as_ref());
        let kept = capture.bytes.get(..keep).unwrap_or(&capture.bytes);
        let (bytes, length) = match capture.link {
            LinkType::Other => {
                let ethertype = packet
                    .and_then(|packet| packet.ethertype.strip_prefix("0x"))
                    .and_then(|digits| u16::from_str_radix(digits, 16).ok())
                    .unwrap_or(0);
                let mut bytes = blocks::cooked(pkt_type, ethertype).to_vec();
                let length = capture.length.saturating_add(16);
                bytes.extend_from_slice(kept);
                (bytes, length)
            }
            LinkType::Ethernet | LinkType::Ip => (kept.to_vec(), capture.length),
        };
        let device = drop.device.as_ref().or(drop.ingress_device.as_ref());
        Self {
            time: drop.time,
            interface: Interface {
                netns: drop.netns.inum,
                name: clean::line(device.map_or("unknown", String::as_str)).into_owned(),
                description: description(drop),
                link: capture.link,
            },
            names: names(drop),
            bytes,
            length,
            way: match pkt_type {
                "outgoing" => Way::Out,
                _ if drop.ingress_device.is_some() => Way::In,
                _ => Way::Unknown,
            },
            comment: comment(drop),
        }
    }

    /// Memory that it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        let names: usize = self
            .names
            .iter()
            .map(|(_, name)| size_of::<(IpAddr, String)>() + name.capacity())
            .sum();
        size_of::<Self>()
            + self.interface.name.capacity()
            + self.interface.description.capacity()
            + self.bytes.capacity()
            + self.comment.capacity()
            + names
    }
}

/// Names of a packet's ends that are worth telling.
fn names(drop: &Drop) -> Vec<(IpAddr, String)> {
    let ends = drop.ends();
    let nat = drop.nat.as_ref();
    let host = nat
        .filter(|_| drop.published.is_some())
        .map(|nat| nat.original.dst);
    let named = [
        (&drop.source, ends.source),
        (&drop.destination, ends.destination),
    ]
    .into_iter()
    .filter_map(|(endpoint, end)| {
        let (address, _) = end?;
        match (&endpoint.container, endpoint.kind) {
            (Some(container), _) => Some((address, container.name.clone())),
            (None, EndpointKind::Host) => Some((address, "host".to_owned())),
            _ => None,
        }
    });
    named
        .chain(host.map(|address| (address, "host".to_owned())))
        .map(|(address, name)| (address, clean::line(&name).into_owned()))
        .filter(|(address, name)| !address.is_loopback() && !name.is_empty())
        .collect()
}

/// Whose device it is: `container web`, `host`, `host, veth of container web`.
fn description(drop: &Drop) -> String {
    let text = match (&drop.netns.container, drop.netns.owner, &drop.netns.name) {
        (Some(container), ..) => format!("container {}", container.name),
        (None, NetnsOwner::Host, _) => match &drop.veth_of {
            Some(container) => format!("host, veth of container {container}"),
            None => "host".to_owned(),
        },
        (None, _, Some(name)) => format!("namespace {name}"),
        (None, _, None) => format!("namespace {}", drop.netns.inum),
    };
    clean::line(&text).into_owned()
}

/// What text output would say, without the time.
fn comment(drop: &Drop) -> String {
    let look = Look {
        color: false,
        ascii: false,
        width: Width::Unlimited,
    };
    let (_, cause) = block::cause_name(drop);
    let mut text = clean::line(&format!(
        "{cause} ({})",
        match (&drop.noise, drop.cause.confidence) {
            (Some(_), _) => "benign",
            (None, Confidence::Confirmed) => "confirmed",
            (None, Confidence::Likely) => "likely",
            (None, Confidence::Unknown) => "no cause found",
        }
    ))
    .into_owned();
    if let Some(kernel) = block::kernel(drop) {
        text.push_str("\nkernel ");
        text.push_str(&clean::line(&kernel));
    }
    for line in block::full(drop, &TimeZone::UTC, false).iter().skip(1) {
        text.push('\n');
        text.push_str(line.render(&look).trim());
    }
    text
}
