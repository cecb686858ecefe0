//! Ways to read kernel memory. All yield zero where nothing can be read, so that code above them needs no
//! error paths: a null or garbage pointer reads as zeroes.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use dockernet_common::{offsets::ABSENT, packet::ByteSource};

use crate::cast;

/// Reads one field.
pub(crate) trait Mem {
    /// Reads a `T` at `base + offset`, zero if that cannot be read or the field does not exist.
    fn load<T: Copy + Default>(base: *const u8, offset: u32) -> T;
}

/// Plain loads through BTF-typed pointers (`tp_btf`). The verifier turns them into fault-tolerant ones
/// (`BPF_PROBE_MEM`, kernel/bpf/verifier.c, 5.5+).
pub(crate) struct Direct;

impl Mem for Direct {
    #[inline(always)]
    fn load<T: Copy + Default>(base: *const u8, offset: u32) -> T {
        // The verifier types some pointers as "or null" (`skb->sk`) and wants to see this.
        if offset == ABSENT || base.is_null() {
            return T::default();
        }
        // SAFETY: checked by the verifier against the type that BTF gives `base`; faults read as zero.
        unsafe { base.add(offset as usize).cast::<T>().read_volatile() }
    }
}

/// `bpf_probe_read_kernel` (5.5+): through any address.
pub(crate) struct Probe;

impl Mem for Probe {
    #[inline(always)]
    fn load<T: Copy + Default>(base: *const u8, offset: u32) -> T {
        let mut value = T::default();
        if offset != ABSENT {
            // SAFETY: writes at most `size_of::<T>()` bytes into `value`; zero-fills on a fault.
            unsafe {
                bpf_probe_read_kernel(
                    (&raw mut value).cast(),
                    size_of::<T>() as u32,
                    base.wrapping_add(offset as usize).cast(),
                );
            }
        }
        value
    }
}

/// Through any kernel address as well, by a plain load where it can be cast (6.2+): for what is read of every packet. (For all else it would
/// be code twice, and stack; and it is the helper that the kernel refuses under lockdown=confidentiality, not such loads.)
pub(crate) struct Quick;

impl Mem for Quick {
    #[inline(always)]
    fn load<T: Copy + Default>(base: *const u8, offset: u32) -> T {
        const { assert!(cast::is_one::<T>()) };
        if cast::is_possible() && offset != ABSENT {
            cast::load(base.wrapping_add(offset as usize))
        } else {
            Probe::load(base, offset)
        }
    }
}

/// What is read by words is to lie where words do: the kernel half has no unaligned loads, and the compiler would read byte by byte.
#[repr(align(8))]
struct Aligned<const N: usize>([u8; N]);

/// Kernel memory as a byte source for the parser in `dockernet-common`. What cannot be read is `None`, or zeroes where it is read by plain
/// loads.
pub(crate) struct Bytes(pub(crate) *const u8);

impl ByteSource for Bytes {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // Zeroing first would become a call of memset, on a stack slot that the verifier finds misaligned.
        let mut bytes = MaybeUninit::<Aligned<N>>::uninit();
        let into = bytes.as_mut_ptr();
        let from = self.0.wrapping_add(offset);
        let status = if cast::are_few(N, align_of::<Aligned<N>>()) && cast::is_possible() {
            // SAFETY: as long as that, and aligned.
            unsafe { cast::copy::<N>(from, into.cast()) };
            0
        } else {
            // SAFETY: writes N bytes into `bytes`, zeroes on a fault.
            unsafe { bpf_probe_read_kernel(into.cast(), N as u32, from.cast()) }
        };
        // SAFETY: all of the bytes are written.
        (status == 0).then(|| unsafe { bytes.assume_init() }.0)
    }

    /// Behind a packet's last byte lies its `skb_shared_info`, in the same allocation (include/linux/skbuff.h,
    /// `skb_end_pointer`).
    #[inline(always)]
    fn start<const HEADER: usize, const BOTH: usize>(
        &self,
        offset: usize,
    ) -> Option<([u8; HEADER], Option<[u8; 4]>)> {
        let both: [u8; BOTH] = self.read(offset)?;
        Some((*both.first_chunk()?, both.last_chunk().copied()))
    }
}
