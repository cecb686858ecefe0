//! Packets of followed flows, at each device that they come to.

use aya_ebpf::helpers::{bpf_ktime_get_ns, generated::bpf_probe_read_kernel};
use dockernet_common::{
    conntrack::{RawTuple, status},
    hop::{EndKey, HOP_BYTES, HopRecord, end, kind},
    packet::{FlowKey, ethertype, flow_key},
};

use crate::{
    maps::{DOCKERNET_HOPS, DOCKERNET_HOPT, DOCKERNET_WANT, offsets},
    mem::{Bytes, Mem, Probe},
    skb::{Skb, cookie, load_ptr},
};

/// `BPF_NOEXIST`
const NOEXIST: u64 = 1;

/// A packet at a device. `kind`: one of [`kind`].
#[inline(always)]
pub(crate) fn at<M: Mem>(skb: *const u8, kind: u8) {
    let skb = Skb::<M>::new(skb);
    let head: u64 = M::load(skb.ptr, offsets!(skb_head));
    let bytes = Bytes(head as *const u8);
    let mut ethertype = skb.ethertype();
    // Where a packet is received its data begins with the network header, and `skb->network_header` is still to be set
    // (`__netif_receive_skb_core()`, net/core/dev.c: right behind the tracepoint).
    let mut network = if kind == kind::RECEIVED {
        M::load::<u64>(skb.ptr, offsets!(skb_data)).wrapping_sub(head) as usize & 0xffff
    } else {
        M::load::<u16>(skb.ptr, offsets!(skb_network_header)) as usize
    };
    // A tag that no device took off lies in the way.
    if ethertype::is_vlan(ethertype) && kind == kind::RECEIVED {
        let Some([_, _, a, b]) = dockernet_common::packet::ByteSource::read(&bytes, network) else {
            return;
        };
        ethertype = u16::from_be_bytes([a, b]);
        network += 4;
    }
    let Some(flow) = flow_key(&bytes, network, ethertype) else {
        return;
    };
    let entry = skb.conntrack();
    let state = if entry.is_null() {
        0
    } else {
        Probe::load::<u64>(entry, offsets!(ct_status)) as u32
    };
    let translated = state & (status::SRC_NAT | status::DST_NAT) != 0;
    // An error of a router in between has neither end of the flow that it speaks of.
    let related = matches!(flow.protocol, 1 | 58) && !entry.is_null();
    if !(followed(&flow)
        || (translated || related)
            && (tuple_followed(entry, offsets!(ct_original))
                || tuple_followed(entry, offsets!(ct_reply))))
    {
        return;
    }
    let Some(totals) = DOCKERNET_HOPT.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: a per-CPU value. An interrupt's packet may come between, and then a count can be off by that one.
    let totals = unsafe { &mut *totals };
    totals.seen += 1;
    // Before it is translated back, an answer carries the address that its flow was translated to. Learned here, as the
    // answer may be faster than user space.
    if state & status::SRC_NAT != 0 && !learn(entry) {
        totals.unlearned += 1;
    }
    let packet = Packet {
        bytes,
        network,
        ethertype,
        kind,
    };
    if !emit(&skb, &packet, entry, state) {
        totals.ring_full += 1;
    }
}

/// Where a packet's headers are.
struct Packet {
    bytes: Bytes,
    network: usize,
    ethertype: u16,
    kind: u8,
}

