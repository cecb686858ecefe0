//! IPv4 header.

use core::{mem::offset_of, net::Ipv4Addr};

use network_types::ip::Ipv4Hdr;

use super::{ByteSource, ip::Fragment};

/// IPv4 header. It is there whole (20 bytes) or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ipv4 {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Time to live.
    pub ttl: u8,
    /// Protocol number.
    pub protocol: u8,
    /// Type of service byte: DSCP and ECN.
    pub tos: u8,
    /// Header length in bytes as the header says, options included. Below 20 it is malformed.
    pub header_len: u8,
    /// Length in bytes as the header says, header included. 0 in packets above 64 KiB (BIG TCP) and before the kernel fills it in.
    pub total_len: u16,
    /// Identification.
    pub id: u16,
    /// "Don't fragment".
    pub dont_fragment: bool,
    /// "More fragments".
    pub more_fragments: bool,
    /// Where this fragment belongs, in bytes.
    pub fragment_offset: u16,
    /// Header checksum as it stands there, host order.
    pub checksum: u16,
}

impl Ipv4 {
    /// Bytes of options.
    pub const fn options_len(&self) -> u8 {
        self.header_len.saturating_sub(Ipv4Hdr::LEN as u8)
    }

    /// Fragmentation, if it is a fragment.
    pub fn fragment(&self) -> Option<Fragment> {
        (self.more_fragments || self.fragment_offset != 0).then_some(Fragment {
            id: self.id.into(),
            offset: self.fragment_offset,
            more: self.more_fragments,
        })
    }
}

/// Reads the header that `bytes` begin with, and the payload behind it, which ends where the header says. There is no payload to
/// read in later fragments (they hold no transport header) and behind a malformed header.
pub(super) fn parse(bytes: &[u8]) -> Option<(Ipv4, Option<&[u8]>)> {
    const SRC: usize = offset_of!(Ipv4Hdr, src_addr);
    const DST: usize = offset_of!(Ipv4Hdr, dst_addr);
    const ID: usize = offset_of!(Ipv4Hdr, id);
    const LEN: usize = offset_of!(Ipv4Hdr, tot_len);
    const FRAGS: usize = offset_of!(Ipv4Hdr, frags);
    const CHECK: usize = offset_of!(Ipv4Hdr, check);

    let header: [u8; Ipv4Hdr::LEN] = bytes.read(0)?;
    if header[0] >> 4 != 4 {
        return None;
    }
    let be16 = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let frags = be16(FRAGS);
    let ipv4 = Ipv4 {
        src: Ipv4Addr::new(
            header[SRC],
            header[SRC + 1],
            header[SRC + 2],
            header[SRC + 3],
        ),
        dst: Ipv4Addr::new(
            header[DST],
            header[DST + 1],
            header[DST + 2],
            header[DST + 3],
        ),
        ttl: header[offset_of!(Ipv4Hdr, ttl)],
        protocol: header[offset_of!(Ipv4Hdr, proto)],
        tos: header[offset_of!(Ipv4Hdr, tos)],
        header_len: (header[0] & 0x0f) * 4,
        total_len: be16(LEN),
        id: be16(ID),
        dont_fragment: frags & 0x4000 != 0,
        more_fragments: frags & 0x2000 != 0,
        // The field counts units of eight bytes; 13 bits of them fit.
        fragment_offset: (frags & 0x1fff) << 3,
        checksum: be16(CHECK),
    };
    Some((ipv4, payload(bytes, &ipv4)))
}

fn payload<'a>(bytes: &'a [u8], ipv4: &Ipv4) -> Option<&'a [u8]> {
    let header_len = usize::from(ipv4.header_len);
    if header_len < Ipv4Hdr::LEN || ipv4.fragment_offset != 0 {
        return None;
    }
    // Ethernet pads short frames, and the bytes may reach past the packet's end.
    let end = match usize::from(ipv4.total_len) {
        0 => bytes.len(),
        total => total.min(bytes.len()),
    };
    bytes.get(header_len..end)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// A TCP packet's header, two bytes of payload and two of padding.
    const HEADER: [u8; 24] = [
        0x45, 0x10, 0, 22, 0x1c, 0x46, 0x40, 0, 0x40, 6, 0xb1, 0xe6, 172, 17, 0, 2, 192, 0, 2, 9,
        0xaa, 0xbb, 0, 0,
    ];

    #[test]
    fn fields_and_payload_without_padding() {
        let (ip, payload) = parse(&HEADER).unwrap();
        assert_eq!(ip.src, Ipv4Addr::new(172, 17, 0, 2));
        assert_eq!(ip.dst, Ipv4Addr::new(192, 0, 2, 9));
        assert_eq!((ip.ttl, ip.protocol, ip.tos), (64, 6, 0x10));
        assert_eq!((ip.header_len, ip.options_len(), ip.total_len), (20, 0, 22));
        assert_eq!((ip.id, ip.checksum), (0x1c46, 0xb1e6));
        assert!(ip.dont_fragment && !ip.more_fragments);
        assert_eq!(ip.fragment(), None);
        assert_eq!(payload, Some(&[0xaa, 0xbb][..]));
    }

    #[test]
    fn unset_length_does_not_cut() {
        let mut packet = HEADER;
        packet[3] = 0;
        assert_eq!(parse(&packet).unwrap().1.unwrap().len(), 4);
    }

    #[test]
    fn fragments() {
        let mut packet = HEADER;
        packet[6] = 0x20;
        let (ip, payload) = parse(&packet).unwrap();
        assert!(ip.more_fragments && payload.is_some());
        packet[6..8].copy_from_slice(&[0x1f, 0xff]);
        let (ip, payload) = parse(&packet).unwrap();
        assert_eq!(ip.fragment_offset, 65528);
        assert_eq!(payload, None);
        let fragment = ip.fragment().unwrap();
        assert_eq!((fragment.id, fragment.more), (0x1c46, false));
    }

    #[test]
    fn malformed() {
        let mut packet = HEADER;
        packet[0] = 0x44;
        let (ip, payload) = parse(&packet).unwrap();
        assert_eq!((ip.header_len, ip.options_len(), payload), (16, 0, None));
        packet[0] = 0x65;
        assert_eq!(parse(&packet), None);
        assert_eq!(parse(&HEADER[..19]), None);
        // Length shorter than the header.
        packet = HEADER;
        packet[3] = 10;
        assert_eq!(parse(&packet).unwrap().1, None);
    }
}
