//! `struct nf_conntrack_tuple` as the kernel lays it out.
//!
//! include/net/netfilter/nf_conntrack_tuple.h; unchanged from 2.6.25 to 6.18.

use crate::packet::mapped;

/// One direction of a conntrack entry, raw.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "user",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct RawTuple {
    /// Source address; IPv4 in the first four bytes.
    pub src: [u8; 16],
    /// Source port, ICMP id …: network byte order.
    pub src_port: [u8; 2],
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// Destination address.
    pub dst: [u8; 16],
    /// Destination port; for ICMP type and code.
    pub dst_port: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// 0 original, 1 reply.
    pub direction: u8,
}

impl RawTuple {
    /// Source address as keys have it: IPv4 as `::ffff:a.b.c.d`.
    #[inline(always)]
    pub fn source(&self) -> [u8; 16] {
        self.key(&self.src)
    }

    /// Destination address as keys have it.
    #[inline(always)]
    pub fn destination(&self) -> [u8; 16] {
        self.key(&self.dst)
    }

    #[inline(always)]
    fn key(&self, address: &[u8; 16]) -> [u8; 16] {
        match address.first_chunk() {
            Some(v4) if self.family == AF_INET => mapped(*v4),
            _ => *address,
        }
    }
}

/// Linux's address families, as [`RawTuple::family`] has them (include/linux/socket.h, stable ABI).
pub const AF_INET: u16 = 2;
/// IPv6's.
pub const AF_INET6: u16 = 10;

const _: () = assert!(size_of::<RawTuple>() == 40);
crate::pod!(RawTuple);

/// Bits of `nf_conn.status` (include/uapi/linux/netfilter/nf_conntrack_common.h, stable ABI).
pub mod status {
    /// Both directions have been seen.
    pub const SEEN_REPLY: u32 = 1 << 1;
    /// In the table.
    pub const CONFIRMED: u32 = 1 << 3;
    /// Will not be evicted early: both directions are established.
    pub const ASSURED: u32 = 1 << 2;
    /// Source is translated.
    pub const SRC_NAT: u32 = 1 << 4;
    /// Destination is translated.
    pub const DST_NAT: u32 = 1 << 5;
}

/// Values of `skb->_nfct & 7` (`enum ip_conntrack_info`, stable ABI).
pub mod info {
    /// Original direction of a known flow.
    pub const ESTABLISHED: u8 = 0;
    /// Related (errors, helpers).
    pub const RELATED: u8 = 1;
    /// First direction of a new flow.
    pub const NEW: u8 = 2;
    /// From here on: the reply direction of the three above.
    pub const IS_REPLY: u8 = 3;
    /// Deliberately untracked.
    pub const UNTRACKED: u8 = 7;
}
