//! NAT as conntrack holds it, seen where packets leave a device.

use crate::conntrack::RawTuple;

/// Bits of [`Flow::reported`] and values of [`NatRecord::direction`].
pub mod direction {
    /// The direction of the first packet.
    pub const ORIGINAL: u8 = 1;
    /// The answer's.
    pub const REPLY: u8 = 2;
}

/// What was reported of a conntrack entry, by the entry's address. Entries are reused: the tuples tell.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Before NAT.
    pub original: RawTuple,
    /// What the answer looks like.
    pub reply: RawTuple,
    /// `nf_conn.status` when it was last reported.
    pub status: u32,
    /// Bits of [`direction`].
    pub reported: u8,
    /// Always zero.
    pub pad: [u8; 3],
}

/// One transition, up the ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatRecord {
    /// `CLOCK_MONOTONIC`, ns.
    pub ktime_ns: u64,
    /// Address of the conntrack entry.
    pub conntrack: u64,
    /// Namespace of the device.
    pub netns: u64,
    /// The flow.
    pub flow: Flow,
    /// Device that the packet left by.
    pub ifindex: u32,
    /// One of [`direction`].
    pub direction: u8,
    /// `skb->_nfct & 7`.
    pub info: u8,
    /// Always zero.
    pub pad: [u8; 2],
}

const _: () = assert!(size_of::<Flow>() == 88);
const _: () = assert!(size_of::<NatRecord>() == 8 * 3 + 88 + 8);

/// One CPU's counts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatTotals {
    /// Transitions found.
    pub found: u64,
    /// Of these: not sent, because the ring was full. The flow's next packet tries again.
    pub ring_full: u64,
}

crate::pod!(Flow, NatRecord, NatTotals);
