//! NAT transitions: each conntrack entry's, once per direction, and again when it changes.

use aya_ebpf::helpers::{bpf_get_current_task, bpf_ktime_get_ns};
use dockernet_common::{
    conntrack::{AF_INET, AF_INET6, RawTuple, info, status},
    count::PortKey,
    nat::{Known, NatRecord, UNKNOWN, Words, direction, fingerprint, settled, what},
    offsets::ABSENT,
    packet::FlowKey,
};

use crate::{
    filter,
    maps::{
        DOCKERNET_ADDR, DOCKERNET_FLOW, DOCKERNET_NAT, DOCKERNET_NATS, DOCKERNET_PORT,
        DOCKERNET_SETTLED, offsets,
    },
    mem::{Mem, Probe, Quick},
    skb::{Skb, cookie, load_ptr},
};

/// Low bits of `_nfct` that hold `enum ip_conntrack_info`.
const NFCT_INFO: u64 = 7;
/// Bytes of a tuple before its source port.
const PORTS: u32 = 16;
const NAT: u32 = status::SRC_NAT | status::DST_NAT;

/// A packet that is about to leave, and its flow.
struct Leaving {
    skb: *const u8,
    entry: *const u8,
    state: u32,
    info: u8,
    towards: u8,
}

/// A packet is about to leave a device. Two reads for most of them: once conntrack is assured of a flow and there is nothing
/// more to report of its direction, a table says so that is looked up by index.
#[inline(always)]
pub(crate) fn leaving(skb: *const u8) {
    let nfct: u64 = Quick::load(skb, offsets!(skb_nfct));
    let entry = (nfct & !NFCT_INFO) as *const u8;
    let ctinfo = (nfct & NFCT_INFO) as u8;
    if entry.is_null() {
        untracked(skb);
        return;
    }
    // Related packets (ICMP errors) carry the entry of the flow that they speak of.
    if ctinfo == info::UNTRACKED
        || ctinfo == info::RELATED
        || ctinfo == info::RELATED + info::IS_REPLY
    {
        return;
    }
    let towards = if ctinfo >= info::IS_REPLY {
        direction::REPLY
    } else {
        direction::ORIGINAL
    };
    // A new flow in an old one's memory shows itself by its first packet.
    if ctinfo != info::NEW && is_settled(entry, towards) {
        return;
    }
    let packet = Leaving {
        skb,
        entry,
        state: Probe::load::<u64>(entry, offsets!(ct_status)) as u32,
        info: ctinfo,
        towards,
    };
    // A bridged packet that br_netfilter has given a new destination leaves the bridge itself first, before POSTROUTING, where
    // its source may change too (br_nf_pre_routing_finish_bridge, net/bridge/br_netfilter_hooks.c) and the entry is confirmed.
    if packet.state & status::CONFIRMED == 0 {
        return;
    }
    let is_assured = packet.state & status::ASSURED != 0;
    if packet.state & NAT == 0 {
        if is_assured && ctinfo != info::NEW {
            // Whether a flow is translated is decided by its first packet.
            settle(entry, towards);
        } else if ctinfo != info::ESTABLISHED {
            // docker-proxy's flows are told apart by their first packets.
            untranslated(&packet);
        }
        return;
    }
    if ctinfo == info::NEW {
        unsettle(entry);
    }
    translated(&packet);
}

#[inline(always)]
fn word(entry: *const u8) -> u64 {
    Quick::load(entry, offsets!(ct_original).wrapping_add(PORTS))
}

#[inline(always)]
fn is_settled(entry: *const u8, towards: u8) -> bool {
    let (slot, mark) = settled(entry as u64, word(entry), towards);
    // SAFETY: a u64 is read at once.
    DOCKERNET_SETTLED.get(slot).copied() == Some(mark)
}

#[inline(always)]
fn settle(entry: *const u8, towards: u8) {
    let (slot, mark) = settled(entry as u64, word(entry), towards);
    if let Some(place) = DOCKERNET_SETTLED.get_ptr_mut(slot) {
        // SAFETY: a map value; a u64 is written at once.
        unsafe { place.write_volatile(mark) };
    }
}

