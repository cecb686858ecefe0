//! Views of `struct sk_buff`: where it is, whose it is, what its headers say.

use core::marker::PhantomData;

use dockernet_common::{
    count::{hook, nat},
    offsets::ABSENT,
    packet::{FlowKey, flow_key},
    record::flag,
};

use crate::{
    maps::{DOCKERNET_CTRL, offsets},
    mem::{Bytes, Mem, Probe, Quick},
};

/// Low bits of `_nfct` that hold `enum ip_conntrack_info` (include/linux/skbuff.h, `NFCT_INFOMASK`).
const NFCT_INFO: u64 = 7;
/// `SKB_DST_PTRMASK`: the lowest bit says whether a reference is held.
const DST_NOREF: u64 = 1;

/// `IFF_BRIDGE_PORT` (include/linux/netdevice.h, `netdev_priv_flags`): bit 9 since 4.7, still in 6.18.
pub(crate) const BRIDGE_PORT: u32 = 1 << 9;

/// A dropped skb.
pub(crate) struct Skb<M> {
    pub(crate) ptr: *const u8,
    mem: PhantomData<M>,
}

/// Where a packet died.
pub(crate) struct Place {
    /// `struct net *`, null if unknown.
    pub(crate) net: *const u8,
    /// `struct net_device *`, null if `skb->dev` held none.
    pub(crate) dev: *const u8,
    pub(crate) ifindex: u32,
    pub(crate) cookie: u64,
    /// Bits of [`flag`].
    pub(crate) flags: u8,
    /// Family of the socket it belongs or was going to, 0 if none.
    pub(crate) sk_family: u16,
}

impl<M: Mem> Skb<M> {
    #[inline(always)]
    pub(crate) fn new(ptr: *const u8) -> Self {
        Self {
            ptr,
            mem: PhantomData,
        }
    }

    /// Namespace and device; `None` if this is no packet.
    ///
    /// `skb->dev` shares its storage with `dev_scratch` (UDP receive queue) and an rb_node (TCP out-of-order queue)
    /// (include/linux/skbuff.h). So a device counts only if its namespace is one: a namespace's loopback device
    /// leads back to it. Else the socket tells the namespace, else the route.
    #[inline(always)]
    pub(crate) fn place(&self, rx_sk: *const u8) -> Option<Place> {
        let dev: *const u8 = load_ptr::<M>(self.ptr, offsets!(skb_dev));
        let net = load_ptr::<M>(dev, offsets!(dev_net));
        let loopback = load_ptr::<M>(net, offsets!(net_loopback));
        let sk = load_ptr::<M>(self.ptr, offsets!(skb_sk));
        let mut place = Place {
            net: core::ptr::null(),
            dev: core::ptr::null(),
            ifindex: 0,
            cookie: 0,
            flags: 0,
            sk_family: M::load(sk, offsets!(sk_family)),
        };
        if !rx_sk.is_null() {
            place.sk_family = M::load(rx_sk, offsets!(sk_family));
        }
        if place.sk_family != 0 {
            place.flags |= flag::HAS_SOCKET;
        }
        if !net.is_null() && load_ptr::<M>(loopback, offsets!(dev_net)) == net {
            place.ifindex = M::load(dev, offsets!(dev_ifindex));
            place.cookie = cookie::<M>(net);
            place.dev = dev;
            place.net = net;
            place.flags |= flag::DEVICE;
            return Some(place);
        }
        // AF_UNIX, netlink and the like never had a link-layer protocol, nor a device.
        if M::load::<u16>(self.ptr, offsets!(skb_protocol)) == 0 {
            return None;
        }
        if !rx_sk.is_null() {
            let net = load_ptr::<M>(rx_sk, offsets!(sk_net));
            place.cookie = cookie::<M>(net);
            place.net = net;
            place.flags |= flag::SOCKET;
            return Some(place);
        }
        let net = load_ptr::<M>(sk, offsets!(sk_net));
        if !net.is_null() {
            place.cookie = cookie::<M>(net);
            place.net = net;
            place.flags |= flag::SOCKET;
            return Some(place);
        }
        let dst = self.dst();
        if !dst.is_null() {
            let net =
                load_ptr::<Probe>(load_ptr::<Probe>(dst, offsets!(dst_dev)), offsets!(dev_net));
            place.cookie = cookie::<Probe>(net);
            place.net = net;
        }
        Some(place)
    }

    /// `skb_dst(skb)`: an untyped address, to be read with [`Probe`].
    #[inline(always)]
    pub(crate) fn dst(&self) -> *const u8 {
        (M::load::<u64>(self.ptr, offsets!(skb_dst)) & !DST_NOREF) as *const u8
    }

    /// `skb->_nfct` without its low bits: an untyped address.
    #[inline(always)]
    pub(crate) fn conntrack(&self) -> *const u8 {
        (M::load::<u64>(self.ptr, offsets!(skb_nfct)) & !NFCT_INFO) as *const u8
    }

    /// `enum ip_conntrack_info`.
    #[inline(always)]
    pub(crate) fn conntrack_info(&self) -> u8 {
        (M::load::<u64>(self.ptr, offsets!(skb_nfct)) & NFCT_INFO) as u8
    }

