//! The flow a packet belongs to, cheaply: for the kernel half.

use core::{
    mem::offset_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{ByteSource, ethertype, protocol::has_ports};

/// Addresses, protocol and ports of one direction. 38 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Source address; IPv4 as `::ffff:a.b.c.d`.
    pub src: [u8; 16],
    /// Destination address; IPv4 as `::ffff:a.b.c.d`.
    pub dst: [u8; 16],
    /// Source port, host order; 0 without ports or in a later fragment.
    pub src_port: u16,
    /// Destination port, host order; 0 without ports or in a later fragment.
    pub dst_port: u16,
    /// IP version: 4 or 6.
    pub family: u8,
    /// IPv4 protocol, or the first next header of IPv6.
    pub protocol: u8,
}

impl FlowKey {
    /// Source address.
    pub fn src_addr(&self) -> IpAddr {
        self.addr(self.src)
    }

    /// The same as numbers, which are compared at less cost. No two flows have the same.
    #[inline(always)]
    pub fn words(&self) -> [u64; 5] {
        let source = halves(&self.src);
        let destination = halves(&self.dst);
        let rest = u64::from(self.src_port) << 32
            | u64::from(self.dst_port) << 16
            | u64::from(self.family) << 8
            | u64::from(self.protocol);
        [source[0], source[1], destination[0], destination[1], rest]
    }

    /// Destination address.
    pub fn dst_addr(&self) -> IpAddr {
        self.addr(self.dst)
    }

    fn addr(&self, bytes: [u8; 16]) -> IpAddr {
        // An IPv6 packet may really carry ::ffff:0:0/96, so the address alone does not tell.
        match (self.family, bytes) {
            (4, [.., a, b, c, d]) => Ipv4Addr::new(a, b, c, d).into(),
            _ => Ipv6Addr::from(bytes).into(),
        }
    }
}

/// The flow of the packet whose network header is at `l3_offset`. `ethertype` is `skb->protocol` in host order.
///
/// `None` unless it is IPv4 or IPv6, its fixed header is there and its version fits. IPv6 extension headers are not
/// walked: behind one the ports are 0 and `protocol` is that header's number.
///
/// The transport header's place comes from the IP header, not from `skb->transport_header`: until `ip_rcv()` that one is
/// set to the network header (`__netif_receive_skb_core()`, `net/core/dev.c`, 3.10).
#[inline(always)]
pub fn flow_key<S: ByteSource + ?Sized>(
    source: &S,
    l3_offset: usize,
    ethertype: u16,
) -> Option<FlowKey> {
    match ethertype {
        ethertype::IPV4 => ipv4(source, l3_offset),
        ethertype::IPV6 => ipv6(source, l3_offset),
        _ => None,
    }
}

#[inline(always)]
fn ipv4<S: ByteSource + ?Sized>(source: &S, at: usize) -> Option<FlowKey> {
    const SRC: usize = offset_of!(Ipv4Hdr, src_addr);
    const DST: usize = offset_of!(Ipv4Hdr, dst_addr);
    const FRAGS: usize = offset_of!(Ipv4Hdr, frags);

    let (header, next) = source.start::<{ Ipv4Hdr::LEN }, { Ipv4Hdr::LEN + 4 }>(at)?;
    if header[0] >> 4 != 4 {
        return None;
    }
    let header_len = usize::from(header[0] & 0x0f) << 2;
    let first_fragment = header[FRAGS] & 0x1f == 0 && header[FRAGS + 1] == 0;
    let protocol = header[offset_of!(Ipv4Hdr, proto)];
    let [src_port, dst_port] =
        if !first_fragment || header_len < Ipv4Hdr::LEN || !has_ports(protocol) {
            [0; 2]
        } else if header_len == Ipv4Hdr::LEN {
            pair(next)
        } else {
            pair(source.read(at.wrapping_add(header_len)))
        };
    Some(FlowKey {
        src: mapped(*header[SRC..].first_chunk()?),
        dst: mapped(*header[DST..].first_chunk()?),
        src_port,
        dst_port,
        family: 4,
        protocol,
    })
}

#[inline(always)]
fn ipv6<S: ByteSource + ?Sized>(source: &S, at: usize) -> Option<FlowKey> {
    let (header, next) = source.start::<{ Ipv6Hdr::LEN }, { Ipv6Hdr::LEN + 4 }>(at)?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let protocol = header[offset_of!(Ipv6Hdr, next_hdr)];
    let src = *header[offset_of!(Ipv6Hdr, src_addr)..].first_chunk()?;
    let dst = *header[offset_of!(Ipv6Hdr, dst_addr)..].first_chunk()?;
    let [src_port, dst_port] = if has_ports(protocol) {
        pair(next)
    } else {
        [0; 2]
    };
    Some(FlowKey {
        src,
        dst,
        src_port,
        dst_port,
        family: 6,
        protocol,
    })
}