/// Forgets both directions of the flow that had this memory before, should it have looked the same.
#[inline(always)]
fn unsettle(entry: *const u8) {
    let word = word(entry);
    for towards in [direction::ORIGINAL, direction::REPLY] {
        let (slot, mark) = settled(entry as u64, word, towards);
        if let Some(place) = DOCKERNET_SETTLED.get_ptr_mut(slot) {
            // SAFETY: a map value; a u64 is read and written at once.
            unsafe {
                if place.read_volatile() == mark {
                    place.write_volatile(0);
                }
            }
        }
    }
}

#[inline(always)]
fn tuple(entry: *const u8, offset: u32) -> Words {
    Probe::load(entry, offset)
}

/// What was reported of this flow; nothing if the entry's memory has been another's since.
#[inline(always)]
fn reported(packet: &Leaving, print: u64) -> u8 {
    let Some(known) = DOCKERNET_FLOW.get_ptr_mut(packet.entry as u64) else {
        return 0;
    };
    // SAFETY: a map value; a torn read by another CPU's write can only repeat or delay a report.
    let known = unsafe { &*known };
    // Another flow's by now if the tuples differ, or if a bit that is only ever set is gone.
    let same = known.fingerprint == print && known.status & status::SEEN_REPLY & !packet.state == 0;
    if same { known.reported } else { 0 }
}

#[inline(always)]
fn translated(packet: &Leaving) {
    let original = tuple(packet.entry, offsets!(ct_original));
    let reply = tuple(packet.entry, offsets!(ct_reply));
    let print = fingerprint(&original, &reply);
    let before = reported(packet, print);
    let is_assured = packet.state & status::ASSURED != 0;
    let is_answered = packet.state & status::SEEN_REPLY != 0;
    let (what, after) = if before & packet.towards == 0 {
        // Older than we are, or its first packets found the ring full: once will do.
        let whole = if is_assured && before == 0 {
            direction::ORIGINAL | direction::REPLY
        } else {
            packet.towards
        };
        (what::TRANSLATED, before | whole)
    } else if packet.towards == direction::ORIGINAL && is_answered && before & direction::REPLY == 0
    {
        (what::ANSWERED, before | direction::REPLY)
    } else {
        if is_assured {
            settle(packet.entry, packet.towards);
        }
        return;
    };
    if filter::has_expression()
        && before == 0
        && is_own(packet)
        && refuses(packet.skb, &original, &reply)
    {
        refuse(packet, print);
        return;
    }
    report(packet, &original, &reply, print, what, after, 0);
    if is_assured {
        // A report that found no room is tried again: only then is the flow not known as reported.
        if reported(packet, print) & packet.towards != 0 {
            settle(packet.entry, packet.towards);
        }
    }
}

/// Whether the user's filter expression refuses this flow. What the host itself answers at a port that is published may be
/// docker-proxy's: user space has to know of it, to tell whose connection the proxy carries.
#[inline(always)]
fn refuses(skb: *const u8, original: &Words, reply: &Words) -> bool {
    let (original, reply) = (raw(original), raw(reply));
    if !filter::refuses_flow(&original, &reply) {
        return false;
    }
    let key = PortKey {
        protocol: u16::from(reply.protocol),
        port: u16::from_be_bytes(reply.src_port),
    };
    Probe::load::<u32>(skb, offsets!(skb_iif)) != 0
        // SAFETY: the value is not read, only its presence counts.
        || unsafe { DOCKERNET_PORT.get(key) }.is_none()
}

/// A macvlan's packets leave by its parent with the entry of the namespace that they come from.
#[inline(always)]
fn is_own(packet: &Leaving) -> bool {
    let dev = load_ptr::<Probe>(packet.skb, offsets!(skb_dev));
    let net = load_ptr::<Probe>(dev, offsets!(dev_net));
    offsets!(ct_net) == ABSENT || load_ptr::<Probe>(packet.entry, offsets!(ct_net)) == net
}

