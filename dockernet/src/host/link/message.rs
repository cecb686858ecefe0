//! rtnetlink messages → the model.

use std::{fmt::Write as _, net::IpAddr};

use ipnet::IpNet;
use netlink_packet_route::{
    address::{AddressAttribute, AddressMessage},
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    nsid::{NsidAttribute, NsidMessage},
};

use super::is_whole;
use crate::model::{Link, LinkKind};

/// A link without its addresses; none for messages of one protocol only (bridge port, IPv6).
pub(crate) fn link(message: &LinkMessage) -> Option<Link> {
    if !is_whole(message) {
        return None;
    }
    let flags = message.header.flags;
    let mut link = Link {
        ifindex: message.header.index,
        name: String::new(),
        kind: LinkKind::Other(String::new()),
        master: None,
        peer_ifindex: None,
        peer_netnsid: None,
        mac: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        addresses: Vec::new(),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Link(index) => link.peer_ifindex = Some(*index),
            LinkAttribute::LinkNetNsId(id) if *id >= 0 => link.peer_netnsid = Some(*id),
            LinkAttribute::Controller(index) if *index != 0 => link.master = Some(*index),
            LinkAttribute::Address(bytes) => link.mac = mac(bytes),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::Kind(kind) = info {
                        link.kind = kind_of(kind);
                    }
                }
            }
            _ => {}
        }
    }
    if flags.contains(LinkFlags::Loopback) {
        link.kind = LinkKind::Loopback;
    }
    Some(link)
}

fn kind_of(kind: &InfoKind) -> LinkKind {
    match kind {
        InfoKind::Veth => LinkKind::Veth,
        InfoKind::Bridge => LinkKind::Bridge,
        other => LinkKind::Other(other.to_string()),
    }
}

fn mac(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() {
        return None;
    }
    let mut text = String::with_capacity(bytes.len() * 3);
    for (place, byte) in bytes.iter().enumerate() {
        let separator = if place == 0 { "" } else { ":" };
        let _ = write!(text, "{separator}{byte:02x}");
    }
    Some(text)
}

/// Link index and address with prefix.
pub(crate) fn address(message: &AddressMessage) -> Option<(u32, IpNet)> {
    let mut local = None;
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(addr) => local = Some(*addr),
            AddressAttribute::Address(addr) => address = Some(*addr),
            _ => {}
        }
    }
    // On point-to-point links IFA_ADDRESS is the other end's.
    let addr: IpAddr = local.or(address)?;
    let prefix = IpNet::new(addr, message.header.prefix_len).ok()?;
    Some((message.header.index, prefix))
}

/// The id in an answer or a notice; none where none is given out.
pub(super) fn nsid(message: &NsidMessage) -> Option<i32> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NsidAttribute::Id(id) if *id >= 0 => Some(*id),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn veth_with_peer_elsewhere() {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
        message.attributes = vec![
            LinkAttribute::IfName("veth1".into()),
            LinkAttribute::Mtu(1500),
            LinkAttribute::Link(2),
            LinkAttribute::LinkNetNsId(0),
            LinkAttribute::Controller(3),
            LinkAttribute::Address(vec![2, 0x42, 0xac, 0x11, 0, 2]),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]),
        ];
        let link = link(&message);
        assert_eq!(
            link,
            Some(Link {
                ifindex: 7,
                name: "veth1".into(),
                kind: LinkKind::Veth,
                master: Some(3),
                peer_ifindex: Some(2),
                peer_netnsid: Some(0),
                mac: Some("02:42:ac:11:00:02".into()),
                mtu: 1500,
                up: true,
                carrier: true,
                addresses: Vec::new(),
            })
        );
    }

    #[test]
    fn point_to_point_address_is_the_near_end() {
        let mut message = AddressMessage::default();
        message.header.index = 4;
        message.header.prefix_len = 32;
        message.attributes = vec![
            AddressAttribute::Address(Ipv4Addr::new(192, 0, 2, 2).into()),
            AddressAttribute::Local(Ipv4Addr::new(192, 0, 2, 1).into()),
        ];
        assert_eq!(
            address(&message),
            "192.0.2.1/32".parse().ok().map(|prefix| (4, prefix))
        );
    }
}
