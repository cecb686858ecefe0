//! How the kernel half reads by plain loads what no type is known of.
//!
//! From 6.2 on a program may declare any kernel address to be that of a structure (`bpf_rdonly_cast`, kernel/bpf/helpers.c); a load through
//! it reads zero where nothing is. The one structure that it is declared to be here is `struct sk_buff`, and what is read lies in its `cb`: bytes
//! without a type of their own, of which the verifier lets any be loaded in any width (kernel/bpf/btf.c, `btf_struct_walk`:
//! "that also allows using an array of int as a scratch space. e.g. skb->cb[]"). A call of `bpf_probe_read_kernel` costs some 25 ns, such a load
//! next to nothing.
//!
//! Rust cannot call kernel functions from BPF: the kernel half has [`CALL`] in their place, and user space puts in which function is meant, or
//! something harmless, before the object is loaded.

/// `sizeof(sk_buff.cb)` (include/linux/skbuff.h): how much one cast gives sight of.
pub const WINDOW: usize = 48;

/// The first half of an instruction that calls a kernel function (`BPF_JMP | BPF_CALL` with `BPF_PSEUDO_KFUNC_CALL`).
pub const CALL: [u8; 4] = if cfg!(target_endian = "little") {
    [0x85, 0x20, 0, 0]
} else {
    [0x85, 0x02, 0, 0]
};

/// The second half as built, where the number of the function (its type in the kernel's BTF) will be. Chosen at random.
pub const NOT_YET: u32 = 0x5ca5_70b9;
