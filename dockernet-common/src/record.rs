//! What one sampled drop carries up the ring.

use crate::conntrack::RawTuple;

/// Header bytes carried at most.
pub const HEADER_BYTES: usize = 128;
/// Stack frames carried at most.
pub const STACK_FRAMES: usize = 24;
/// An offset that is not set.
pub const UNSET: u16 = u16::MAX;
/// A setting that was not read (the device has no such protocol, or the kernel no such field).
pub const UNREAD: i32 = i32::MIN;

/// Bits of [`DropRecord::flags`].
pub mod flag {
    /// `conntrack` holds an entry.
    pub const CONNTRACK: u8 = 1;
    /// `skb->dev` was a device (not storage shared with a queue).
    pub const DEVICE: u8 = 2;
    /// The namespace came from a socket.
    pub const SOCKET: u8 = 4;
    /// The packet is in `br_netfilter`'s hands.
    pub const BRIDGE_NF: u8 = 8;
    /// A socket owns the packet or was to receive it.
    pub const HAS_SOCKET: u8 = 16;
}

/// A conntrack entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct Conntrack {
    /// `nf_conn.status`.
    pub status: u32,
    /// `skb->_nfct & 7`.
    pub info: u8,
    /// Always zero.
    #[cfg_attr(feature = "user", serde(skip))]
    pub pad: [u8; 3],
    /// Before NAT, direction of the first packet.
    pub original: RawTuple,
    /// What the answer looks like.
    pub reply: RawTuple,
}

/// The settings that decide about a packet, as they were when it died. Each [`UNREAD`] where unknown.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "user",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct Settings {
    /// `net.ipv4.conf.DEV.forwarding`
    pub v4_forwarding: i32,
    /// `net.ipv4.conf.all.forwarding` (= `ip_forward`)
    pub v4_all_forwarding: i32,
    /// `net.ipv4.conf.DEV.rp_filter`
    pub rp_filter: i32,
    /// `net.ipv4.conf.all.rp_filter`
    pub all_rp_filter: i32,
    /// `net.ipv4.conf.DEV.route_localnet`
    pub route_localnet: i32,
    /// `net.ipv4.conf.DEV.accept_local`
    pub accept_local: i32,
    /// `net.ipv6.conf.DEV.forwarding`
    pub v6_forwarding: i32,
    /// `net.ipv6.conf.all.forwarding`
    pub v6_all_forwarding: i32,
    /// `net.ipv6.conf.DEV.disable_ipv6`
    pub v6_disabled: i32,
    /// Bridge port state: 0 disabled, 1 listening, 2 learning, 3 forwarding, 4 blocking (uapi/linux/if_bridge.h)
    pub port_state: i32,
    /// MTU of `skb->dev`, bytes
    pub mtu: i32,
    /// MTU of the route's device, bytes
    pub out_mtu: i32,
}

impl Default for Settings {
    fn default() -> Self {
        Self::UNREAD
    }
}

impl Settings {
    /// Nothing read.
    pub const UNREAD: Self = Self {
        v4_forwarding: UNREAD,
        v4_all_forwarding: UNREAD,
        rp_filter: UNREAD,
        all_rp_filter: UNREAD,
        route_localnet: UNREAD,
        accept_local: UNREAD,
        v6_forwarding: UNREAD,
        v6_all_forwarding: UNREAD,
        v6_disabled: UNREAD,
        port_state: UNREAD,
        mtu: UNREAD,
        out_mtu: UNREAD,
    };
}

/// One sampled drop.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct DropRecord {
    /// `CLOCK_MONOTONIC`, ns.
    pub ktime_ns: u64,
    /// Address of the skb.
    #[cfg_attr(feature = "user", serde(skip))]
    pub skb: u64,
    /// What it was counted under.
    pub key: crate::count::CountKey,
    /// Namespace's inode number.
    pub netns_inum: u32,
    /// `skb->skb_iif`.
    pub iif: u32,
    /// Device of the route (`dst->dev`), 0 if there is none.
    pub out_ifindex: u32,
    /// `skb->len`.
    pub len: u32,
    /// `skb->mark`.
    pub mark: u32,
    /// `skb->protocol`, host byte order.
    pub ethertype: u16,
    /// `skb->vlan_proto`, host byte order; 0 if no tag was taken off.
    pub vlan_proto: u16,
    /// `skb->vlan_tci`.
    pub vlan_tci: u16,
    /// Family of the socket, 0 if none.
    pub sk_family: u16,
    /// Bytes of `headers` that are filled.
    pub header_len: u16,
    /// Offsets into `headers`, [`UNSET`] where unknown.
    pub mac: u16,
    /// See `mac`.
    pub network: u16,
    /// See `mac`.
    pub transport: u16,
    /// `skb->pkt_type`.
    pub pkt_type: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// Frames of `stack` that are filled.
    pub stack_depth: u8,
    /// Always zero.
    #[cfg_attr(feature = "user", serde(skip))]
    pub pad: u8,
    /// `skb->dev`'s name, zero-padded.
    pub device: [u8; 16],
    /// `dst->dev`'s name, zero-padded.
    pub out_device: [u8; 16],
    /// Settings at that instant.
    pub settings: Settings,
    /// The packet's conntrack entry.
    pub conntrack: Conntrack,
    /// Return addresses, innermost first. Not in recordings: their line has the names.
    #[cfg_attr(feature = "user", serde(skip))]
    pub stack: [u64; STACK_FRAMES],
    /// From `skb->head` + the first of the offsets above. In recordings in another form.
    #[cfg_attr(feature = "user", serde(skip))]
    pub headers: [u8; HEADER_BYTES],
}

impl Default for DropRecord {
    fn default() -> Self {
        Self {
            ktime_ns: 0,
            skb: 0,
            key: crate::count::CountKey::default(),
            netns_inum: 0,
            iif: 0,
            out_ifindex: 0,
            len: 0,
            mark: 0,
            ethertype: 0,
            vlan_proto: 0,
            vlan_tci: 0,
            sk_family: 0,
            header_len: 0,
            mac: UNSET,
            network: UNSET,
            transport: UNSET,
            pkt_type: 0,
            flags: 0,
            stack_depth: 0,
            pad: 0,
            device: [0; 16],
            out_device: [0; 16],
            settings: Settings::UNREAD,
            conntrack: Conntrack::default(),
            stack: [0; STACK_FRAMES],
            headers: [0; HEADER_BYTES],
        }
    }
}

const _: () = assert!(size_of::<Conntrack>() == 88);
const _: () = assert!(size_of::<Settings>() == 48);
// No implicit padding: the parts add up.
const _: () = assert!(
    size_of::<DropRecord>()
        == 8 * 2 + 40 + 4 * 5 + 2 * 8 + 4 + 16 * 2 + 48 + 88 + 8 * STACK_FRAMES + HEADER_BYTES
);
crate::pod!(Conntrack, Settings, DropRecord);