#[inline(always)]
fn pair(bytes: Option<[u8; 4]>) -> [u16; 2] {
    match bytes {
        Some([a, b, c, d]) => [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])],
        None => [0; 2],
    }
}

/// An IPv4 address as `::ffff:a.b.c.d`.
///
/// Made of words: byte by byte, the compiler of the kernel half keeps each byte in a register of its own, for which there is no room.
#[inline(always)]
pub(crate) fn mapped(address: [u8; 4]) -> [u8; 16] {
    const PREFIX: [u8; 4] = [0, 0, 0xff, 0xff];
    let (prefix, address) = (
        u64::from(u32::from_ne_bytes(PREFIX)),
        u64::from(u32::from_ne_bytes(address)),
    );
    let low = if cfg!(target_endian = "little") {
        address << 32 | prefix
    } else {
        prefix << 32 | address
    };
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&low.to_ne_bytes());
    bytes
}

/// An address as two words of memory.
#[inline(always)]
pub fn halves(address: &[u8; 16]) -> [u64; 2] {
    let half = |chunk: Option<&[u8; 8]>| chunk.map_or(0, |bytes| u64::from_ne_bytes(*bytes));
    [half(address.first_chunk()), half(address.last_chunk())]
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// UDP 192.0.2.1:5353 → 198.51.100.2:53 behind four bytes of IPv4 options.
    const V4_UDP: [u8; 28] = [
        0x46, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2, 1, 1, 1, 1, 0x14,
        0xe9, 0, 53,
    ];

    #[test]
    fn no_padding() {
        assert_eq!(size_of::<FlowKey>(), 38);
    }

    #[test]
    fn other_flows_have_other_words() {
        let key = FlowKey {
            src: [1; 16],
            dst: [2; 16],
            src_port: 0x304,
            dst_port: 0x506,
            family: 4,
            protocol: 17,
        };
        let mut all = vec![key.words()];
        for place in 0..16 {
            let mut other = key;
            other.src[place] = 9;
            all.push(other.words());
            let mut other = key;
            other.dst[place] = 9;
            all.push(other.words());
        }
        for bit in 0..16 {
            let mut other = key;
            other.src_port ^= 1 << bit;
            all.push(other.words());
            let mut other = key;
            other.dst_port ^= 1 << bit;
            all.push(other.words());
        }
        all.push(FlowKey { family: 6, ..key }.words());
        all.push(FlowKey { protocol: 6, ..key }.words());
        let distinct: std::collections::HashSet<[u64; 5]> = all.iter().copied().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn ipv4_behind_options() {
        let key = flow_key(&V4_UDP[..], 0, ethertype::IPV4).unwrap();
        assert_eq!((key.family, key.protocol), (4, 17));
        assert_eq!((key.src_port, key.dst_port), (5353, 53));
        assert_eq!(key.src_addr(), IpAddr::from([192, 0, 2, 1]));
        assert_eq!(key.dst_addr(), IpAddr::from([198, 51, 100, 2]));
        assert_eq!(key.src[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    }

    #[test]
    fn later_fragments_and_cut_headers_have_no_ports() {
        let mut fragment = V4_UDP;
        fragment[7] = 1;
        let key = flow_key(&fragment[..], 0, ethertype::IPV4).unwrap();
        assert_eq!((key.src_port, key.dst_port), (0, 0));
        let key = flow_key(&V4_UDP[..26], 0, ethertype::IPV4).unwrap();
        assert_eq!((key.src_port, key.dst_port), (0, 0));
        assert_eq!(flow_key(&V4_UDP[..19], 0, ethertype::IPV4), None);
    }

    #[test]
    fn garbage_is_no_flow() {
        assert_eq!(flow_key(&V4_UDP[..], 0, ethertype::IPV6), None);
        assert_eq!(flow_key(&V4_UDP[..], 0, ethertype::ARP), None);
        assert_eq!(flow_key(&V4_UDP[..], 1, ethertype::IPV4), None);
        assert_eq!(flow_key(&V4_UDP[..], usize::MAX, ethertype::IPV4), None);
    }

    #[test]
    fn ipv6_ports_only_when_direct() {
        let mut packet = [0u8; 48];
        packet[0] = 0x60;
        packet[6] = 6;
        packet[8..12].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        packet[24..28].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        packet[39] = 2;
        packet[40..44].copy_from_slice(&[0x1f, 0x90, 0, 80]);
        let key = flow_key(&packet[..], 0, ethertype::IPV6).unwrap();
        assert_eq!((key.family, key.protocol), (6, 6));
        assert_eq!((key.src_port, key.dst_port), (8080, 80));
        assert_eq!(key.dst_addr(), "2001:db8::2".parse::<Ipv6Addr>().unwrap());
        packet[6] = 0;
        let key = flow_key(&packet[..], 0, ethertype::IPV6).unwrap();
        assert_eq!((key.protocol, key.src_port, key.dst_port), (0, 0, 0));
    }
}
