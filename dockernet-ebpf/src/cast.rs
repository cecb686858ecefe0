//! Untyped addresses by plain loads, where the kernel lends them a type: see [`dockernet_common::cast`].

use core::arch::asm;

use dockernet_common::{
    cast::{CALL, NOT_YET, WINDOW},
    offsets::ABSENT,
};

use crate::maps::offsets;

/// Whether this kernel can: a constant to the verifier.
#[inline(always)]
pub(crate) fn is_possible() -> bool {
    offsets!(cast_type) != ABSENT
}

/// Whether it is one load.
#[inline(always)]
pub(crate) const fn is_one<T>() -> bool {
    matches!(size_of::<T>(), 1 | 2 | 4 | 8) && align_of::<T>() == size_of::<T>()
}

/// Whether it is a few.
#[inline(always)]
pub(crate) const fn are_few(bytes: usize, align: usize) -> bool {
    bytes <= WINDOW && bytes.is_multiple_of(4) && align == 8
}

/// Reads a `T` that [`is_one`]; zero where nothing can be read.
#[inline(always)]
pub(crate) fn load<T: Copy>(address: *const u8) -> T {
    // SAFETY: the verifier checks that the load lies in the window; a fault reads as zero.
    unsafe { typed(address).cast::<T>().read_volatile() }
}

/// Reads bytes that [`are_few`] by words; zeroes where nothing can be read.
///
/// # Safety
/// `into` has room for `N` bytes and is aligned to 8.
#[inline(always)]
pub(crate) unsafe fn copy<const N: usize>(address: *const u8, into: *mut u8) {
    let typed = typed(address);
    // SAFETY: as above, for each; what is written is what the caller promises.
    unsafe {
        let mut at = 0;
        while at + 8 <= N {
            let word: u64 = typed.add(at).cast::<u64>().read_volatile();
            into.add(at).cast::<u64>().write(word);
            at += 8;
        }
        if at < N {
            let half: u32 = typed.add(at).cast::<u32>().read_volatile();
            into.add(at).cast::<u32>().write(half);
        }
    }
}

/// The address as one that loads go through, [`WINDOW`] bytes from it on.
#[inline(always)]
fn typed(address: *const u8) -> *const u8 {
    let window = u64::from(offsets!(cast_window));
    let typed: *const u8;
    // SAFETY: calls a kernel function that returns its first argument; it reads and writes nothing.
    unsafe {
        asm!(
            ".long {call}",
            ".long {not_yet}",
            call = const u32::from_ne_bytes(CALL),
            not_yet = const NOT_YET,
            inlateout("r1") (address as u64).wrapping_sub(window) => _,
            inlateout("r2") u64::from(offsets!(cast_type)) => _,
            lateout("r0") typed,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    typed.wrapping_add(window as usize)
}
