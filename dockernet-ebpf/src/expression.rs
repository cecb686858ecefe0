//! The user's filter expression, run on the packet's start as an Ethernet frame: as the packet is, and with the addresses and
//! ports that it had before NAT or has after.

use core::{arch::asm, mem::offset_of};

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use dockernet_common::{
    conntrack::{RawTuple, info},
    count::nat,
    frame::{COPIED_BYTES, FRAME_BYTES, Frame, STUB_SLOTS},
    offsets::ABSENT,
    packet::{FlowKey, has_ports},
    record::UNSET,
};

use crate::{
    maps::{DOCKERNET_FRAME, offsets},
    mem::{Mem, Probe},
    skb::Skb,
};

/// Both addresses and the EtherType.
const ETHERNET: u32 = 14;
/// A VLAN tag.
const TAG: u32 = 4;

/// Whether the expression accepts the packet in any of its forms.
#[inline(always)]
pub(crate) fn matches<M: Mem>(skb: &Skb<M>, flow: &FlowKey) -> bool {
    let Some(frame) = DOCKERNET_FRAME.get_ptr_mut(0) else {
        return false;
    };
    let Some(picture) = Picture::of(skb, frame) else {
        return false;
    };
    if picture.is_accepted() {
        return true;
    }
    let ctinfo = skb.conntrack_info();
    // An ICMP error carries the entry of the flow that it speaks of.
    let is_related = ctinfo == info::RELATED || ctinfo == info::RELATED + info::IS_REPLY;
    if is_related || skb.nat() & (nat::SNAT | nat::DNAT) == 0 {
        return false;
    }
    let (same, opposite) = if ctinfo >= info::IS_REPLY {
        (offsets!(ct_reply), offsets!(ct_original))
    } else {
        (offsets!(ct_original), offsets!(ct_reply))
    };
    let entry = skb.conntrack();
    picture.wear(entry, same, flow, false);
    if picture.is_accepted() {
        return true;
    }
    picture.wear(entry, opposite, flow, true);
    picture.is_accepted()
}

/// A packet's start, in this CPU's [`Frame`].
struct Picture {
    frame: *mut u8,
    /// Bytes that are there.
    captured: u32,
    /// Bytes of the whole frame.
    length: u32,
    /// Where the network header is.
    network: u32,
}

impl Picture {
    /// Copies what lies in the linear area. Without an Ethernet header (what a host sends has none yet, and tunnels have none at
    /// all) one is made of the EtherType; a tag that the device has taken out is put back, as libpcap does.
    #[inline(always)]
    fn of<M: Mem>(skb: &Skb<M>, frame: *mut Frame) -> Option<Self> {
        let head: u64 = M::load(skb.ptr, offsets!(skb_head));
        let data: u64 = M::load(skb.ptr, offsets!(skb_data));
        let mac: u16 = M::load(skb.ptr, offsets!(skb_mac_header));
        let network: u16 = M::load(skb.ptr, offsets!(skb_network_header));
        let head = head as *const u8;
        // Ethernet's, with a tag or two; other links' headers are other things.
        let link = u32::from(network.wrapping_sub(mac));
        let has_link = mac != UNSET && (link == 14 || link == 18 || link == 22);
        let bytes: *mut u8 = frame.cast();
        let (at, from) = if tagged(skb) {
            addresses(bytes, head, mac, has_link);
            let tag: [u16; 2] = [
                M::load(skb.ptr, offsets!(skb_vlan_proto)),
                M::load::<u16>(skb.ptr, offsets!(skb_vlan_tci)).to_be(),
            ];
            let ethertype: u16 = M::load(skb.ptr, offsets!(skb_protocol));
            // SAFETY: in bounds of the frame, which is aligned to 4 bytes.
            unsafe {
                bytes.add(12).cast::<[u16; 2]>().write(tag);
                bytes.add(16).cast::<u16>().write(ethertype);
            }
            (ETHERNET + TAG, network)
        } else if has_link {
            (0, mac)
        } else {
            addresses(bytes, head, mac, false);
            let ethertype: u16 = M::load(skb.ptr, offsets!(skb_protocol));
            // SAFETY: as above.
            unsafe { bytes.add(12).cast::<u16>().write(ethertype) };
            (ETHERNET, network)
        };
        let tail: u32 = M::load(skb.ptr, offsets!(skb_tail));
        let there = tail.wrapping_sub(u32::from(from));
        // More than a linear area ever holds: the tail lies before the start.
        let there = if there > 1 << 20 { 0 } else { there };
        let copied = at_most(there, COPIED_BYTES);
        let into = place(bytes, at, FRAME_BYTES as u32 - COPIED_BYTES)?;
        // SAFETY: at most `COPIED_BYTES` to a place that has them before the frame's end.
        unsafe {
            bpf_probe_read_kernel(into.cast(), copied, head.wrapping_add(from as usize).cast())
        };
        let begin = u32::from(from).wrapping_sub(data.wrapping_sub(head as u64) as u32);
        Some(Self {
            frame: bytes,
            captured: copied + at,
            length: skb.len().wrapping_sub(begin).wrapping_add(at),
            network: if at == 0 { link } else { at },
        })
    }

    #[inline(always)]
    fn is_accepted(&self) -> bool {
        accepts(self.frame, self.captured, self.length) != 0
    }

