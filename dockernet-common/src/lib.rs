//! What the kernel half and the user half share: records, keys, names, and the packet parser.
//!
//! `no_std` and pure, so that it is tested on any machine.
#![cfg_attr(not(test), no_std)]

pub mod cast;
pub mod conntrack;
pub mod control;
pub mod count;
pub mod filter;
pub mod frame;
pub mod hop;
pub mod names;
pub mod nat;
pub mod offsets;
pub mod packet;
pub mod record;

/// Marks the shared types as plain bytes for aya's maps.
macro_rules! pod {
    ($($type:ty),+ $(,)?) => {$(
        // SAFETY: repr(C), explicit padding (asserted beside the type), integers only: any bytes are a value.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $type {}
    )+};
}
pub(crate) use pod;
