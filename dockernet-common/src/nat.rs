//! NAT as conntrack holds it, seen where packets leave a device.

use crate::conntrack::RawTuple;

/// Bits of [`Known::reported`] and values of [`NatRecord::direction`].
pub mod direction {
    /// The direction of the first packet.
    pub const ORIGINAL: u8 = 1;
    /// The answer's.
    pub const REPLY: u8 = 2;
}

/// Values of [`NatRecord::what`].
pub mod what {
    /// A translated packet, the first of its direction.
    pub const TRANSLATED: u8 = 0;
    /// The flow's answer came, but left by no device that is watched: the host itself was asked for. Told by a later packet of
    /// the original direction.
    pub const ANSWERED: u8 = 1;
    /// Not translated: the host itself opens a flow to a container's address. It may be docker-proxy.
    pub const TO_CONTAINER: u8 = 2;
    /// Not translated: the host itself serves a flow to a port that is published. It may be docker-proxy.
    pub const SERVED: u8 = 3;
}

/// What was reported of a conntrack entry, by the entry's address. Entries are reused: the fingerprint tells.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// [`fingerprint`] of both tuples.
    pub fingerprint: u64,
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
    /// Namespace of the device, and of the entry.
    pub netns: u64,
    /// Before NAT.
    pub original: RawTuple,
    /// What the answer looks like.
    pub reply: RawTuple,
    /// `nf_conn.status`.
    pub status: u32,
    /// Device that the packet left by.
    pub ifindex: u32,
    /// `nf_conn_nat.masq_index`: the device whose address MASQUERADE took, 0 for any other NAT, [`UNKNOWN`] if the kernel
    /// does not tell.
    pub masquerade: u32,
    /// Process that sent the packet ([`what::TO_CONTAINER`] only, where it was sent in its context), else 0.
    pub tgid: u32,
    /// One of [`direction`].
    pub direction: u8,
    /// `skb->_nfct & 7`.
    pub info: u8,
    /// One of [`mod@what`].
    pub what: u8,
    /// Always zero.
    pub pad: [u8; 5],
}

/// [`NatRecord::masquerade`] where the kernel does not tell.
pub const UNKNOWN: u32 = u32::MAX;

const _: () = assert!(size_of::<Known>() == 16);
const _: () = assert!(size_of::<NatRecord>() == 8 * 3 + 40 * 2 + 4 * 4 + 8);

/// One CPU's counts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatTotals {
    /// Transitions found.
    pub found: u64,
    /// Of these: not sent, because the ring was full. The flow's next packet tries again.
    pub ring_full: u64,
    /// Flows of which nothing is sent, because the user's filter expression refuses them.
    pub refused: u64,
}

crate::pod!(Known, NatRecord, NatTotals);

/// Words of a tuple.
pub type Words = [u64; 5];

/// An odd number without pattern (2^64 divided by the golden ratio).
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Tells two flows apart that hold the same conntrack entry one after the other.
#[inline(always)]
#[must_use]
pub fn fingerprint(original: &Words, reply: &Words) -> u64 {
    let mut hash = MIX;
    let mut at = 0;
    while at < original.len() {
        hash = step(hash, original[at]);
        hash = step(hash, reply[at]);
        at += 1;
    }
    hash
}

#[inline(always)]
fn step(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(MIX);
    mixed ^ (mixed >> 29)
}

/// Slots of the table of flows that need no look any more; two each, one per direction.
pub const SETTLED: u32 = 1 << 17;

/// Place of a direction of an entry in that table, and what stands there. `word`: the eight bytes of the original tuple
/// that hold source port and destination, so that the entry's next flow has another mark.
#[inline(always)]
#[must_use]
pub fn settled(entry: u64, word: u64, towards: u8) -> (u32, u64) {
    let pair = (entry.wrapping_mul(MIX) >> 48) as u32;
    let slot = pair << 1 | u32::from(towards == direction::REPLY);
    (slot, entry ^ word.rotate_left(17))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_counts() {
        let zero = [0; 5];
        let plain = fingerprint(&zero, &zero);
        for at in 0..5 {
            let mut other = zero;
            other[at] = 1;
            assert_ne!(fingerprint(&other, &zero), plain, "original {at}");
            assert_ne!(fingerprint(&zero, &other), plain, "reply {at}");
            assert_ne!(
                fingerprint(&zero, &other),
                fingerprint(&other, &zero),
                "{at}"
            );
        }
    }

    #[test]
    fn directions_have_slots_of_their_own() {
        for entry in [0xffff_8881_0000_1100, 0xffff_8881_0000_1200, u64::MAX] {
            let (original, mark) = settled(entry, 7, direction::ORIGINAL);
            let (reply, same) = settled(entry, 7, direction::REPLY);
            assert_eq!(original + 1, reply);
            assert!(reply < SETTLED);
            assert_eq!(mark, same);
            assert_ne!(settled(entry, 8, direction::ORIGINAL).1, mark);
        }
    }
}
