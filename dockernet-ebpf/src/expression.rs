//! The user's filter expression, run on the packet's start as an Ethernet frame: as the packet is, and with the addresses and
//! ports that it had before NAT or has after.

use core::{arch::asm, mem::offset_of};

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use dockernet_common::{
    conntrack::{AF_INET, RawTuple, info},
    count::nat,
    frame::{COPIED_BYTES, FRAME_BYTES, Frame, STUB_SLOTS},
    offsets::ABSENT,
    packet::has_ports,
    record::UNSET,
};

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    maps::{DOCKERNET_FRAME, offsets},
    mem::Mem,
    skb::Skb,
};

/// Both addresses and the EtherType.
const ETHERNET: u32 = 14;
/// A VLAN tag.
const TAG: u32 = 4;

/// Reads or writes a field of this CPU's frame so that the compiler does not remember it.
macro_rules! field {
    ($picture:ident.$($field:tt)+) => { field!(@ $picture [] $($field)+) };
    (@ $picture:ident [$($path:tt)+] = $value:expr) => {{
        let value = $value;
        // SAFETY: an in-bounds field of a per-CPU value; programs run with migration disabled and do not nest.
        unsafe { (&raw mut (*$picture.0).$($path)+).write_volatile(value) }
    }};
    (@ $picture:ident [$($path:tt)+]) => {
        // SAFETY: as above.
        unsafe { (&raw const (*$picture.0).$($path)+).read_volatile() }
    };
    (@ $picture:ident [$($path:tt)*] $next:tt $($rest:tt)*) => {
        field!(@ $picture [$($path)* $next] $($rest)*)
    };
}
/// Finds out whether the expression accepts the packet in any of its forms, for [`has_accepted`] to tell.
///
/// Called before anything else is known of the packet, for the verifier's sake (see [`Frame`]); and what was found out is left in the
/// frame, as there is no room for it on the stack: the drop program's has the 480 bytes that a program with calls may have before 6.7.
#[inline(always)]
pub(crate) fn judge<M: Mem>(skb: &Skb<M>) {
    let Some(frame) = DOCKERNET_FRAME.get_ptr_mut(0) else {
        return;
    };
    let picture = Picture(frame);
    picture.take(skb);
    let mut accepted = picture.is_accepted();
    if !accepted && picture.is_translated(skb) {
        let entry = skb.conntrack();
        picture.wear(entry, 0);
        accepted = picture.is_accepted();
        if !accepted {
            picture.wear(entry, 1);
            accepted = picture.is_accepted();
        }
    }
    field!(picture.verdict = u32::from(accepted));
}

/// Finds out whether the expression accepts a flow's opening packet, before or after NAT, for [`has_accepted`] to tell. There may be
/// no such packet at hand: it is made up of the tuples, byte for byte as user space does it (`pcap_filter/synthetic.rs` there).
#[inline(always)]
pub(crate) fn judge_flow(original: &RawTuple, reply: &RawTuple) {
    let Some(frame) = DOCKERNET_FRAME.get_ptr_mut(0) else {
        return;
    };
    let picture = Picture(frame);
    picture.make_up(original, false);
    let mut accepted = picture.is_accepted();
    if !accepted {
        picture.make_up(reply, true);
        accepted = picture.is_accepted();
    }
    field!(picture.verdict = u32::from(accepted));
}

/// What [`judge`] or [`judge_flow`] has found out.
#[inline(always)]
pub(crate) fn has_accepted() -> bool {
    DOCKERNET_FRAME.get_ptr_mut(0).is_some_and(|frame| {
        let picture = Picture(frame);
        field!(picture.verdict) != 0
    })
}

/// A packet's start, in this CPU's [`Frame`].
struct Picture(*mut Frame);

impl Picture {
    /// Copies what lies in the linear area. Without an Ethernet header (what a host sends has none yet, and tunnels have none at
    /// all) one is made of the EtherType; a tag that the device has taken out is put back, as libpcap does.
    #[inline(always)]
    fn take<M: Mem>(&self, skb: &Skb<M>) {
        let head: u64 = M::load(skb.ptr, offsets!(skb_head));
        let mac: u16 = M::load(skb.ptr, offsets!(skb_mac_header));
        let network: u16 = M::load(skb.ptr, offsets!(skb_network_header));
        let head = head as *const u8;
        // Ethernet's, with a tag or two; other links' headers are other things.
        let link = u32::from(network.wrapping_sub(mac));
        let has_link = mac != UNSET && (link == 14 || link == 18 || link == 22);
        let bytes: *mut u8 = self.0.cast();
        if skb.is_tagged() {
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
            self.copy::<M, { ETHERNET + TAG }>(skb, head, network);
            field!(self.network = ETHERNET + TAG);
        } else if has_link {
            self.copy::<M, 0>(skb, head, mac);
            field!(self.network = link);
        } else {
            addresses(bytes, head, mac, false);
            let ethertype: u16 = M::load(skb.ptr, offsets!(skb_protocol));
            // SAFETY: as above.
            unsafe { bytes.add(12).cast::<u16>().write(ethertype) };
            self.copy::<M, ETHERNET>(skb, head, network);
            field!(self.network = ETHERNET);
        }
    }

