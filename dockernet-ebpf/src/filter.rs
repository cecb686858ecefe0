//! The user's filter. Each test compiles to nothing where it is off: `FILTER` is a constant to the verifier.

use core::arch::asm;

use dockernet_common::{
    conntrack::RawTuple,
    filter::{Filter, MAX_DEVICES, MAX_PORTS, MAX_REASONS, test},
    packet::{FlowKey, halves},
};

use crate::{
    expression,
    maps::{FILTER, constant, offsets},
    mem::{Mem, Probe},
    skb::{Place, Skb},
};

macro_rules! filter {
    ($field:ident $($index:tt)*) => {
        constant(&raw const FILTER.$field $($index)*)
    };
}

#[inline(always)]
pub(crate) fn passes<M: Mem>(skb: &Skb<M>, place: &Place, flow: &FlowKey, reason: u32) -> bool {
    let tests = filter!(tests);
    if tests == 0 {
        return true;
    }
    if tests & test::PROTOCOL != 0
        && !undecided(flow)
        && detached(flow.protocol) != u64::from(filter!(protocol))
    {
        return false;
    }
    if tests & test::REASON != 0 && !any_reason(reason) {
        return false;
    }
    if tests & test::DEVICE != 0 && !any_device(skb, place) {
        return false;
    }
    if tests & (test::PORT | test::ADDRESS) != 0 && !an_end_matches(tests, skb, flow) {
        return false;
    }
    tests & test::EXPRESSION == 0 || expression::has_accepted()
}

/// Whether there is an expression: a constant to the verifier.
#[inline(always)]
pub(crate) fn has_expression() -> bool {
    filter!(tests) & test::EXPRESSION != 0
}

/// Whether the expression refuses the flow whose tuples these are.
#[inline(always)]
pub(crate) fn refuses_flow(original: &RawTuple, reply: &RawTuple) -> bool {
    expression::judge_flow(original, reply);
    !expression::has_accepted()
}

/// Runs the expression, if there is one, for [`passes`] to know.
#[inline(always)]
pub(crate) fn prepare<M: Mem>(skb: &Skb<M>) {
    if has_expression() {
        expression::judge(skb);
    }
}

#[inline(always)]
fn an_end_matches<M: Mem>(tests: u32, skb: &Skb<M>, flow: &FlowKey) -> bool {
    if undecided(flow) || is_icmp(flow) {
        return true;
    }
    if ends_match(tests, &flow.src, flow.src_port) || ends_match(tests, &flow.dst, flow.dst_port) {
        return true;
    }
    let conntrack = skb.conntrack();
    !conntrack.is_null()
        && (tuple_matches(tests, conntrack, offsets!(ct_original))
            || tuple_matches(tests, conntrack, offsets!(ct_reply)))
}

/// Not IP, or behind an IPv6 extension header: only the full parser knows.
#[inline(always)]
fn undecided(flow: &FlowKey) -> bool {
    flow.family == 0
        || flow.family == 6
            && matches!(
                detached(flow.protocol),
                0 | 43 | 44 | 51 | 60 | 135 | 139 | 140
            )
}

/// An error speaks of another packet, which may be the one asked for.
#[inline(always)]
fn is_icmp(flow: &FlowKey) -> bool {
    matches!(detached(flow.protocol), 1 | 58)
}

#[inline(always)]
fn any_reason(reason: u32) -> bool {
    let reason = detached(reason);
    let mut index = 0;
    while index < MAX_REASONS {
        if reason == u64::from(filter!(reasons[index])) {
            return true;
        }
        index += 1;
    }
    false
}

#[inline(always)]
fn any_device<M: Mem>(skb: &Skb<M>, place: &Place) -> bool {
    let iif: u32 = M::load(skb.ptr, offsets!(skb_iif));
    let name: [u64; 2] = Probe::load(place.dev, offsets!(dev_name));
    let mut index = 0;
    while index < MAX_DEVICES {
        let wanted = halves(&filter!(devices[index]));
        // What lies behind the terminating zero is not always zero: a renamed device keeps its old tail.
        if same_name(name, wanted) || iif != 0 && iif == filter!(ingress[index]) {
            return true;
        }
        index += 1;
    }
    false
}

/// Compares up to and including the terminating zero of `wanted`.
#[inline(always)]
fn same_name(name: [u64; 2], wanted: [u64; 2]) -> bool {
    let first = name_mask(wanted[0]);
    if (name[0] ^ wanted[0]) & first != 0 {
        return false;
    }
    first != u64::MAX || (name[1] ^ wanted[1]) & name_mask(wanted[1]) == 0
}

/// All bytes up to and including the first zero byte.
#[inline(always)]
fn name_mask(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let zeroes = word.to_le().wrapping_sub(ONES) & !word.to_le() & (ONES << 7);
    // From the lowest marker down: everything below it and itself.
    let mask = zeroes ^ zeroes.wrapping_sub(1);
    mask.to_le()
}

#[inline(always)]
fn tuple_matches(tests: u32, conntrack: *const u8, offset: u32) -> bool {
    let tuple: RawTuple = Probe::load(conntrack, offset);
    let source_port = u16::from_be_bytes(tuple.src_port);
    let destination_port = u16::from_be_bytes(tuple.dst_port);
    ends_match(tests, &tuple.source(), source_port)
        || ends_match(tests, &tuple.destination(), destination_port)
}

/// One end has the port and the address, as far as they are asked for.
#[inline(always)]
fn ends_match(tests: u32, address: &[u8; 16], port: u16) -> bool {
    if tests & test::PORT != 0 && !any_port(port) {
        return false;
    }
    if tests & test::ADDRESS == 0 {
        return true;
    }
    let wanted = halves(&filter!(address));
    let mask = halves(&filter!(mask));
    let address = halves(address);
    (address[0] ^ wanted[0]) & mask[0] == 0 && (address[1] ^ wanted[1]) & mask[1] == 0
}

/// As many rounds as there are ports: how many is a constant to the verifier, and the rest is no code to it.
#[inline(always)]
fn any_port(port: u16) -> bool {
    let port = detached(port);
    let mut index = 0;
    while index < MAX_PORTS {
        if index >= usize::from(filter!(port_count)) {
            return false;
        }
        if port == u64::from(filter!(ports[index])) {
            return true;
        }
        index += 1;
    }
    false
}

/// A copy for a comparison, of which the verifier does not know that it is one. Behind a branch it would know what the value itself is,
/// and check all that follows once for each such knowledge: too much for it, up to 6.1 at least, which take every value for important
/// in programs that have functions (kernel/bpf/verifier.c, `mark_all_scalars_precise`; the expression is one).
#[inline(always)]
fn detached(value: impl Into<u64>) -> u64 {
    let mut copy: u64 = value.into();
    // SAFETY: adds no bit to a register. Arithmetic ends the verifier's memory of where a value comes from (there,
    // `adjust_reg_min_max_vals`), but for additions, which it follows since 6.11 (`BPF_ADD_CONST`).
    unsafe { asm!("{0} |= 0", inout(reg) copy, options(pure, nomem, nostack)) };
    copy
}

const _: () = assert!(size_of::<Filter>().is_multiple_of(8));
