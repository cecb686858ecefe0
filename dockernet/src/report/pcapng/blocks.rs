//! pcapng's blocks, as draft-ietf-opsawg-pcapng has them, in little-endian order.

use std::net::IpAddr;

use jiff::Timestamp;

use crate::{model::LinkType, text::start_of};

/// An option's value has 16 bits of length; what is longer is cut.
const LONGEST: usize = 0xfff0;

/// Option codes (sections 3.5, 4.1, 4.2).
mod option {
    pub(super) const COMMENT: u16 = 1;
    pub(super) const SHB_OS: u16 = 3;
    pub(super) const SHB_APPLICATION: u16 = 4;
    pub(super) const IF_NAME: u16 = 2;
    pub(super) const IF_DESCRIPTION: u16 = 3;
    pub(super) const IF_TSRESOL: u16 = 9;
    pub(super) const EPB_FLAGS: u16 = 2;
}

/// A block under construction.
struct Block {
    kind: u32,
    body: Vec<u8>,
    has_options: bool,
}

impl Block {
    fn new(kind: u32) -> Self {
        Self {
            kind,
            body: Vec::new(),
            has_options: false,
        }
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.body.extend_from_slice(bytes);
        self
    }

    fn pad(&mut self) -> &mut Self {
        let end = self.body.len().next_multiple_of(4);
        self.body.resize(end, 0);
        self
    }

    fn option(&mut self, code: u16, value: &[u8]) -> &mut Self {
        self.has_options = true;
        let value = value.get(..LONGEST).unwrap_or(value);
        self.u16(code)
            .u16(u16::try_from(value.len()).unwrap_or(u16::MAX))
            .bytes(value)
            .pad()
    }

    fn end(&mut self) -> Vec<u8> {
        if self.has_options {
            // opt_endofopt
            self.u32(0);
        }
        let length = u32::try_from(self.body.len() + 12).unwrap_or(u32::MAX);
        let mut block = Vec::with_capacity(self.body.len() + 12);
        block.extend_from_slice(&self.kind.to_le_bytes());
        block.extend_from_slice(&length.to_le_bytes());
        block.append(&mut self.body);
        block.extend_from_slice(&length.to_le_bytes());
        block
    }
}

/// A section's beginning (4.1).
pub(super) fn section(os: &str, application: &str, comment: Option<&str>) -> Vec<u8> {
    let mut block = Block::new(0x0a0d_0d0a);
    // Byte order, version 1.0, a length that is not known.
    block.u32(0x1a2b_3c4d).u16(1).u16(0).bytes(&[0xff; 8]);
    if let Some(comment) = comment {
        block.option(option::COMMENT, comment.as_bytes());
    }
    block
        .option(option::SHB_OS, os.as_bytes())
        .option(option::SHB_APPLICATION, application.as_bytes())
        .end()
}

/// An interface (4.2); they are numbered from 0 on in each section.
pub(super) fn interface(link: LinkType, name: &str, description: &str) -> Vec<u8> {
    let mut block = Block::new(1);
    // www.tcpdump.org/linktypes.html
    let link = match link {
        LinkType::Ethernet => 1,
        LinkType::Ip => 101,
        // Linux "cooked" capture: its header says what follows.
        LinkType::Other => 113,
    };
    block
        .u16(link)
        .u16(0)
        // No limit: the headers' own is in each packet's lengths.
        .u32(0)
        .option(option::IF_NAME, name.as_bytes())
        .option(option::IF_DESCRIPTION, description.as_bytes())
        // Nanoseconds.
        .option(option::IF_TSRESOL, &[9])
        .end()
}

/// Which way a packet went, for `epb_flags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Unknown,
    In,
    Out,
}

/// A packet (4.3).
pub(super) fn packet(
    interface: u32,
    time: Timestamp,
    bytes: &[u8],
    length: u32,
    way: Way,
    comment: &str,
) -> Vec<u8> {
    let mut block = Block::new(6);
    let time = u64::try_from(time.as_nanosecond()).unwrap_or(0);
    let captured = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    block
        .u32(interface)
        .u32(u32::try_from(time >> 32).unwrap_or(u32::MAX))
        .u32(u32::try_from(time & 0xffff_ffff).unwrap_or(0))
        .u32(captured)
        .u32(length.max(captured))
        .bytes(bytes)
        .pad()
        .option(option::COMMENT, start_of(comment, LONGEST).as_bytes());
    match way {
        Way::Unknown => &mut block,
        Way::In => block.option(option::EPB_FLAGS, &1_u32.to_le_bytes()),
        Way::Out => block.option(option::EPB_FLAGS, &2_u32.to_le_bytes()),
    }
    .end()
}

/// Names of addresses (4.5).
pub(super) fn names(names: &[(IpAddr, String)]) -> Vec<u8> {
    let mut block = Block::new(4);
    for (address, name) in names {
        let (kind, bytes) = match address {
            IpAddr::V4(v4) => (1, v4.octets().to_vec()),
            IpAddr::V6(v6) => (2, v6.octets().to_vec()),
        };
        let name = name.as_bytes();
        let name = name.get(..255).unwrap_or(name);
        block
            .u16(kind)
            .u16(u16::try_from(bytes.len() + name.len() + 1).unwrap_or(u16::MAX))
            .bytes(&bytes)
            .bytes(name)
            .bytes(&[0])
            .pad();
    }
    // nrb_record_end
    block.u32(0).end()
}

/// The "cooked" header (www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html) of a packet without a link header.
pub(super) fn cooked(pkt_type: &str, ethertype: u16) -> [u8; 16] {
    let kind = match pkt_type {
        "broadcast" => 1,
        "multicast" => 2,
        "otherhost" => 3,
        "outgoing" => 4,
        _ => 0_u8,
    };
    let [high, low] = ethertype.to_be_bytes();
    // ARPHRD_VOID: the link layer is not known.
    [0, kind, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low]
}
