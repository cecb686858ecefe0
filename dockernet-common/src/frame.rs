//! The start of a dropped packet as an Ethernet frame: what a filter expression is run on.

/// Room for the frame. Every load of an expression lies inside, to the verifier's eyes.
pub const FRAME_BYTES: usize = 256;
/// Bytes copied from a packet at most. What an expression looks at lies before this.
pub const COPIED_BYTES: u32 = 232;
/// Cells that an expression can store to (`BPF_MEMWORDS`).
pub const CELLS: usize = 16;
/// Instructions that the kernel half has room for in place of its stub.
pub const STUB_SLOTS: usize = 4096;

/// One per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Ethernet header, tag, and what follows.
    pub bytes: [u8; FRAME_BYTES],
    /// The expression's memory.
    pub cells: [u32; CELLS],
}

const _: () = assert!(size_of::<Frame>() == 320 && align_of::<Frame>() == 4);
