//! One drop in full detail, written straight into the ring.

use core::ffi::c_void;

use aya_ebpf::helpers::{
    bpf_ktime_get_ns,
    generated::{bpf_get_stack, bpf_probe_read_kernel},
};
use dockernet_common::{
    count::CountKey,
    offsets::ABSENT,
    record::{DropRecord, HEADER_BYTES, STACK_FRAMES, Settings, UNREAD, UNSET, flag},
};

use crate::{
    maps::{DOCKERNET_EVENTS, offsets},
    mem::{Mem, Probe},
    skb::{BRIDGE_PORT, Place, Skb, load_ptr},
};

/// `IPV4_DEVCONF_*` (include/uapi/linux/ip.h, stable ABI), counted from zero as in `ipv4_devconf.data`.
mod v4 {
    pub(crate) const FORWARDING: u32 = 0;
    pub(crate) const RP_FILTER: u32 = 7;
    pub(crate) const ACCEPT_LOCAL: u32 = 22;
    pub(crate) const ROUTE_LOCALNET: u32 = 25;
}

/// Writes a field of a record that lies in the ring, uninitialised.
macro_rules! set {
    ($record:ident . $($field:ident).+ = $value:expr) => {{
        let value = $value;
        // SAFETY: in bounds of the reserved record.
        unsafe { (&raw mut (*$record).$($field).+).write(value) }
    }};
}

