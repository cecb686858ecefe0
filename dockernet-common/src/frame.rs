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
///
/// What is computed on the way is kept here and read again, not in registers: the verifier then knows nothing of how it came to be,
/// and looks at the expression, and at all that comes after it, once instead of once for each way there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Ethernet header, tag, and what follows.
    pub bytes: [u8; FRAME_BYTES],
    /// The expression's memory.
    pub cells: [u32; CELLS],
    /// How many of `bytes` are there.
    pub captured: u32,
    /// Length of the whole frame.
    pub length: u32,
    /// Where the network header is in `bytes`.
    pub network: u32,
    /// Where the tuples of the packet's direction and of the other are in its conntrack entry.
    pub tuples: [u32; 2],
    /// Not 0: the expression accepts the packet.
    pub verdict: u32,
}

const _: () = assert!(size_of::<Frame>() == 344 && align_of::<Frame>() == 4);
