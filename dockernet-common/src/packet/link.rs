//! Ethernet header and in-line VLAN tags.

use core::mem::offset_of;

use network_types::{eth::EthHdr, vlan::VlanHdr};

use super::{ByteSource, ethertype::is_vlan, source::be16};

/// In-line tags kept. Deeper stacks are not followed.
const MAX_TAGS: usize = 4;

/// Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// Source MAC address.
    pub src: [u8; 6],
    /// Destination MAC address.
    pub dst: [u8; 6],
    /// EtherType right behind the addresses (a tag's, if one follows), host order; below 0x600 a length.
    pub ethertype: u16,
}

/// One VLAN tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VlanTag {
    /// 0x8100 (802.1Q) or 0x88a8 (802.1ad), host order.
    pub tpid: u16,
    /// Tag control information: priority, drop eligibility, VLAN id.
    pub tci: u16,
}

impl VlanTag {
    /// VLAN id, 0 to 4095.
    pub const fn id(self) -> u16 {
        self.tci & 0x0fff
    }

    /// Priority code point, 0 to 7.
    pub const fn priority(self) -> u8 {
        (self.tci >> 13) as u8
    }
}

/// VLAN tags found in the bytes, outermost first. One the device took out is in the skb, not here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VlanTags {
    tags: [VlanTag; MAX_TAGS],
    count: usize,
}

impl VlanTags {
    /// The tags, outermost first.
    pub fn as_slice(&self) -> &[VlanTag] {
        self.tags.get(..self.count).unwrap_or_default()
    }

    fn push(&mut self, tag: VlanTag) -> bool {
        let Some(slot) = self.tags.get_mut(self.count) else {
            return false;
        };
        *slot = tag;
        self.count += 1;
        true
    }
}

/// What stands before the network header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    pub(super) tags: VlanTags,
    /// Offset behind the tags, and the EtherType of what begins there; `None` if cut off or too deep.
    pub(super) network: Option<(usize, u16)>,
}

impl Walk {
    pub(super) fn begin(&self) -> Option<usize> {
        self.network.map(|(begin, _)| begin)
    }
}

/// Reads the Ethernet header at `at`.
pub(super) fn parse(bytes: &[u8], at: usize) -> Option<Link> {
    let header = bytes.get(at..)?;
    Some(Link {
        src: header.read(offset_of!(EthHdr, src_addr))?,
        dst: header.read(offset_of!(EthHdr, dst_addr))?,
        ethertype: be16(header, offset_of!(EthHdr, ether_type))?,
    })
}

/// Walks the tags from `at`, where what `ethertype` announces begins.
pub(super) fn walk_tags(bytes: &[u8], mut at: usize, mut ethertype: u16) -> Walk {
    let mut tags = VlanTags::default();
    while is_vlan(ethertype) {
        let header = bytes.get(at..).unwrap_or_default();
        let Some(tci) = be16(header, offset_of!(VlanHdr, tci)) else {
            return Walk {
                tags,
                network: None,
            };
        };
        let kept = tags.push(VlanTag {
            tpid: ethertype,
            tci,
        });
        match be16(header, offset_of!(VlanHdr, ether_type)) {
            Some(next) if kept => ethertype = next,
            _ => {
                return Walk {
                    tags,
                    network: None,
                };
            }
        }
        at += VlanHdr::LEN;
    }
    Walk {
        tags,
        network: Some((at, ethertype)),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::packet::ethertype;

    const FRAME: [u8; 22] = [
        2, 0x42, 0xac, 0x11, 0, 2, 2, 0x42, 1, 2, 3, 4, 0x88, 0xa8, 0x20, 100, 0x81, 0, 0xe0, 200,
        0x08, 0,
    ];

    #[test]
    fn ethernet() {
        let link = parse(&FRAME, 0).unwrap();
        assert_eq!(link.dst, [2, 0x42, 0xac, 0x11, 0, 2]);
        assert_eq!(link.src, [2, 0x42, 1, 2, 3, 4]);
        assert_eq!(link.ethertype, ethertype::VLAN_8021AD);
        assert_eq!(parse(&FRAME[..13], 0), None);
        assert_eq!(parse(&FRAME, usize::MAX), None);
    }

    #[test]
    fn stacked_tags() {
        let walk = walk_tags(&FRAME, 14, ethertype::VLAN_8021AD);
        let ids: Vec<_> = walk.tags.as_slice().iter().map(|tag| tag.id()).collect();
        assert_eq!(ids, [100, 200]);
        assert_eq!(walk.tags.as_slice()[0].priority(), 1);
        assert_eq!(walk.tags.as_slice()[1].tpid, ethertype::VLAN_8021Q);
        assert_eq!(walk.network, Some((22, ethertype::IPV4)));
    }

    #[test]
    fn cut_tags_keep_what_is_there() {
        let walk = walk_tags(&FRAME[..20], 14, ethertype::VLAN_8021AD);
        assert_eq!(walk.tags.as_slice().len(), 2);
        assert_eq!(walk.network, None);
        let walk = walk_tags(&FRAME[..15], 14, ethertype::VLAN_8021AD);
        assert_eq!(walk.tags.as_slice(), []);
    }

    #[test]
    fn endless_stack_ends() {
        let walk = walk_tags(&[0x81, 0].repeat(64), 0, ethertype::VLAN_8021Q);
        assert_eq!(walk.tags.as_slice().len(), MAX_TAGS);
        assert_eq!(walk.network, None);
    }
}