/// Sends one record; false if the ring is full.
///
/// Flags 0 on submit wake the reader only if it has read everything (kernel/bpf/ringbuf.c, `bpf_ringbuf_commit`),
/// and ours sleeps between drains: at most one wake-up per drain.
#[inline(always)]
pub(crate) fn emit<M: Mem>(skb: &Skb<M>, place: &Place, key: &CountKey, ctx: *mut c_void) -> bool {
    let Some(mut entry) = DOCKERNET_EVENTS.reserve::<DropRecord>(0) else {
        return false;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: a helper without arguments.
    set!(record.ktime_ns = unsafe { bpf_ktime_get_ns() });
    set!(record.skb = skb.ptr as u64);
    set!(record.key = *key);
    set!(record.netns_inum = Probe::load(place.net, offsets!(net_inum)));
    set!(record.iif = M::load(skb.ptr, offsets!(skb_iif)));
    set!(record.len = skb.len());
    set!(record.mark = M::load(skb.ptr, offsets!(skb_mark)));
    set!(record.ethertype = skb.ethertype());
    let vlan_proto = if skb.is_tagged() {
        u16::from_be(M::load(skb.ptr, offsets!(skb_vlan_proto)))
    } else {
        0
    };
    set!(record.vlan_proto = vlan_proto);
    set!(record.vlan_tci = M::load(skb.ptr, offsets!(skb_vlan_tci)));
    set!(record.sk_family = place.sk_family);
    let pkt_type: u8 = M::load(skb.ptr, offsets!(skb_pkt_type));
    set!(record.pkt_type = (pkt_type >> (offsets!(skb_pkt_type_shift) & 7)) & 7);
    set!(record.pad = 0);
    let dst = skb.dst();
    let out = load_ptr::<Probe>(
        dst,
        if dst.is_null() {
            ABSENT
        } else {
            offsets!(dst_dev)
        },
    );
    set!(record.out_ifindex = Probe::load(out, offsets!(dev_ifindex)));
    // SAFETY: addresses of fields of the reserved record; nothing is read.
    let (device, out_device, decided) = unsafe {
        (
            &raw mut (*record).device,
            &raw mut (*record).out_device,
            &raw mut (*record).settings,
        )
    };
    name(place.dev, device);
    name(out, out_device);
    settings(place, out, decided);
    let mut flags = place.flags;
    if skb.in_bridge() {
        flags |= flag::BRIDGE_NF;
    }
    if conntrack(skb, record) {
        flags |= flag::CONNTRACK;
    }
    set!(record.flags = flags);
    headers(skb, record);
    // SAFETY: the buffer is as long as its size says; `ctx` is the program's own context.
    let bytes = unsafe {
        bpf_get_stack(
            ctx,
            (&raw mut (*record).stack).cast(),
            (STACK_FRAMES * 8) as u32,
            0,
        )
    };
    set!(record.stack_depth = if bytes > 0 { (bytes / 8) as u8 } else { 0 });
    entry.submit(0);
    true
}

#[inline(always)]
fn name(dev: *const u8, into: *mut [u8; 16]) {
    // SAFETY: writes 16 bytes of the record; zero-fills on a fault (a null device).
    unsafe {
        bpf_probe_read_kernel(
            into.cast(),
            16,
            dev.wrapping_add(offsets!(dev_name) as usize).cast(),
        );
    }
}

#[inline(always)]
fn conntrack<M: Mem>(skb: &Skb<M>, record: *mut DropRecord) -> bool {
    let entry = skb.conntrack();
    set!(record.conntrack.info = skb.conntrack_info());
    set!(record.conntrack.pad = [0; 3]);
    set!(record.conntrack.status = Probe::load::<u64>(entry, offsets!(ct_status)) as u32);
    // SAFETY: each writes one tuple of the record; zero-fills on a fault (no entry).
    unsafe {
        bpf_probe_read_kernel(
            (&raw mut (*record).conntrack.original).cast(),
            40,
            entry.wrapping_add(offsets!(ct_original) as usize).cast(),
        );
        bpf_probe_read_kernel(
            (&raw mut (*record).conntrack.reply).cast(),
            40,
            entry.wrapping_add(offsets!(ct_reply) as usize).cast(),
        );
    }
    !entry.is_null()
}

/// Copies from the first header that is still there, never past the linear data's end.
#[inline(always)]
fn headers<M: Mem>(skb: &Skb<M>, record: *mut DropRecord) {
    let head: u64 = M::load(skb.ptr, offsets!(skb_head));
    let tail: u32 = M::load(skb.ptr, offsets!(skb_tail));
    let mac: u16 = M::load(skb.ptr, offsets!(skb_mac_header));
    let network: u16 = M::load(skb.ptr, offsets!(skb_network_header));
    let transport: u16 = M::load(skb.ptr, offsets!(skb_transport_header));
    // A device without link headers has both at one place; an outgoing packet has no link header yet.
    let has_mac = mac != UNSET && mac < network && network - mac <= 64;
    let start = if has_mac { mac } else { network };
    set!(record.mac = if has_mac { 0 } else { UNSET });
    set!(record.network = network - start);
    set!(
        record.transport = if transport != UNSET && transport > network {
            transport - start
        } else {
            UNSET
        }
    );
    let mut length = tail.wrapping_sub(u32::from(start));
    // More than a linear area ever holds: the tail lies before the start.
    if length > 1 << 20 {
        length = 0;
    }
    if length > HEADER_BYTES as u32 {
        length = HEADER_BYTES as u32;
    }
    set!(record.header_len = length as u16);
    // SAFETY: at most HEADER_BYTES into a field that long.
    unsafe {
        bpf_probe_read_kernel(
            (&raw mut (*record).headers).cast(),
            length,
            (head as *const u8).wrapping_add(start as usize).cast(),
        );
    }
}

/// What decided about the packet, at this very instant.
#[inline(always)]
fn settings(place: &Place, out: *const u8, into: *mut Settings) {
    let dev = place.dev;
    set!(
        into.mtu = if dev.is_null() {
            UNREAD
        } else {
            Probe::load(dev, offsets!(dev_mtu))
        }
    );
    set!(
        into.out_mtu = if out.is_null() {
            UNREAD
        } else {
            Probe::load(out, offsets!(dev_mtu))
        }
    );
    let in_device = if dev.is_null() {
        dev
    } else {
        load_ptr::<Probe>(dev, offsets!(dev_ip))
    };
    let data = plus(in_device, offsets!(in_dev_data));
    set!(into.v4_forwarding = int(data, v4::FORWARDING * 4));
    set!(into.rp_filter = int(data, v4::RP_FILTER * 4));
    set!(into.accept_local = int(data, v4::ACCEPT_LOCAL * 4));
    set!(into.route_localnet = int(data, v4::ROUTE_LOCALNET * 4));
    let all = plus(
        load_ptr::<Probe>(place.net, offsets!(net_v4_all)),
        offsets!(devconf_data),
    );
    set!(into.v4_all_forwarding = int(all, v4::FORWARDING * 4));
    set!(into.all_rp_filter = int(all, v4::RP_FILTER * 4));
    let inet6 = if dev.is_null() {
        dev
    } else {
        load_ptr::<Probe>(dev, offsets!(dev_ip6))
    };
    let cnf = plus(inet6, offsets!(inet6_cnf));
    set!(into.v6_forwarding = int(cnf, offsets!(v6_forwarding)));
    set!(into.v6_disabled = int(cnf, offsets!(v6_disable)));
    let all = load_ptr::<Probe>(place.net, offsets!(net_v6_all));
    set!(into.v6_all_forwarding = int(all, offsets!(v6_forwarding)));
    let port =
        if !dev.is_null() && Probe::load::<u32>(dev, offsets!(dev_priv_flags)) & BRIDGE_PORT != 0 {
            load_ptr::<Probe>(dev, offsets!(dev_rx_handler_data))
        } else {
            core::ptr::null()
        };
    let has_state = !port.is_null() && offsets!(port_state) != ABSENT;
    set!(
        into.port_state = if has_state {
            i32::from(Probe::load::<u8>(port, offsets!(port_state)))
        } else {
            UNREAD
        }
    );
}

/// `base + offset`, null if either is missing.
#[inline(always)]
fn plus(base: *const u8, offset: u32) -> *const u8 {
    if base.is_null() || offset == ABSENT {
        core::ptr::null()
    } else {
        base.wrapping_add(offset as usize)
    }
}

#[inline(always)]
fn int(base: *const u8, offset: u32) -> i32 {
    if base.is_null() || offset == ABSENT {
        UNREAD
    } else {
        Probe::load(base, offset)
    }
}
