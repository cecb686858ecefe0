//! Every dropped packet is counted here, exactly; some of them are sampled in detail.

use core::{
    ffi::c_void,
    sync::atomic::{Ordering, compiler_fence},
};

use dockernet_common::{
    control::Control,
    count::{CountKey, CountRow, PortKey, Totals},
    offsets::ABSENT,
    packet::FlowKey,
};

use crate::{
    filter,
    maps::{
        DOCKERNET_ADDR, DOCKERNET_CTRL, DOCKERNET_EVEN, DOCKERNET_FAR, DOCKERNET_LAST,
        DOCKERNET_ODD, DOCKERNET_PORT, DOCKERNET_TOTAL, offsets,
    },
    mem::Mem,
    sample,
    skb::Skb,
};

/// `BPF_NOEXIST`
const NOEXIST: u64 = 1;

/// What the tracepoint was given.
pub(crate) struct Freed {
    pub(crate) ctx: *mut c_void,
    pub(crate) skb: *const u8,
    pub(crate) location: u64,
    pub(crate) reason: u32,
    pub(crate) rx_sk: *const u8,
}

/// What became of a packet, as far as debugging cares.
pub(crate) enum Outcome {
    /// Counted, sampled or not; or no packet at all.
    Counted,
    /// Counted, but its sample found no room.
    RingFull,
    /// Counted in the totals alone.
    MapFull,
}

#[inline(always)]
pub(crate) fn drop<M: Mem>(freed: Freed) -> Outcome {
    let mut outcome = Outcome::Counted;
    let Some(totals) = DOCKERNET_TOTAL.get_ptr_mut(0) else {
        return outcome;
    };
    // SAFETY: a per-CPU value. Programs run with migration disabled and do not nest (the recursion guard), so
    // nothing else touches it.
    let totals = unsafe { &mut *totals };
    let skb = Skb::<M>::new(freed.skb);
    // First, while the verifier has one way to look at.
    filter::prepare(&skb);
    let Some(place) = skb.place(freed.rx_sk) else {
        totals.non_packets += 1;
        return outcome;
    };
    totals.observed += 1;
    let flow = skb.flow().unwrap_or_default();
    if !filter::passes(&skb, &place, &flow, freed.reason) {
        totals.filtered += 1;
        return outcome;
    }
    let Some((source, destination)) = ends(&flow, place.cookie) else {
        totals.out_of_scope += 1;
        return outcome;
    };
    let netfilter = if offsets!(netfilter_drop) == ABSENT {
        in_hook_slow(freed.location)
    } else {
        freed.reason == offsets!(netfilter_drop)
    };
    let key = CountKey {
        location: freed.location,
        netns: place.cookie,
        reason: freed.reason,
        ifindex: place.ifindex,
        source,
        destination,
        hook: if netfilter { skb.hook(&place) } else { 0 },
        nat: skb.nat(),
        protocol: flow.protocol,
        pad: [0; 5],
    };
    let Some(row) = row(&key) else {
        totals.other += 1;
        return Outcome::MapFull;
    };
    // SAFETY: a per-CPU value, as above.
    let row = unsafe { &mut *row };
    if wanted(row, totals) {
        if sample::emit(&skb, &place, &key, freed.ctx) {
            // Before `packets`: user space takes `packets - sampled` for what the ring did not carry, and a reader
            // in between must not take this packet for one of those.
            // SAFETY: an in-bounds field of a valid row.
            unsafe { (&raw mut row.sampled).write_volatile(row.sampled + 1) };
            row.tokens -= 1;
            totals.tokens = totals.tokens.saturating_sub(1);
        } else {
            totals.ring_full += 1;
            outcome = Outcome::RingFull;
        }
    }
    row.bytes += u64::from(skb.len());
    // SAFETY: an in-bounds field of a valid row.
    unsafe { (&raw mut row.packets).write_volatile(row.packets + 1) };
    outcome
}

/// Kernels without the reason (before 5.18) free what a hook drops in `nf_hook_slow`.
#[inline(always)]
fn in_hook_slow(location: u64) -> bool {
    DOCKERNET_CTRL.get(0).is_some_and(|control| {
        location > control.nf_hook_slow && location < control.nf_hook_slow_end
    })
}

