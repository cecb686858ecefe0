//! IPv6 header and its chain of extension headers.

use core::{mem::offset_of, net::Ipv6Addr};

use network_types::ip::Ipv6Hdr;

use super::{
    ByteSource,
    ip::Fragment,
    protocol::{
        AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, HIP, HOP_BY_HOP, MOBILITY, NO_NEXT, ROUTING,
        SHIM6,
    },
    source::be16,
};

/// Extension headers followed. Real chains have three at most.
const MAX_EXTENSIONS: usize = 8;

/// Bytes of a fragment header (RFC 8200, 4.5).
const FRAGMENT_LEN: usize = 8;

/// The extension headers' numbers, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Extensions {
    numbers: [u8; MAX_EXTENSIONS],
    count: usize,
}

impl Extensions {
    /// Protocol numbers of the extension headers, in order.
    pub fn as_slice(&self) -> &[u8] {
        self.numbers.get(..self.count).unwrap_or_default()
    }

    fn push(&mut self, number: u8) -> bool {
        let Some(slot) = self.numbers.get_mut(self.count) else {
            return false;
        };
        *slot = number;
        self.count += 1;
        true
    }
}

/// IPv6 header. The fixed header is there whole (40 bytes) or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ipv6 {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// Hop limit.
    pub hop_limit: u8,
    /// Traffic class: DSCP and ECN.
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// Bytes behind the fixed header, as it says; 0 in packets above 64 KiB (jumbogram, BIG TCP).
    pub payload_len: u16,
    /// Next header of the fixed header: the first extension, or the protocol.
    pub next_header: u8,
    /// Extension headers.
    pub extensions: Extensions,
    /// Fragment header.
    pub fragment: Option<Fragment>,
    /// Upper-layer protocol, behind the extension headers; `None` if the chain is cut off or too long. In a later fragment
    /// what its fragment header names.
    pub protocol: Option<u8>,
}

/// Reads the header that `bytes` begin with, and the payload behind the extension headers, which ends where the header says. There
/// is no payload to read in later fragments.
pub(super) fn parse(bytes: &[u8]) -> Option<(Ipv6, Option<&[u8]>)> {
    let [a, b, c, d] = bytes.read(offset_of!(Ipv6Hdr, vcf))?;
    if a >> 4 != 6 {
        return None;
    }
    let payload_len = be16(bytes, offset_of!(Ipv6Hdr, payload_len))?;
    let [next_header, hop_limit] = bytes.read(offset_of!(Ipv6Hdr, next_hdr))?;
    let mut ipv6 = Ipv6 {
        src: bytes
            .read(offset_of!(Ipv6Hdr, src_addr))
            .map(<[u8; 16]>::into)?,
        dst: bytes
            .read(offset_of!(Ipv6Hdr, dst_addr))
            .map(<[u8; 16]>::into)?,
        hop_limit,
        traffic_class: a << 4 | b >> 4,
        flow_label: u32::from_be_bytes([0, b & 0x0f, c, d]),
        payload_len,
        next_header,
        extensions: Extensions::default(),
        fragment: None,
        protocol: None,
    };
    let behind = bytes.get(Ipv6Hdr::LEN..)?;
    // Ethernet pads short frames, and the bytes may reach past the packet's end.
    let behind = match usize::from(payload_len) {
        0 => behind,
        len => behind.get(..len).unwrap_or(behind),
    };
    let payload = walk(behind, &mut ipv6);
    Some((ipv6, payload))
}

/// Follows the extension headers.
fn walk<'a>(mut bytes: &'a [u8], ipv6: &mut Ipv6) -> Option<&'a [u8]> {
    let mut next = ipv6.next_header;
    while is_extension(next) {
        // The list is bounded, and so is this loop.
        if !ipv6.extensions.push(next) {
            return None;
        }
        let [following, length] = bytes.read(0)?;
        let length = usize::from(length);
        let skip = match next {
            FRAGMENT => {
                let fragment = fragment(bytes)?;
                ipv6.fragment = Some(fragment);
                if fragment.offset != 0 {
                    ipv6.protocol = Some(following);
                    return None;
                }
                FRAGMENT_LEN
            }
            // The one header whose length counts words, less two (RFC 4302, 2.2).
            AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        next = following;
        bytes = bytes.get(skip..).unwrap_or_default();
    }
    ipv6.protocol = Some(next);
    (next != NO_NEXT).then_some(bytes)
}

const fn is_extension(number: u8) -> bool {
    matches!(
        number,
        HOP_BY_HOP
            | ROUTING
            | FRAGMENT
            | AUTHENTICATION
            | DESTINATION_OPTIONS
            | MOBILITY
            | HIP
            | SHIM6
    )
}