    /// Puts a tuple's addresses and ports in place of the packet's; `turned`: of the other direction's tuple.
    #[inline(always)]
    fn wear(&self, entry: *const u8, tuple: u32, flow: &FlowKey, turned: bool) {
        if tuple == ABSENT {
            return;
        }
        let tuple = entry.wrapping_add(tuple as usize);
        let (src, dst) = (
            tuple.wrapping_add(offset_of!(RawTuple, src)),
            tuple.wrapping_add(offset_of!(RawTuple, dst)),
        );
        let (src_port, dst_port) = (
            tuple.wrapping_add(offset_of!(RawTuple, src_port)),
            tuple.wrapping_add(offset_of!(RawTuple, dst_port)),
        );
        let (src, dst, src_port, dst_port) = if turned {
            (dst, src, dst_port, src_port)
        } else {
            (src, dst, src_port, dst_port)
        };
        let ports = if flow.family == 4 {
            self.put::<4>(12, src);
            self.put::<4>(16, dst);
            u32::from(self.first_byte() & 0x0f) << 2
        } else {
            self.put::<16>(8, src);
            self.put::<16>(24, dst);
            40
        };
        // Fragments but the first have none; `flow` says so.
        if has_ports(flow.protocol) && (flow.src_port != 0 || flow.dst_port != 0) {
            self.put::<2>(ports, src_port);
            self.put::<2>(ports + 2, dst_port);
        }
    }

    /// Copies `N` bytes to the network header's `offset`.
    #[inline(always)]
    fn put<const N: u32>(&self, offset: u32, from: *const u8) {
        if let Some(into) = place(self.frame, self.network + offset, MOST) {
            // SAFETY: `N` is at most 16, so in bounds.
            unsafe { bpf_probe_read_kernel(into.cast(), N, from.cast()) };
        }
    }

    /// The network header's first byte.
    #[inline(always)]
    fn first_byte(&self) -> u8 {
        // SAFETY: in bounds, as the check has it.
        place(self.frame, self.network, MOST).map_or(0, |byte| unsafe { byte.read() })
    }
}

/// Where a header's field begins at most: 16 bytes fit behind it.
const MOST: u32 = FRAME_BYTES as u32 - 16;

/// Whether a VLAN tag lies beside the packet instead of in it.
///
/// Until 6.0 a bit says so and `vlan_proto` may be a leftover; from 6.1 on `vlan_proto` itself does (include/linux/if_vlan.h,
/// `skb_vlan_tag_present`).
#[inline(always)]
fn tagged<M: Mem>(skb: &Skb<M>) -> bool {
    if offsets!(skb_vlan_present) != ABSENT {
        let byte: u8 = M::load(skb.ptr, offsets!(skb_vlan_present));
        return byte >> (offsets!(skb_vlan_present_bit) & 7) & 1 == 1;
    }
    M::load::<u16>(skb.ptr, offsets!(skb_vlan_proto)) != 0
}

/// The header's first 12 bytes: the packet's own, or zeroes.
#[inline(always)]
fn addresses(bytes: *mut u8, head: *const u8, mac: u16, has_link: bool) {
    let mut both = [0_u32; 3];
    if has_link {
        both = Probe::load(head.wrapping_add(mac as usize), 0);
    }
    // SAFETY: in bounds of the frame, which is aligned to 4 bytes.
    unsafe { bytes.cast::<[u32; 3]>().write(both) };
}

/// `bytes + at`, if `at` is at most `most`. The check is made on the very register that is then added: old verifiers forget
/// what they knew of a value that was on the stack in between.
#[inline(always)]
fn place(bytes: *mut u8, at: u32, most: u32) -> Option<*mut u8> {
    let at = opaque(at);
    // SAFETY: callers have a frame at `bytes` and `most` inside it.
    (at <= most as u64).then(|| unsafe { bytes.add(at as usize) })
}

#[inline(always)]
fn at_most(value: u32, most: u32) -> u32 {
    if value > most { most } else { value }
}

/// A value of which the compiler knows nothing any more, so that the checks that follow stay.
#[inline(always)]
fn opaque(value: u32) -> u64 {
    let mut value = u64::from(value);
    // SAFETY: moves a register to itself. (With no instruction at all two lines of the source would be at one place, which the
    // verifier refuses.)
    unsafe { asm!("{0} = {0}", inout(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// A stub: user space writes the expression's code over its body before the object is loaded (`bpf/inject.rs` there). Arguments in
/// r1 to r3, the verdict in r0.
///
/// While there is no expression, nothing calls this: the test before is a constant to the verifier.
#[inline(never)]
extern "C" fn accepts(frame: *const u8, captured: u32, length: u32) -> u64 {
    let verdict: u64;
    // SAFETY: does nothing; what takes its place reads the frame in bounds (the verifier sees to that), writes its cells, and uses
    // no other registers.
    unsafe {
        asm!(
            ".rept {slots}",
            "goto +0",
            ".endr",
            slots = const STUB_SLOTS,
            inout("r1") frame => _,
            inout("r2") u64::from(captured) => _,
            inout("r3") u64::from(length) => _,
            out("r4") _,
            out("r5") _,
            lateout("r0") verdict,
        );
    }
    verdict
}