/// Nothing is ever sent of a flow: as if all had been.
#[inline(always)]
fn refuse(packet: &Leaving, print: u64) {
    if let Some(totals) = DOCKERNET_NATS.get_ptr_mut(0) {
        // SAFETY: a per-CPU value; tc programs run with preemption by softirqs of the same kind switched off.
        unsafe { (*totals).refused += 1 };
    }
    remember(packet, print, direction::ORIGINAL | direction::REPLY);
}

/// What was reported of a flow, for its next packets.
#[inline(always)]
fn remember(packet: &Leaving, print: u64, reported: u8) {
    let known = Known {
        fingerprint: print,
        status: packet.state,
        reported,
        pad: [0; 3],
    };
    let _full = DOCKERNET_FLOW.insert(packet.entry as u64, known, 0);
}

/// Flows without NAT in which docker-proxy may have a part: those that the host itself opens to a container, and those
/// that it serves on a published port.
#[inline(always)]
fn untranslated(packet: &Leaving) {
    // Forwarded packets came in by a device.
    if Probe::load::<u32>(packet.skb, offsets!(skb_iif)) != 0 {
        return;
    }
    let original = tuple(packet.entry, offsets!(ct_original));
    let raw = raw(&original);
    let mut tgid = 0;
    // SAFETY: the values are not read, only their presence counts.
    let what =
        if packet.info == info::NEW && unsafe { DOCKERNET_ADDR.get(raw.destination()) }.is_some() {
            tgid = current();
            what::TO_CONTAINER
        } else {
            let key = PortKey {
                protocol: u16::from(raw.protocol),
                port: u16::from_be_bytes(raw.dst_port),
            };
            // SAFETY: as above.
            if unsafe { DOCKERNET_PORT.get(key) }.is_none() {
                return;
            }
            what::SERVED
        };
    let reply = tuple(packet.entry, offsets!(ct_reply));
    let print = fingerprint(&original, &reply);
    if reported(packet, print) != 0 {
        return;
    }
    let both = direction::ORIGINAL | direction::REPLY;
    report(packet, &original, &reply, print, what, both, tgid);
}

/// The same where conntrack is not at work (no rule asks for it in IPv6): a TCP server's first answer names its client.
#[inline(always)]
fn untracked(skb: *const u8) {
    /// SYN and ACK, and nothing that would end the connection.
    const FLAGS: u8 = 0x17;
    const SYN_ACK: u8 = 0x12;
    const TCP: u8 = 6;
    if Probe::load::<u32>(skb, offsets!(skb_iif)) != 0 {
        return;
    }
    let head = load_ptr::<Probe>(skb, offsets!(skb_head));
    let transport: u16 = Probe::load(skb, offsets!(skb_transport_header));
    let header: [u16; 7] = Probe::load(head.wrapping_add(transport as usize), 0);
    let port = u16::from_be(header[0]);
    if header[6].to_le_bytes()[1] & FLAGS != SYN_ACK {
        return;
    }
    let key = PortKey {
        protocol: u16::from(TCP),
        port,
    };
    // SAFETY: the value is not read, only its presence counts.
    if unsafe { DOCKERNET_PORT.get(key) }.is_none() {
        return;
    }
    let Some(flow) = Skb::<Probe>::new(skb).flow() else {
        return;
    };
    // What stands there may be a later fragment's data.
    if flow.protocol != TCP || flow.src_port != port {
        return;
    }
    let served = from_packet(&flow);
    let original: Words = words(&served);
    let print = fingerprint(&original, &original);
    let packet = Leaving {
        skb,
        entry: print as *const u8,
        state: 0,
        info: info::ESTABLISHED + info::IS_REPLY,
        towards: direction::REPLY,
    };
    if reported(&packet, print) == 0 {
        let both = direction::ORIGINAL | direction::REPLY;
        send(
            &packet,
            &original,
            &original,
            print,
            what::SERVED,
            both,
            0,
            0,
        );
    }
}