    /// Copies the packet from a header on (`from` bytes behind `head`) to the frame's byte `AT`.
    #[inline(always)]
    fn copy<M: Mem, const AT: u32>(&self, skb: &Skb<M>, head: *const u8, from: u16) {
        let tail: u32 = M::load(skb.ptr, offsets!(skb_tail));
        let data: u64 = M::load(skb.ptr, offsets!(skb_data));
        let mut there = tail.wrapping_sub(u32::from(from));
        // More than a linear area ever holds: the tail lies before the start.
        if there > 1 << 20 {
            there = 0;
        }
        if there > COPIED_BYTES {
            there = COPIED_BYTES;
        }
        // SAFETY: at most `COPIED_BYTES`, to a place that has them before the frame's end.
        unsafe {
            bpf_probe_read_kernel(
                self.0.cast::<u8>().add(AT as usize).cast(),
                there,
                head.wrapping_add(from as usize).cast(),
            );
        }
        field!(self.captured = there + AT);
        // `skb->len` counts from `data`, wherever that is now.
        let begin = u32::from(from).wrapping_sub(data.wrapping_sub(head as u64) as u32);
        field!(self.length = skb.len().wrapping_sub(begin).wrapping_add(AT));
    }

    /// A flow's opening packet: no link-layer addresses, a SYN of TCP's, an echo request of ICMP's, no payload. `turned`: the tuple
    /// is an answer's.
    #[inline(always)]
    fn make_up(&self, tuple: &RawTuple, turned: bool) {
        const TRANSPORT: u32 = 20;
        const V4: u32 = Ipv4Hdr::LEN as u32;
        const V6: u32 = Ipv6Hdr::LEN as u32;
        let bytes: *mut u8 = self.0.cast();
        // SAFETY: all places are constants inside the frame, which is aligned to 4 bytes.
        let ip = unsafe {
            let mut word = 0;
            while word < ((ETHERNET + V6 + TRANSPORT) as usize).div_ceil(4) {
                bytes.cast::<u32>().add(word).write_volatile(0);
                word += 1;
            }
            let network = bytes.add(ETHERNET as usize);
            let (src, dst, src_port, dst_port) = if turned {
                (&tuple.dst, &tuple.src, tuple.dst_port, tuple.src_port)
            } else {
                (&tuple.src, &tuple.dst, tuple.src_port, tuple.dst_port)
            };
            if tuple.family == AF_INET {
                put(bytes, 12, &[0x08, 0x00]);
                put(network, 0, &[0x45, 0, 0, (V4 + TRANSPORT) as u8]);
                put(network, 8, &[64, tuple.protocol]);
                put(network, 12, &[src[0], src[1], src[2], src[3]]);
                put(network, 16, &[dst[0], dst[1], dst[2], dst[3]]);
                transport(network.add(V4 as usize), tuple.protocol, src_port, dst_port);
                V4
            } else {
                put(bytes, 12, &[0x86, 0xdd]);
                put(network, 0, &[0x60, 0, 0, 0, 0, TRANSPORT as u8]);
                put(network, 6, &[tuple.protocol, 64]);
                put(network, 8, src);
                put(network, 24, dst);
                transport(network.add(V6 as usize), tuple.protocol, src_port, dst_port);
                V6
            }
        };
        field!(self.network = ETHERNET);
        field!(self.captured = ETHERNET + ip + TRANSPORT);
        field!(self.length = ETHERNET + ip + TRANSPORT);
    }

    #[inline(always)]
    fn is_accepted(&self) -> bool {
        accepts(self.0.cast(), field!(self.captured), field!(self.length)) != 0
    }

    /// Whether conntrack gives the packet other addresses or ports than it has, or had; if so, where they are.
    #[inline(always)]
    fn is_translated<M: Mem>(&self, skb: &Skb<M>) -> bool {
        let ctinfo = skb.conntrack_info();
        // An ICMP error carries the entry of the flow that it speaks of.
        let is_related = ctinfo == info::RELATED || ctinfo == info::RELATED + info::IS_REPLY;
        if is_related || skb.nat() & (nat::SNAT | nat::DNAT) == 0 {
            return false;
        }
        let tuples = [offsets!(ct_original), offsets!(ct_reply)];
        if tuples[0] == ABSENT || tuples[1] == ABSENT {
            return false;
        }
        if ctinfo >= info::IS_REPLY {
            field!(self.tuples[0] = tuples[1]);
            field!(self.tuples[1] = tuples[0]);
        } else {
            field!(self.tuples[0] = tuples[0]);
            field!(self.tuples[1] = tuples[1]);
        }
        true
    }

