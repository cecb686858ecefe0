//! As much of an eBPF machine as the translated programs need. What the verifier would refuse is a panic.

use std::collections::HashSet;

use dockernet_common::frame::{CELLS, FRAME_BYTES, STUB_SLOTS};

/// Where the frame seems to be.
const BASE: u64 = 0x7000_0000_0000;

/// Runs the stub's body on a frame: r0 at its end.
pub(super) fn run(code: &[u64], frame: &[u8], length: u32) -> u64 {
    assert_eq!(code.len(), STUB_SLOTS);
    let mut memory = [0xa5_u8; FRAME_BYTES + 4 * CELLS];
    memory[..frame.len()].copy_from_slice(frame);
    let mut registers: [Option<u64>; 6] = [
        None,
        Some(BASE),
        Some(frame.len() as u64),
        Some(length.into()),
        None,
        None,
    ];
    let mut at = 0_usize;
    while at < code.len() {
        let [op, both, off0, off1, a, b, c, d] = code[at].to_le_bytes();
        let (dst, src) = (usize::from(both & 15), usize::from(both >> 4));
        let off = i16::from_le_bytes([off0, off1]);
        let imm = i32::from_le_bytes([a, b, c, d]);
        at += 1;
        let operand = |registers: &[Option<u64>; 6]| {
            if op & 8 != 0 {
                registers[src].unwrap()
            } else {
                i64::from(imm) as u64
            }
        };
        match op & 7 {
            // LDX
            1 => {
                let width = [4, 2, 1, 8][usize::from(op >> 3 & 3)];
                let from = registers[src]
                    .unwrap()
                    .checked_add_signed(off.into())
                    .unwrap()
                    - BASE;
                let bytes = &memory[from as usize..from as usize + width];
                registers[dst] = Some(
                    bytes
                        .iter()
                        .rev()
                        .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
                );
            }
            // STX, of words
            3 => {
                assert_eq!(op, 0x63);
                let to = (registers[dst].unwrap() - BASE) as usize + usize::try_from(off).unwrap();
                assert!(to >= FRAME_BYTES, "the frame is not written to");
                memory[to..to + 4].copy_from_slice(&(registers[src].unwrap() as u32).to_le_bytes());
            }
            4 if op == 0xdc => {
                let value = registers[dst].unwrap();
                registers[dst] = Some(match imm {
                    16 => (value as u16).swap_bytes().into(),
                    32 => (value as u32).swap_bytes().into(),
                    other => panic!("byte order of {other} bits"),
                });
            }
            4 => {
                let by = operand(&registers) as u32;
                let value = if op >> 4 == 0xb {
                    0
                } else {
                    registers[dst].unwrap() as u32
                };
                registers[dst] = Some(arithmetic(op >> 4, value, by).into());
            }
            7 => {
                assert_eq!(op, 0x0f, "64-bit arithmetic only adds");
                registers[dst] = Some(registers[dst].unwrap() + registers[src].unwrap());
            }
            5 if op == 5 => at = (at as i64 + i64::from(off)) as usize,
            5 | 6 => {
                let (left, right) = (registers[dst].unwrap(), operand(&registers));
                let (left, right) = if op & 7 == 6 {
                    (left & u64::from(u32::MAX), right & u64::from(u32::MAX))
                } else {
                    (left, right)
                };
                if condition(op >> 4, left, right) {
                    at = (at as i64 + i64::from(off)) as usize;
                }
            }
            _ => panic!("instruction {op:#x}"),
        }
    }
    assert_eq!(at, code.len(), "a jump out of the stub");
    registers[0].unwrap()
}

fn arithmetic(operation: u8, value: u32, by: u32) -> u32 {
    match operation {
        0x0 => value.wrapping_add(by),
        0x1 => value.wrapping_sub(by),
        0x2 => value.wrapping_mul(by),
        0x3 => value / by,
        0x4 => value | by,
        0x5 => value & by,
        0x6 => value.wrapping_shl(by),
        0x7 => value.wrapping_shr(by),
        0x8 => value.wrapping_neg(),
        0x9 => value % by,
        0xa => value ^ by,
        0xb => by,
        other => panic!("arithmetic {other:#x}"),
    }
}

fn condition(operation: u8, left: u64, right: u64) -> bool {
    match operation {
        0x1 => left == right,
        0x2 => left > right,
        0x3 => left >= right,
        0x4 => left & right != 0,
        0x5 => left != right,
        0xa => left < right,
        other => panic!("condition {other:#x}"),
    }
}

/// Instructions that no way leads to, in the verifier's eyes: every branch may go both ways.
pub(super) fn unreachable(code: &[u64]) -> Vec<usize> {
    let mut reached = HashSet::new();
    let mut open = vec![0_usize];
    while let Some(at) = open.pop() {
        if at >= code.len() || !reached.insert(at) {
            continue;
        }
        let [op, _, off0, off1, ..] = code[at].to_le_bytes();
        let target = (at as i64 + 1 + i64::from(i16::from_le_bytes([off0, off1]))) as usize;
        match (op & 7, op) {
            (5, 5) => open.push(target),
            (5 | 6, _) => open.extend([at + 1, target]),
            _ => open.push(at + 1),
        }
    }
    (0..code.len()).filter(|at| !reached.contains(at)).collect()
}