fn fragment(bytes: &[u8]) -> Option<Fragment> {
    let [_, _, high, low, a, b, c, d] = bytes.read::<FRAGMENT_LEN>(0)?;
    Some(Fragment {
        id: u32::from_be_bytes([a, b, c, d]),
        // The upper 13 bits count units of eight bytes, so masking gives bytes.
        offset: u16::from_be_bytes([high, low & !7]),
        more: low & 1 != 0,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// 2001:db8::1 → 2001:db8::2, flow label 0x12345, with `chain` behind the fixed header.
    fn packet(next_header: u8, chain: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x6a, 0xb1, 0x23, 0x45, 0, 0, next_header, 64];
        bytes.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend(chain);
        bytes[5] = u8::try_from(chain.len()).unwrap();
        bytes
    }

    #[test]
    fn fixed_header() {
        let bytes = packet(17, &[1, 2, 3]);
        let (ip, payload) = parse(&bytes).unwrap();
        assert_eq!(ip.src.to_string(), "2001:db8::1");
        assert_eq!(ip.dst.to_string(), "2001:db8::2");
        assert_eq!((ip.hop_limit, ip.payload_len), (64, 3));
        assert_eq!((ip.traffic_class, ip.flow_label), (0xab, 0x12345));
        assert_eq!((ip.next_header, ip.protocol), (17, Some(17)));
        assert_eq!((ip.extensions.as_slice(), ip.fragment), (&[][..], None));
        assert_eq!(payload, Some(&[1, 2, 3][..]));
        assert_eq!(parse(&bytes[..39]), None);
    }

    #[test]
    fn payload_ends_where_the_header_says() {
        let mut bytes = packet(17, &[1, 2, 3]);
        bytes[5] = 2;
        assert_eq!(parse(&bytes).unwrap().1, Some(&[1, 2][..]));
        bytes[5] = 0;
        assert_eq!(parse(&bytes).unwrap().1, Some(&[1, 2, 3][..]));
        bytes[0] = 0x45;
        assert_eq!(parse(&bytes), None);
    }

    #[test]
    fn chain() {
        let mut chain = vec![60, 0, 1, 4, 0, 0, 0, 0];
        chain.extend([43, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        chain.extend([51, 0, 4, 0, 0, 0, 0, 0]);
        chain.extend([6, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
        chain.extend([0xaa]);
        let bytes = packet(0, &chain);
        let (ip, payload) = parse(&bytes).unwrap();
        assert_eq!(ip.extensions.as_slice(), [0, 60, 43, 51]);
        assert_eq!((ip.next_header, ip.protocol), (0, Some(6)));
        assert_eq!(payload, Some(&[0xaa][..]));
        // Cut within the routing header's data: its next header is known, that one's content is not.
        let (ip, payload) = parse(&bytes[..52]).unwrap();
        assert_eq!(ip.extensions.as_slice(), [0, 60, 43]);
        assert_eq!((ip.protocol, payload), (None, None));
    }

    #[test]
    fn fragments() {
        let bytes = packet(44, &[17, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef, 0xaa]);
        let (ip, payload) = parse(&bytes).unwrap();
        let first = Fragment {
            id: 0xdead_beef,
            offset: 0,
            more: true,
        };
        assert_eq!(ip.fragment, Some(first));
        assert_eq!((ip.protocol, payload), (Some(17), Some(&[0xaa][..])));

        let bytes = packet(44, &[17, 0, 0x05, 0xa8, 0, 0, 0, 1, 0xaa]);
        let (ip, payload) = parse(&bytes).unwrap();
        assert_eq!(ip.fragment.map(|f| (f.offset, f.more)), Some((1448, false)));
        assert_eq!((ip.protocol, payload), (Some(17), None));
        assert_eq!(parse(&bytes[..47]).unwrap().0.protocol, None);
    }

    #[test]
    fn no_next_header_and_endless_chain() {
        let (ip, payload) = parse(&packet(59, &[1]))
            .map(|(ip, p)| (ip, p.is_some()))
            .unwrap();
        assert_eq!((ip.protocol, payload), (Some(59), false));
        let bytes = packet(60, &[60, 0, 1, 4, 0, 0, 0, 0].repeat(20));
        let (ip, payload) = parse(&bytes).unwrap();
        assert_eq!(ip.extensions.as_slice(), [60; MAX_EXTENSIONS]);
        assert_eq!((ip.protocol, payload), (None, None));
    }
}