/// Sends one record; false if the ring is full.
#[inline(always)]
fn emit<M: Mem>(skb: &Skb<M>, packet: &Packet, entry: *const u8, state: u32) -> bool {
    let Some(mut room) = DOCKERNET_HOPS.reserve::<HopRecord>(0) else {
        return false;
    };
    let record = room.as_mut_ptr();
    let dev = load_ptr::<M>(skb.ptr, offsets!(skb_dev));
    let net = load_ptr::<M>(dev, offsets!(dev_net));
    let tail = M::load::<u32>(skb.ptr, offsets!(skb_tail)) as usize;
    let mut length = tail.wrapping_sub(packet.network);
    // More than a linear area ever holds: the tail lies before the header.
    if length > 1 << 20 {
        length = 0;
    }
    if length > HOP_BYTES {
        length = HOP_BYTES;
    }
    // SAFETY: every field of the reserved record is written; the copies stay inside their fields and zero-fill on a fault.
    unsafe {
        (&raw mut (*record).ktime_ns).write(bpf_ktime_get_ns());
        (&raw mut (*record).skb).write(skb.ptr as u64);
        (&raw mut (*record).netns).write(cookie::<M>(net));
        (&raw mut (*record).netns_inum).write(M::load(net, offsets!(net_inum)));
        (&raw mut (*record).ifindex).write(M::load(dev, offsets!(dev_ifindex)));
        (&raw mut (*record).len).write(skb.len());
        (&raw mut (*record).ethertype).write(packet.ethertype);
        (&raw mut (*record).header_len).write(length as u16);
        (&raw mut (*record).kind).write(packet.kind);
        (&raw mut (*record).tracked).write(u8::from(!entry.is_null()));
        (&raw mut (*record).pad).write([0; 6]);
        (&raw mut (*record).conntrack.status).write(state);
        (&raw mut (*record).conntrack.info).write(skb.conntrack_info());
        (&raw mut (*record).conntrack.pad).write([0; 3]);
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
        bpf_probe_read_kernel(
            (&raw mut (*record).device).cast(),
            16,
            dev.wrapping_add(offsets!(dev_name) as usize).cast(),
        );
        bpf_probe_read_kernel(
            (&raw mut (*record).headers).cast(),
            length as u32,
            packet.bytes.0.wrapping_add(packet.network).cast(),
        );
    }
    room.submit(0);
    true
}

/// Follows what a flow was translated to as well; false if the map is full.
#[inline(always)]
fn learn(entry: *const u8) -> bool {
    let reply: RawTuple = Probe::load(entry, offsets!(ct_reply));
    let mut learned = to(&reply);
    let mut bits = end::LEARNED;
    // In the place of its port an ICMP tuple has type and code.
    if matches!(reply.protocol, 1 | 58) {
        learned.port = 0;
        bits = end::LEARNED_PORTLESS;
    }
    // SAFETY: the value is not read, only its presence counts.
    unsafe { DOCKERNET_WANT.get(learned) }.is_some()
        || DOCKERNET_WANT.insert(learned, bits, NOEXIST).is_ok()
}

/// Whether one of the packet's own ends is wanted.
#[inline(always)]
fn followed(flow: &FlowKey) -> bool {
    let portless = flow.src_port == 0 && flow.dst_port == 0;
    wanted(&EndKey::new(flow.dst, 0), portless)
        || wanted(&EndKey::new(flow.src, 0), portless)
        || !portless
            && (wanted(&EndKey::destination(flow), false) || wanted(&EndKey::source(flow), false))
}

/// Whether an end of one of its flow's tuples is.
#[inline(always)]
fn tuple_followed(entry: *const u8, offset: u32) -> bool {
    let tuple: RawTuple = Probe::load(entry, offset);
    let from = EndKey::new(tuple.source(), u16::from_be_bytes(tuple.src_port));
    let to = to(&tuple);
    wanted(&to, false)
        || wanted(&from, false)
        || wanted(&EndKey::new(to.address, 0), false)
        || wanted(&EndKey::new(from.address, 0), false)
}

#[inline(always)]
fn to(tuple: &RawTuple) -> EndKey {
    EndKey::new(tuple.destination(), u16::from_be_bytes(tuple.dst_port))
}

/// A function of its own: inlined it would fill the 512 bytes of stack with keys.
#[inline(never)]
fn wanted(key: &EndKey, portless: bool) -> bool {
    // SAFETY: one byte, replaced whole.
    match unsafe { DOCKERNET_WANT.get(key) } {
        Some(bits) => *bits & (end::ALL | end::LEARNED) != 0 || portless,
        None => false,
    }
}
