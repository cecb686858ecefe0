//! NAT transitions: each conntrack entry's, once per direction, and again when it changes.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use dockernet_common::{
    conntrack::{RawTuple, info, status},
    nat::{Flow, NatRecord, direction},
};

use crate::{
    maps::{DOCKERNET_FLOW, DOCKERNET_NAT, DOCKERNET_NATS, offsets},
    mem::{Mem, Probe},
    skb::{cookie, load_ptr},
};

/// Low bits of `_nfct` that hold `enum ip_conntrack_info`.
const NFCT_INFO: u64 = 7;

/// A packet is about to leave a device. Three reads for most of them: the map is touched only while a direction may be
/// unreported, which ends when conntrack is assured of the flow (TCP: the third packet; UDP: answers for two seconds).
#[inline(always)]
pub(crate) fn leaving(skb: *const u8) {
    let nfct: u64 = Probe::load(skb, offsets!(skb_nfct));
    let entry = (nfct & !NFCT_INFO) as *const u8;
    let ctinfo = (nfct & NFCT_INFO) as u8;
    // Related packets (ICMP errors) carry the entry of the flow that they speak of.
    if entry.is_null()
        || ctinfo == info::UNTRACKED
        || ctinfo == info::RELATED
        || ctinfo == info::RELATED + info::IS_REPLY
    {
        return;
    }
    let state = Probe::load::<u64>(entry, offsets!(ct_status)) as u32;
    if state & (status::SRC_NAT | status::DST_NAT) == 0
        || state & status::ASSURED != 0 && ctinfo != info::NEW
    {
        return;
    }
    let towards = if ctinfo >= info::IS_REPLY {
        direction::REPLY
    } else {
        direction::ORIGINAL
    };
    report(skb, entry, state, ctinfo, towards);
}

#[inline(always)]
fn report(skb: *const u8, entry: *const u8, state: u32, ctinfo: u8, towards: u8) {
    let original: RawTuple = Probe::load(entry, offsets!(ct_original));
    let reply: RawTuple = Probe::load(entry, offsets!(ct_reply));
    let key = entry as u64;
    let mut reported = 0;
    if let Some(known) = DOCKERNET_FLOW.get_ptr_mut(key) {
        // SAFETY: a map value; a torn read by another CPU's write can only repeat or delay a report.
        let known = unsafe { &*known };
        // The entry's memory is another flow's by now if the tuples differ, or if a bit that is only ever set is gone.
        let same = known.original == original
            && known.reply == reply
            && known.status & status::SEEN_REPLY & !state == 0;
        if same {
            reported = known.reported;
        }
    }
    if reported & towards != 0 {
        return;
    }
    let Some(totals) = DOCKERNET_NATS.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: a per-CPU value; tc programs run with preemption by softirqs of the same kind switched off.
    let totals = unsafe { &mut *totals };
    totals.found += 1;
    let dev = load_ptr::<Probe>(skb, offsets!(skb_dev));
    let flow = Flow {
        original,
        reply,
        status: state,
        reported: reported | towards,
        pad: [0; 3],
    };
    let record = NatRecord {
        // SAFETY: a helper without arguments.
        ktime_ns: unsafe { bpf_ktime_get_ns() },
        conntrack: key,
        netns: cookie::<Probe>(load_ptr::<Probe>(dev, offsets!(dev_net))),
        flow,
        ifindex: Probe::load(dev, offsets!(dev_ifindex)),
        direction: towards,
        info: ctinfo,
        pad: [0; 2],
    };
    let Some(mut room) = DOCKERNET_NAT.reserve::<NatRecord>(0) else {
        // Not marked as reported: the flow's next packet tries again.
        totals.ring_full += 1;
        return;
    };
    room.write(record);
    room.submit(0);
    let _full = DOCKERNET_FLOW.insert(key, flow, 0);
}