/// The original tuple of a flow whose answer this packet is.
#[inline(always)]
fn from_packet(flow: &FlowKey) -> RawTuple {
    let mut tuple = RawTuple {
        src: flow.dst,
        src_port: flow.dst_port.to_be_bytes(),
        family: AF_INET6,
        dst: flow.src,
        dst_port: flow.src_port.to_be_bytes(),
        protocol: flow.protocol,
        direction: 0,
    };
    if flow.family == 4 {
        tuple.family = AF_INET;
        tuple.src = [0; 16];
        tuple.dst = [0; 16];
        let mut at = 0;
        while at < 4 {
            tuple.src[at] = flow.dst[12 + at];
            tuple.dst[at] = flow.src[12 + at];
            at += 1;
        }
    }
    tuple
}

#[inline(always)]
fn report(
    packet: &Leaving,
    original: &Words,
    reply: &Words,
    print: u64,
    what: u8,
    after: u8,
    tgid: u32,
) {
    if !is_own(packet) {
        return;
    }
    let masquerade = masquerade(packet.entry);
    send(
        packet, original, reply, print, what, after, tgid, masquerade,
    );
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the fields of a record")]
fn send(
    packet: &Leaving,
    original: &Words,
    reply: &Words,
    print: u64,
    what: u8,
    after: u8,
    tgid: u32,
    masquerade: u32,
) {
    let dev = load_ptr::<Probe>(packet.skb, offsets!(skb_dev));
    let net = load_ptr::<Probe>(dev, offsets!(dev_net));
    let Some(totals) = DOCKERNET_NATS.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: a per-CPU value; tc programs run with preemption by softirqs of the same kind switched off.
    let totals = unsafe { &mut *totals };
    totals.found += 1;
    let record = NatRecord {
        // SAFETY: a helper without arguments.
        ktime_ns: unsafe { bpf_ktime_get_ns() },
        conntrack: packet.entry as u64,
        netns: cookie::<Probe>(net),
        original: raw(original),
        reply: raw(reply),
        status: packet.state,
        ifindex: Probe::load(dev, offsets!(dev_ifindex)),
        masquerade,
        tgid,
        direction: packet.towards,
        info: packet.info,
        what,
        pad: [0; 5],
    };
    let Some(mut room) = DOCKERNET_NAT.reserve::<NatRecord>(0) else {
        // Not marked as reported: the flow's next packet tries again.
        totals.ring_full += 1;
        return;
    };
    room.write(record);
    room.submit(0);
    remember(packet, print, after);
}

/// `nf_conn_nat.masq_index` in the entry's NAT extension (include/net/netfilter/nf_conntrack_extend.h: the extension's
/// place in bytes, 0 if there is none).
#[inline(always)]
fn masquerade(entry: *const u8) -> u32 {
    if offsets!(nat_masq_index) == ABSENT || offsets!(ext_nat) == ABSENT {
        return UNKNOWN;
    }
    let ext = load_ptr::<Probe>(entry, offsets!(ct_ext));
    let place: u8 = Probe::load(ext, offsets!(ext_nat));
    if ext.is_null() || place == 0 {
        return 0;
    }
    Probe::load(ext.wrapping_add(place as usize), offsets!(nat_masq_index))
}

/// Thread group (process) in whose context this runs.
#[inline(always)]
fn current() -> u32 {
    if offsets!(task_tgid) == ABSENT {
        return 0;
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() } as *const u8;
    Probe::load(task, offsets!(task_tgid))
}

#[inline(always)]
fn raw(words: &Words) -> RawTuple {
    // SAFETY: both are plain bytes of one size.
    unsafe { core::mem::transmute_copy(words) }
}

#[inline(always)]
fn words(tuple: &RawTuple) -> Words {
    // SAFETY: as above.
    unsafe { core::mem::transmute_copy(tuple) }
}
