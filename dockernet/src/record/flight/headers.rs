//! Where a packet's headers end.
//!
//! Where that cannot be told nothing is cut: what is neither IP nor a VLAN tag, damaged headers, and packets without a link
//! header that are no IP.

use crate::model::{Capture, LinkType};

/// Bytes up to the end of the transport header; all of them in ICMP, whose errors quote headers.
pub(super) fn length(capture: &Capture) -> usize {
    let bytes = &capture.bytes;
    let end = match capture.link {
        LinkType::Ethernet => ethernet(bytes),
        LinkType::Ip => ip(bytes, 0),
        LinkType::Other => None,
    };
    end.unwrap_or(bytes.len()).min(bytes.len())
}

fn ethernet(bytes: &[u8]) -> Option<usize> {
    let mut at = 12;
    loop {
        let kind = u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]);
        at += 2;
        match kind {
            // A VLAN tag: two bytes, and the next type.
            0x8100 | 0x88a8 | 0x9100 => at += 2,
            0x0800 | 0x86dd => return ip(bytes, at),
            _ => return None,
        }
    }
}

fn ip(bytes: &[u8], at: usize) -> Option<usize> {
    let first = *bytes.get(at)?;
    match first >> 4 {
        4 => {
            let header = usize::from(first & 0xf) * 4;
            let fragment = u16::from_be_bytes([*bytes.get(at + 6)?, *bytes.get(at + 7)?]);
            let end = at + header.max(20);
            match fragment & 0x1fff {
                0 => transport(bytes, end, *bytes.get(at + 9)?),
                // A later fragment begins with data.
                _ => Some(end),
            }
        }
        6 => ip6(bytes, at + 40, *bytes.get(at + 6)?),
        _ => None,
    }
}

fn ip6(bytes: &[u8], mut at: usize, mut next: u8) -> Option<usize> {
    loop {
        let extension = match next {
            // Hop-by-hop, routing, destination options: their length in units of 8 bytes, the first not counted.
            0 | 43 | 60 => 8 + usize::from(*bytes.get(at + 1)?) * 8,
            44 if u16::from_be_bytes([*bytes.get(at + 2)?, *bytes.get(at + 3)?]) >> 3 != 0 => {
                return Some(at + 8);
            }
            44 => 8,
            // Authentication: in units of 4 bytes, the first two not counted.
            51 => 8 + usize::from(*bytes.get(at + 1)?) * 4,
            _ => return transport(bytes, at, next),
        };
        next = *bytes.get(at)?;
        at += extension;
    }
}

fn transport(bytes: &[u8], at: usize, protocol: u8) -> Option<usize> {
    Some(match protocol {
        6 => at + usize::from(*bytes.get(at + 12)? >> 4).max(5) * 4,
        17 | 136 => at + 8,
        // SCTP's common header, DCCP's shortest.
        132 | 33 => at + 12,
        1 | 58 => return None,
        _ => at,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(link: LinkType, start: &[u8]) -> usize {
        let mut bytes = start.to_vec();
        bytes.resize(128, 0xee);
        length(&Capture {
            link,
            length: 1500,
            bytes,
        })
    }

    fn ip4(protocol: u8, fragment: u8, words: u8) -> Vec<u8> {
        let mut header = vec![0x40 | words, 0, 0, 0, 0, 0, 0, fragment, 64, protocol];
        header.resize(usize::from(words) * 4, 0);
        header
    }

    #[test]
    fn payload_begins_behind_the_transport_header() {
        let tcp = |words: u8| [vec![0; 12], vec![words << 4]].concat();
        assert_eq!(of(LinkType::Ip, &[ip4(6, 0, 5), tcp(5)].concat()), 40);
        assert_eq!(of(LinkType::Ip, &[ip4(6, 0, 6), tcp(10)].concat()), 64);
        assert_eq!(of(LinkType::Ip, &ip4(17, 0, 5)), 28);
        assert_eq!(of(LinkType::Ip, &ip4(17, 1, 5)), 20);
        assert_eq!(of(LinkType::Ip, &ip4(1, 0, 5)), 128);
        assert_eq!(of(LinkType::Ip, &ip4(50, 0, 5)), 20);
        let ether = |kind: &[u8]| [vec![0; 12], kind.to_vec()].concat();
        assert_eq!(
            of(
                LinkType::Ethernet,
                &[ether(&[8, 0]), ip4(17, 0, 5)].concat()
            ),
            42
        );
        assert_eq!(
            of(
                LinkType::Ethernet,
                &[ether(&[0x81, 0, 0, 5, 8, 0]), ip4(17, 0, 5)].concat()
            ),
            46
        );
        assert_eq!(of(LinkType::Ethernet, &ether(&[8, 6])), 128);
        // Hop-by-hop options, then UDP.
        let mut ip6 = vec![0x60, 0, 0, 0, 0, 0, 0, 64];
        ip6.resize(40, 0);
        ip6.extend([17, 0]);
        assert_eq!(of(LinkType::Ip, &ip6), 56);
        assert_eq!(of(LinkType::Other, &[]), 128);
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_end(bytes in prop::collection::vec(any::<u8>(), 0..128), link in 0..3_u8) {
            let link = [LinkType::Ethernet, LinkType::Ip, LinkType::Other][usize::from(link)];
            let most = bytes.len();
            let end = length(&Capture { link, length: 0, bytes });
            prop_assert!(end <= most);
        }
    }
}
