//! The user's filter. Each test compiles to nothing where it is off: `FILTER` is a constant to the verifier.

use dockernet_common::{
    conntrack::{AF_INET, RawTuple},
    filter::{Filter, MAX_DEVICES, MAX_PORTS, MAX_REASONS, test},
    packet::FlowKey,
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
        && u16::from(flow.protocol) != filter!(protocol)
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
        || flow.family == 6 && matches!(flow.protocol, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140)
}

/// An error speaks of another packet, which may be the one asked for.
#[inline(always)]
fn is_icmp(flow: &FlowKey) -> bool {
    matches!(flow.protocol, 1 | 58)
}

#[inline(always)]
fn any_reason(reason: u32) -> bool {
    let mut index = 0;
    while index < MAX_REASONS {
        if reason == filter!(reasons[index]) {
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
        let wanted: [u64; 2] = words(filter!(devices[index]));
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
fn words(name: [u8; 16]) -> [u64; 2] {
    // SAFETY: same size, any bytes are a value.
    unsafe { core::mem::transmute(name) }
}

#[inline(always)]
fn tuple_matches(tests: u32, conntrack: *const u8, offset: u32) -> bool {
    let tuple: RawTuple = Probe::load(conntrack, offset);
    let v4 = tuple.family == AF_INET;
    ends_match(
        tests,
        &mapped(v4, tuple.src),
        u16::from_be_bytes(tuple.src_port),
    ) || ends_match(
        tests,
        &mapped(v4, tuple.dst),
        u16::from_be_bytes(tuple.dst_port),
    )
}

/// An address of a tuple as keys hold it.
#[inline(always)]
pub(crate) fn mapped(v4: bool, address: [u8; 16]) -> [u8; 16] {
    if !v4 {
        return address;
    }
    let [a, b, c, d, ..] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
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
    let wanted = words(filter!(address));
    let mask = words(filter!(mask));
    let address = words(*address);
    (address[0] ^ wanted[0]) & mask[0] == 0 && (address[1] ^ wanted[1]) & mask[1] == 0
}

/// By arithmetic: a comparison each would be a branch each, behind which the verifier knows what the port is, and checks all that follows
/// once for each of them, which is too much for it (5.10).
///
/// A product of differences is zero if one of them is, and four of 16 bits fit. How many there are is a constant to the verifier, and the
/// rest is no code.
#[inline(always)]
fn any_port(port: u16) -> bool {
    const HALF: usize = MAX_PORTS / 2;
    let mut products = [1_u64; 2];
    let mut index = 0;
    while index < MAX_PORTS {
        if index < usize::from(filter!(port_count)) {
            products[index / HALF] *= u64::from(port ^ filter!(ports[index]));
        }
        index += 1;
    }
    folded(products[0]) * folded(products[1]) == 0
}

/// 16 bits that are zero if all are.
#[inline(always)]
fn folded(value: u64) -> u64 {
    let half = value >> 32 | value & 0xffff_ffff;
    half >> 16 | half & 0xffff
}

const _: () = assert!(MAX_PORTS == 8, "two products of four factors");
const _: () = assert!(size_of::<Filter>().is_multiple_of(8));
