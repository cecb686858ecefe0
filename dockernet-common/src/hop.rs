//! One packet seen at one device, for following flows from device to device.

use crate::{packet::FlowKey, record::Conntrack};

/// Header bytes carried at most, from the network header on. Room for a quoted packet in an ICMP error.
pub const HOP_BYTES: usize = 96;

/// An end of a flow that is followed: key of the map that user space fills.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EndKey {
    /// Address; IPv4 as `::ffff:a.b.c.d`.
    pub address: [u8; 16],
    /// Port, host order; 0: the address alone.
    pub port: u16,
    /// Always zero.
    pub pad: u16,
}

/// Values of that map.
pub mod end {
    /// Every packet with this end.
    pub const ALL: u8 = 1;
    /// Only what has no ports to go by: ICMP messages and later fragments.
    pub const PORTLESS: u8 = 2;
    /// Put there by the kernel half: the address and port that a followed flow was translated to.
    pub const LEARNED: u8 = 4;
    /// The same for flows without ports: the address alone, and only for what has no ports.
    pub const LEARNED_PORTLESS: u8 = 8;
}

/// Values of [`HopRecord::kind`].
pub mod kind {
    /// Handed to a device for sending (`net:net_dev_queue`).
    pub const SENT: u8 = 1;
    /// Received from a device (`net:netif_receive_skb`).
    pub const RECEIVED: u8 = 2;
}

/// One packet at one device.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopRecord {
    /// `CLOCK_MONOTONIC`, ns.
    pub ktime_ns: u64,
    /// Address of the skb: the same from device to device unless it is copied.
    pub skb: u64,
    /// Namespace of the device.
    pub netns: u64,
    /// Namespace's inode number.
    pub netns_inum: u32,
    /// Device.
    pub ifindex: u32,
    /// `skb->len`, bytes.
    pub len: u32,
    /// EtherType of the network header, host order.
    pub ethertype: u16,
    /// Bytes of `headers` that are filled.
    pub header_len: u16,
    /// One of [`kind`].
    pub kind: u8,
    /// 1 if `conntrack` holds an entry.
    pub tracked: u8,
    /// Always zero.
    pub pad: [u8; 6],
    /// Device's name, zero-padded.
    pub device: [u8; 16],
    /// The packet's conntrack entry.
    pub conntrack: Conntrack,
    /// From the network header on.
    pub headers: [u8; HOP_BYTES],
}

const _: () = assert!(size_of::<EndKey>() == 20);
// No implicit padding: the parts add up.
const _: () = assert!(size_of::<HopRecord>() == 8 * 3 + 4 * 3 + 2 * 2 + 8 + 16 + 88 + HOP_BYTES);

/// One CPU's counts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HopTotals {
    /// Packets of followed flows at devices.
    pub seen: u64,
    /// Of these: not sent up, because the ring was full.
    pub ring_full: u64,
    /// Translated ends that found no room in the map: their answers may be seen late.
    pub unlearned: u64,
}

crate::pod!(EndKey, HopRecord, HopTotals);

impl EndKey {
    /// An end by its address bytes and port.
    #[inline(always)]
    pub const fn new(address: [u8; 16], port: u16) -> Self {
        Self {
            address,
            port,
            pad: 0,
        }
    }

    /// Where a packet comes from.
    #[inline(always)]
    pub const fn source(flow: &FlowKey) -> Self {
        Self::new(flow.src, flow.src_port)
    }

    /// Where it goes.
    #[inline(always)]
    pub const fn destination(flow: &FlowKey) -> Self {
        Self::new(flow.dst, flow.dst_port)
    }
}
