//! Opcodes of the classic machine (include/uapi/linux/bpf_common.h, filter.h; stable ABI), and those that eBPF adds.

/// The class: its lowest three bits.
pub(super) const LD: u16 = 0x00;
pub(super) const LDX: u16 = 0x01;
pub(super) const ST: u16 = 0x02;
pub(super) const STX: u16 = 0x03;
pub(super) const ALU: u16 = 0x04;
pub(super) const JMP: u16 = 0x05;
pub(super) const RET: u16 = 0x06;
pub(super) const MISC: u16 = 0x07;

pub(super) const W: u16 = 0x00;
pub(super) const H: u16 = 0x08;
pub(super) const B: u16 = 0x10;

pub(super) const IMM: u16 = 0x00;
pub(super) const ABS: u16 = 0x20;
pub(super) const IND: u16 = 0x40;
pub(super) const MEM: u16 = 0x60;
pub(super) const LEN: u16 = 0x80;
pub(super) const MSH: u16 = 0xa0;

pub(super) const ADD: u16 = 0x00;
pub(super) const SUB: u16 = 0x10;
pub(super) const MUL: u16 = 0x20;
pub(super) const DIV: u16 = 0x30;
pub(super) const OR: u16 = 0x40;
pub(super) const AND: u16 = 0x50;
pub(super) const LSH: u16 = 0x60;
pub(super) const RSH: u16 = 0x70;
pub(super) const NEG: u16 = 0x80;
pub(super) const MOD: u16 = 0x90;
pub(super) const XOR: u16 = 0xa0;

pub(super) const JA: u16 = 0x00;
pub(super) const JEQ: u16 = 0x10;
pub(super) const JGT: u16 = 0x20;
pub(super) const JGE: u16 = 0x30;
pub(super) const JSET: u16 = 0x40;

pub(super) const K: u16 = 0x00;
pub(super) const X: u16 = 0x08;
/// `RET`'s source.
pub(super) const A: u16 = 0x10;

pub(super) const TAX: u16 = 0x00;
pub(super) const TXA: u16 = 0x80;

/// eBPF's: 32-bit jumps (5.1+) and 64-bit arithmetic take the classes of `RET` and `MISC`.
pub(super) const JMP32: u16 = 0x06;
pub(super) const ALU64: u16 = 0x07;
pub(super) const MOV: u16 = 0xb0;
pub(super) const JNE: u16 = 0x50;
pub(super) const JLT: u16 = 0xa0;
/// Byte order conversion: of the 32-bit arithmetic class, to big-endian.
pub(super) const TO_BE: u16 = 0xdc;

pub(super) const fn class(code: u16) -> u16 {
    code & 0x07
}

pub(super) const fn size(code: u16) -> u16 {
    code & 0x18
}

pub(super) const fn mode(code: u16) -> u16 {
    code & 0xe0
}

/// Operation of arithmetic and jumps.
pub(super) const fn operation(code: u16) -> u16 {
    code & 0xf0
}

pub(super) const fn is_by_x(code: u16) -> bool {
    code & X != 0
}

/// Bytes that a load reads.
pub(super) const fn width(code: u16) -> u32 {
    match size(code) {
        W => 4,
        H => 2,
        _ => 1,
    }
}
