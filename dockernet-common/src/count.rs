//! What is counted in the kernel: every dropped packet, exactly.

/// Drops are counted per this key. Endpoint ids come from user space; 0 is anybody else.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "user",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct CountKey {
    /// Address of the function that freed the packet.
    #[cfg_attr(feature = "user", serde(skip))]
    pub location: u64,
    /// `net->net_cookie`, the inode number on kernels without it; 0 = unknown.
    pub netns: u64,
    /// `enum skb_drop_reason`; 0 on kernels without reasons.
    pub reason: u32,
    /// `skb->dev`, 0 if there is none.
    pub ifindex: u32,
    /// Endpoint id of the source address.
    pub source: u32,
    /// Endpoint id of the destination address, else of the container that publishes the destination port.
    pub destination: u32,
    /// [`hook`] inferred from the skb, for netfilter drops only.
    pub hook: u8,
    /// [`nat`] bits of the conntrack entry.
    pub nat: u8,
    /// IP protocol number, 0 if none.
    pub protocol: u8,
    /// Always zero.
    #[cfg_attr(feature = "user", serde(skip))]
    pub pad: [u8; 5],
}

const _: () = assert!(size_of::<CountKey>() == 40);

/// Values of [`CountKey::hook`].
pub mod hook {
    /// Not a netfilter drop, or not inferred.
    pub const NONE: u8 = 0;
    /// `NF_INET_PRE_ROUTING`
    pub const PREROUTING: u8 = 1;
    /// `NF_INET_LOCAL_IN`
    pub const INPUT: u8 = 2;
    /// `NF_INET_FORWARD`
    pub const FORWARD: u8 = 3;
    /// `NF_INET_LOCAL_OUT`
    pub const OUTPUT: u8 = 4;
    /// `NF_INET_POST_ROUTING`
    pub const POSTROUTING: u8 = 5;
    /// Set beside one of the others: called from the bridge by `br_netfilter`.
    pub const BRIDGE: u8 = 0x10;
}

/// Bits of [`CountKey::nat`].
pub mod nat {
    /// The packet carries a conntrack entry.
    pub const TRACKED: u8 = 1;
    /// Its source is translated (`IPS_SRC_NAT`).
    pub const SNAT: u8 = 2;
    /// Its destination is translated (`IPS_DST_NAT`).
    pub const DNAT: u8 = 4;
}

/// One key's counters on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountRow {
    /// Dropped packets.
    pub packets: u64,
    /// Their `skb->len` summed up.
    pub bytes: u64,
    /// How many of them were sent up the ring in detail.
    pub sampled: u64,
    /// Epoch of `tokens`.
    pub epoch: u32,
    /// Samples left in this epoch.
    pub tokens: u32,
}

const _: () = assert!(size_of::<CountRow>() == 32);

/// One CPU's totals.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Dropped packets seen, filtered ones included.
    pub observed: u64,
    /// Of these: refused by the filter in the kernel.
    pub filtered: u64,
    /// Of these: in a namespace that user space has declared out of scope.
    pub out_of_scope: u64,
    /// Of these: counted here only, because the count map was full.
    pub other: u64,
    /// Samples that found the ring full. Their packets are counted.
    pub ring_full: u64,
    /// Things freed as dropped that are no packets (AF_UNIX and netlink buffers): not in `observed`.
    pub non_packets: u64,
    /// Epoch of `tokens`.
    pub epoch: u32,
    /// Samples left on this CPU in this epoch.
    pub tokens: u32,
}

const _: () = assert!(size_of::<Totals>() == 56);

/// What a CPU's last flow, and its namespace, were found to be. Drops come in bursts of one flow, and each of these costs a look-up.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastFlow {
    /// The flow, by [`FlowKey::words`](crate::packet::FlowKey::words).
    pub flow: [u64; 5],
    /// The namespace of the last packet that was in scope.
    pub near: u64,
    /// [`Control::names`](crate::control::Control::names) at that time: another one, and it does not hold.
    pub names: u32,
    /// Endpoint id of the source.
    pub source: u32,
    /// Endpoint id of the destination.
    pub destination: u32,
    /// Not 0 while it is looked at: a program that interrupts itself (until 6.1) keeps off.
    pub busy: u32,
}

const _: () = assert!(size_of::<LastFlow>() == 64);

/// A published port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PortKey {
    /// IP protocol number.
    pub protocol: u16,
    /// Port, host byte order.
    pub port: u16,
}

const _: () = assert!(size_of::<PortKey>() == 4);
crate::pod!(CountKey, CountRow, Totals, PortKey);