    /// Bits of [`nat`].
    #[inline(always)]
    pub(crate) fn nat(&self) -> u8 {
        let conntrack = self.conntrack();
        if conntrack.is_null() {
            return 0;
        }
        // SRC_NAT is bit 4 and DST_NAT bit 5 of the status; they become bits 1 and 2.
        let status: u64 = Quick::load(conntrack, offsets!(ct_status));
        nat::TRACKED | ((status >> 3) as u8 & (nat::SNAT | nat::DNAT))
    }

    /// Whether a VLAN tag lies beside the packet instead of in it.
    ///
    /// Until 6.0 a bit says so and `vlan_proto` may be a leftover; from 6.1 on `vlan_proto` itself does (include/linux/if_vlan.h,
    /// `skb_vlan_tag_present`).
    #[inline(always)]
    pub(crate) fn is_tagged(&self) -> bool {
        if offsets!(skb_vlan_present) != ABSENT {
            let byte: u8 = M::load(self.ptr, offsets!(skb_vlan_present));
            return byte >> (offsets!(skb_vlan_present_bit) & 7) & 1 == 1;
        }
        M::load::<u16>(self.ptr, offsets!(skb_vlan_proto)) != 0
    }

    #[inline(always)]
    pub(crate) fn ethertype(&self) -> u16 {
        u16::from_be(M::load(self.ptr, offsets!(skb_protocol)))
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> u32 {
        M::load(self.ptr, offsets!(skb_len))
    }

    /// Addresses and ports as the packet has them now.
    #[inline(always)]
    pub(crate) fn flow(&self) -> Option<FlowKey> {
        let head = M::load::<u64>(self.ptr, offsets!(skb_head)) as *const u8;
        let network: u16 = M::load(self.ptr, offsets!(skb_network_header));
        flow_key(&Bytes(head), network as usize, self.ethertype())
    }

    /// The netfilter hook, from what the packet has and lacks at each of them.
    ///
    /// In `br_netfilter`'s hands it is bridged FORWARD on a bridge port, and bridged PREROUTING without a route; the mark
    /// that `br_netfilter` leaves stays on packets that are then routed. (Bridged POSTROUTING looks like FORWARD; no
    /// filter table has a chain there.) Else: not routed yet: PREROUTING. Routed to us or through us: INPUT or FORWARD, told by
    /// `dst->input`; once the device is no longer the one it came in by: POSTROUTING. Never came in: OUTPUT, or
    /// POSTROUTING once it has a device. A test compares this with the stack for every hook.
    #[inline(always)]
    pub(crate) fn hook(&self, place: &Place) -> u8 {
        let dst = self.dst();
        if self.in_bridge() {
            if Probe::load::<u32>(place.dev, offsets!(dev_priv_flags)) & BRIDGE_PORT != 0 {
                return hook::FORWARD | hook::BRIDGE;
            }
            if dst.is_null() {
                return hook::PREROUTING | hook::BRIDGE;
            }
        }
        let iif: u32 = M::load(self.ptr, offsets!(skb_iif));
        if dst.is_null() {
            return hook::PREROUTING;
        }
        if iif == 0 {
            return if place.flags & flag::DEVICE == 0 {
                hook::OUTPUT
            } else {
                hook::POSTROUTING
            };
        }
        let input: u64 = Quick::load(dst, offsets!(dst_input));
        let Some(control) = DOCKERNET_CTRL.get(0) else {
            return hook::NONE;
        };
        let forwarded = input != 0 && (input == control.ip_forward || input == control.ip6_forward);
        let delivered =
            input != 0 && (input == control.ip_local_deliver || input == control.ip6_input);
        let left = place.flags & flag::DEVICE != 0 && place.ifindex != iif;
        if delivered {
            hook::INPUT
        } else if left {
            hook::POSTROUTING
        } else if forwarded {
            hook::FORWARD
        } else {
            hook::NONE
        }
    }

    /// Whether `br_netfilter` has the packet (`SKB_EXT_BRIDGE_NF`).
    #[inline(always)]
    pub(crate) fn in_bridge(&self) -> bool {
        let bit = offsets!(ext_bridge_nf);
        bit != ABSENT
            && M::load::<u8>(self.ptr, offsets!(skb_active_extensions)) >> (bit & 7) & 1 == 1
    }
}

#[inline(always)]
pub(crate) fn load_ptr<M: Mem>(base: *const u8, offset: u32) -> *const u8 {
    M::load::<Ptr>(base, offset).0
}

/// A pointer that defaults to null. A typed load keeps it a pointer in the verifier's eyes.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Ptr(*const u8);

impl Default for Ptr {
    fn default() -> Self {
        Self(core::ptr::null())
    }
}

/// `net->net_cookie`, or the inode number on kernels that have or made none.
#[inline(always)]
pub(crate) fn cookie<M: Mem>(net: *const u8) -> u64 {
    let cookie: u64 = M::load(net, offsets!(net_cookie));
    if cookie == 0 {
        u64::from(M::load::<u32>(net, offsets!(net_inum)))
    } else {
        cookie
    }
}
