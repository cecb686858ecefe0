//! Kernel half of dockernet: attach points and map access. What can be decided elsewhere is decided in
//! `dockernet-common` (pure) or in user space.
#![no_std]
#![no_main]
// For the stub that a filter expression takes the place of.
#![feature(asm_experimental_arch)]

mod cast;
mod count;
mod expression;
mod filter;
mod hop;
mod maps;
mod mem;
mod nat;
mod sample;
mod skb;

use aya_ebpf::{
    EbpfContext,
    macros::{btf_tracepoint, classifier, tracepoint},
    programs::{BtfTracePointContext, TcContext, TracePointContext},
};
use aya_log_ebpf::debug;
use dockernet_common::{hop::kind, offsets::ABSENT};

use crate::{
    count::{Freed, Outcome},
    maps::offsets,
    mem::{Direct, Probe},
};

/// `tp_btf/kfree_skb`, 5.5+: the skb arrives as a typed pointer, so fields are plain loads.
#[btf_tracepoint(function = "kfree_skb")]
#[inline(always)]
fn dockernet_kfree_skb(ctx: BtfTracePointContext) -> i32 {
    let reason = if offsets!(has_reason) == 1 {
        ctx.arg::<u32>(2)
    } else {
        0
    };
    // The verifier refuses to look at arguments the tracepoint does not have.
    let rx_sk: *const u8 = if offsets!(has_rx_sk) == 1 {
        ctx.arg(3)
    } else {
        core::ptr::null()
    };
    let outcome = count::drop::<Direct>(Freed {
        ctx: ctx.as_ptr(),
        skb: ctx.arg(0),
        location: ctx.arg(1),
        reason,
        rx_sk,
    });
    log(&ctx, outcome);
    0
}

/// `tracepoint/skb/kfree_skb`: everywhere else. Field offsets come from the event's format file.
///
/// Inlined into the entry that the macro makes: before 6.7 the verifier counts 32 bytes of stack for every call, and all of
/// them together must not be over 512.
#[tracepoint(category = "skb", name = "kfree_skb")]
#[inline(always)]
fn dockernet_kfree_skb_tp(ctx: TracePointContext) -> u32 {
    let reason = if offsets!(tp_reason) == ABSENT {
        0
    } else {
        field(&ctx, offsets!(tp_reason))
    };
    let rx_sk = if offsets!(tp_rx_sk) == ABSENT {
        0_u64
    } else {
        field(&ctx, offsets!(tp_rx_sk))
    };
    let outcome = count::drop::<Probe>(Freed {
        ctx: ctx.as_ptr(),
        skb: field::<u64>(&ctx, offsets!(tp_skb)) as *const u8,
        location: field(&ctx, offsets!(tp_location)),
        reason,
        rx_sk: rx_sk as *const u8,
    });
    log(&ctx, outcome);
    0
}

/// tc egress (tcx from 6.6 on, else clsact): looks at where packets leave, decides nothing.
#[classifier]
fn dockernet_nat(ctx: TcContext) -> i32 {
    // What the kernel hands to tc programs is its own sk_buff (net/core/filter.c, `struct __sk_buff` is a view of it).
    nat::leaving(ctx.skb.skb.cast());
    TC_ACT_UNSPEC
}

/// `tp_btf/net_dev_queue`: a packet is handed to a device for sending.
#[btf_tracepoint(function = "net_dev_queue")]
fn dockernet_sent(ctx: BtfTracePointContext) -> i32 {
    hop::at::<Direct>(ctx.arg(0), kind::SENT);
    0
}

/// `tp_btf/netif_receive_skb`: a packet has come from a device.
#[btf_tracepoint(function = "netif_receive_skb")]
fn dockernet_received(ctx: BtfTracePointContext) -> i32 {
    hop::at::<Direct>(ctx.arg(0), kind::RECEIVED);
    0
}

/// `tracepoint/net/net_dev_queue`: everywhere else.
#[tracepoint(category = "net", name = "net_dev_queue")]
fn dockernet_sent_tp(ctx: TracePointContext) -> u32 {
    hop::at::<Probe>(
        field::<u64>(&ctx, offsets!(tp_net_skb)) as *const u8,
        kind::SENT,
    );
    0
}

/// `tracepoint/net/netif_receive_skb`: everywhere else.
#[tracepoint(category = "net", name = "netif_receive_skb")]
fn dockernet_received_tp(ctx: TracePointContext) -> u32 {
    hop::at::<Probe>(
        field::<u64>(&ctx, offsets!(tp_net_skb)) as *const u8,
        kind::RECEIVED,
    );
    0
}

/// Lets the next program, or the default, decide. (`TC_ACT_OK` would end the chain for others.)
const TC_ACT_UNSPEC: i32 = -1;

/// For debugging (`-vv`): below the level set at load time this is no code at all.
#[inline(always)]
fn log(ctx: &impl EbpfContext, outcome: Outcome) {
    match outcome {
        Outcome::Counted => {}
        Outcome::RingFull => debug!(ctx, "ring full: a sample is lost, its packet is counted"),
        Outcome::MapFull => debug!(ctx, "count map full: a packet is counted as other"),
    }
}

#[inline(always)]
fn field<T: Copy + Default>(ctx: &TracePointContext, offset: u32) -> T {
    // SAFETY: the context is readable memory; the offset comes from the event's own format file.
    unsafe { ctx.read_at::<T>(offset as usize) }.unwrap_or_default()
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// `bpf_probe_read_kernel`, `bpf_get_stack` and loads through kernel types are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