/// Whether user space has declared the namespace out of scope.
#[inline(always)]
fn is_far(control: &Control, cookie: u64) -> bool {
    // SAFETY: a field of a valid value, read where it stands: behind `names`, which tells whether this may be remembered. Of the map's value
    // only the presence counts.
    unsafe { (&raw const control.far).read_volatile() > 0 && DOCKERNET_FAR.get(cookie).is_some() }
}

/// Token buckets per key and per CPU, refilled when user space starts a new epoch: no clock on this path.
#[inline(always)]
fn wanted(row: &mut CountRow, totals: &mut Totals) -> bool {
    let Some(control) = DOCKERNET_CTRL.get(0) else {
        return false;
    };
    if row.epoch != control.epoch {
        row.epoch = control.epoch;
        row.tokens = control.key_burst;
    }
    if totals.epoch != control.epoch {
        totals.epoch = control.epoch;
        totals.tokens = control.cpu_burst;
    }
    row.tokens > 0 && (row.sampled == 0 || totals.tokens > 0)
}

/// The key's row on this CPU in the current generation's map; `None` if that is full.
#[inline(always)]
fn row(key: &CountKey) -> Option<*mut CountRow> {
    let odd = DOCKERNET_CTRL.get(0)?.generation & 1 == 1;
    let map = if odd { &DOCKERNET_ODD } else { &DOCKERNET_EVEN };
    if let Some(row) = map.get_ptr_mut(key) {
        return Some(row);
    }
    const FRESH: CountRow = CountRow {
        packets: 0,
        bytes: 0,
        sampled: 0,
        epoch: 0,
        tokens: 0,
    };
    // Another CPU may have been first: either way the row is there now, unless the map is full.
    let _exists_or_full = map.insert(key, FRESH, NOEXIST);
    map.get_ptr_mut(key)
}

/// Endpoint ids of source and destination; none in a namespace that is out of scope. This CPU's last flow is remembered.
#[inline(always)]
fn ends(flow: &FlowKey, netns: u64) -> Option<(u32, u32)> {
    let (Some(control), Some(last)) = (DOCKERNET_CTRL.get(0), DOCKERNET_LAST.get_ptr_mut(0)) else {
        return Some((0, 0));
    };
    // SAFETY: in bounds of a per-CPU value. Kernels without the recursion guard may run this again in between; then it is busy.
    unsafe {
        if (&raw const (*last).busy).read_volatile() != 0 {
            return (!is_far(control, netns)).then(|| (endpoint(&flow.src), destination(flow)));
        }
        (&raw mut (*last).busy).write_volatile(1);
        compiler_fence(Ordering::SeqCst);
        // Before the look-ups: what changes meanwhile makes them void.
        let names = (&raw const control.names).read_volatile();
        let is_void = (*last).names != names;
        let mut found = None;
        if !is_void && (*last).near == netns || !is_far(control, netns) {
            (*last).near = netns;
            let words = flow.words();
            if is_void || !same(&(*last).flow, &words) {
                (*last).source = endpoint(&flow.src);
                (*last).destination = destination(flow);
                (*last).flow = words;
                (*last).names = names;
            }
            found = Some(((*last).source, (*last).destination));
        }
        compiler_fence(Ordering::SeqCst);
        (&raw mut (*last).busy).write_volatile(0);
        found
    }
}

#[inline(always)]
fn same(left: &[u64; 5], right: &[u64; 5]) -> bool {
    // A slice's `==` would call memcmp.
    left[0] == right[0]
        && left[1] == right[1]
        && left[2] == right[2]
        && left[3] == right[3]
        && left[4] == right[4]
}

#[inline(always)]
fn endpoint(address: &[u8; 16]) -> u32 {
    // SAFETY: user space replaces values whole; a u32 is read at once.
    unsafe { DOCKERNET_ADDR.get(address) }.copied().unwrap_or(0)
}

/// Before DNAT the packet still carries the published port.
#[inline(always)]
fn destination(flow: &FlowKey) -> u32 {
    let id = endpoint(&flow.dst);
    if id != 0 || flow.dst_port == 0 {
        return id;
    }
    let key = PortKey {
        protocol: u16::from(flow.protocol),
        port: flow.dst_port,
    };
    // SAFETY: as above.
    unsafe { DOCKERNET_PORT.get(key) }.copied().unwrap_or(0)
}