    /// Puts a tuple's addresses and ports in place of the packet's: 0, that of its own direction, 1, that of the other.
    #[inline(always)]
    fn wear(&self, entry: *const u8, which: usize) {
        const V4_PROTOCOL: u32 = offset_of!(Ipv4Hdr, proto) as u32;
        const V4_FRAGMENT: u32 = offset_of!(Ipv4Hdr, frags) as u32;
        const V6_NEXT: u32 = offset_of!(Ipv6Hdr, next_hdr) as u32;
        let tuple = entry.wrapping_add(field!(self.tuples[which]) as usize);
        let (near, far) = (
            tuple.wrapping_add(offset_of!(RawTuple, src)),
            tuple.wrapping_add(offset_of!(RawTuple, dst)),
        );
        let (near_port, far_port) = (
            tuple.wrapping_add(offset_of!(RawTuple, src_port)),
            tuple.wrapping_add(offset_of!(RawTuple, dst_port)),
        );
        let (src, dst, src_port, dst_port) = if which == 0 {
            (near, far, near_port, far_port)
        } else {
            (far, near, far_port, near_port)
        };
        let first = self.byte(0);
        let ports = if first >> 4 == 4 {
            self.put::<4>(offset_of!(Ipv4Hdr, src_addr) as u32, src);
            self.put::<4>(offset_of!(Ipv4Hdr, dst_addr) as u32, dst);
            // Fragments but the first have no ports.
            if self.byte(V4_FRAGMENT) & 0x1f != 0
                || self.byte(V4_FRAGMENT + 1) != 0
                || !has_ports(self.byte(V4_PROTOCOL))
            {
                return;
            }
            u32::from(first & 0x0f) << 2
        } else {
            self.put::<16>(offset_of!(Ipv6Hdr, src_addr) as u32, src);
            self.put::<16>(offset_of!(Ipv6Hdr, dst_addr) as u32, dst);
            if !has_ports(self.byte(V6_NEXT)) {
                return;
            }
            Ipv6Hdr::LEN as u32
        };
        self.put::<2>(ports, src_port);
        self.put::<2>(ports + 2, dst_port);
    }

    /// Copies `N` bytes to the network header's `offset`.
    #[inline(always)]
    fn put<const N: u32>(&self, offset: u32, from: *const u8) {
        if let Some(into) = self.place(offset) {
            // SAFETY: `N` is at most 16, so in bounds.
            unsafe { bpf_probe_read_kernel(into.cast(), N, from.cast()) };
        }
    }

    /// A byte of the network header.
    #[inline(always)]
    fn byte(&self, offset: u32) -> u8 {
        // SAFETY: in bounds, as the check has it.
        self.place(offset)
            .map_or(0, |byte| unsafe { byte.read_volatile() })
    }

    /// A place in the network header, with 16 bytes behind it. The check is made on the very register that is then added: old
    /// verifiers forget what they knew of a value that was on the stack in between.
    #[inline(always)]
    fn place(&self, offset: u32) -> Option<*mut u8> {
        const MOST: u64 = FRAME_BYTES as u64 - 16;
        let at = opaque(field!(self.network) + offset);
        // SAFETY: as checked, inside the frame.
        (at <= MOST).then(|| unsafe { self.0.cast::<u8>().add(at as usize) })
    }
}

/// Writes bytes one by one: nothing is said about how they are aligned.
///
/// # Safety
/// There is room for them.
#[inline(always)]
unsafe fn put<const N: usize>(base: *mut u8, at: usize, bytes: &[u8; N]) {
    let mut index = 0;
    while index < N {
        // SAFETY: the caller's.
        unsafe { base.add(at + index).write_volatile(bytes[index]) };
        index += 1;
    }
}

/// The fixed part of an opening packet's transport header.
///
/// # Safety
/// There is room for 20 bytes, which are 0.
#[inline(always)]
unsafe fn transport(header: *mut u8, protocol: u8, src_port: [u8; 2], dst_port: [u8; 2]) {
    // SAFETY: the caller's.
    unsafe {
        match protocol {
            1 => put(header, 0, &[8]),
            58 => put(header, 0, &[128]),
            other if has_ports(other) => {
                put(header, 0, &src_port);
                put(header, 2, &dst_port);
            }
            _ => {}
        }
        match protocol {
            6 => put(header, 12, &[5 << 4, 2]),
            17 => put(header, 4, &[0, 20]),
            _ => {}
        }
    }
}

/// The header's first 12 bytes: the packet's own, or zeroes.
#[inline(always)]
fn addresses(bytes: *mut u8, head: *const u8, mac: u16, has_link: bool) {
    // SAFETY: in bounds of the frame, which is aligned to 4 bytes.
    unsafe {
        if has_link {
            bpf_probe_read_kernel(bytes.cast(), 12, head.wrapping_add(mac as usize).cast());
        } else {
            bytes.cast::<[u32; 3]>().write([0; 3]);
        }
    }
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
