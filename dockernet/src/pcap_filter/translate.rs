//! Classic BPF to eBPF, for the place of the kernel half's stub.
//!
//! Registers: r0 = A, r1 = the frame, r2 = bytes of it that are there, r3 = the packet's length, r4 = X, r5 for addresses. No stack:
//! the cells lie behind the frame. The verdict is what A (or the constant) holds at the end.

use std::mem::offset_of;

use dockernet_common::frame::{FRAME_BYTES, Frame, STUB_SLOTS};

use super::{
    classic::Instruction,
    opcode::{
        A, ABS, ADD, ALU, ALU64, B, DIV, H, IMM, IND, JA, JEQ, JGT, JLT, JMP, JMP32, JNE, K, LD,
        LDX, LEN, LSH, MEM, MISC, MOD, MOV, MSH, NEG, RET, RSH, ST, STX, TO_BE, TXA, W, X, class,
        is_by_x, mode, operation, size, width,
    },
};

/// `goto +0`: what the stub's body is made of.
pub const NOP: u64 = u64::from_ne_bytes([5, 0, 0, 0, 0, 0, 0, 0]);

const R0: u8 = 0;
const FRAME: u8 = 1;
const CAPTURED: u8 = 2;
const LENGTH: u8 = 3;
const RX: u8 = 4;
const R5: u8 = 5;

/// Where a jump goes.
#[derive(Clone, Copy)]
enum Target {
    /// To the code of a classic instruction.
    Instruction(usize),
    /// To the end of the stub's body, with the verdict in r0.
    End,
    /// To where the answer is no.
    No,
    /// Over the next instruction.
    Over,
}

/// One instruction, or a jump whose distance is not known yet.
struct Slot {
    code: u16,
    dst: u8,
    src: u8,
    off: i16,
    imm: u32,
    jump: Option<Target>,
}

/// The code that takes the place of all [`STUB_SLOTS`] of the stub's body.
///
/// The verifier refuses instructions that no way leads to, and looks at those that one does: so the slots that are left over lie
/// behind a jump that is never taken, before the last one, which says no. It sees that, and removes them.
///
/// # Errors
/// The program is too long.
pub fn translate(program: &[Instruction]) -> Result<Vec<u64>, String> {
    let mut code = Code::default();
    code.constant(R0, 0);
    let skip = code.slots.len();
    code.jump(JNE, R0, 0, Target::End);
    code.constant(RX, 0);
    let mut starts = Vec::with_capacity(program.len());
    for (at, instruction) in program.iter().enumerate() {
        starts.push(code.slots.len());
        code.instruction(at, *instruction);
    }
    let rest = code.slots.len();
    let no = STUB_SLOTS - 1;
    if rest > no {
        return Err(format!(
            "it takes {rest} instructions; the kernel half has room for {no}"
        ));
    }
    let mut words = Vec::with_capacity(STUB_SLOTS);
    for (at, slot) in code.slots.iter().enumerate() {
        let target = match slot.jump {
            None => None,
            _ if at == skip => Some(rest),
            Some(Target::Instruction(index)) => starts.get(index).copied(),
            Some(Target::End) => Some(STUB_SLOTS),
            Some(Target::No) => Some(no),
            Some(Target::Over) => Some(at + 2),
        };
        let off = match target {
            None => slot.off,
            Some(target) => i16::try_from(target - at - 1).map_err(|error| error.to_string())?,
        };
        words.push(slot.word(off));
    }
    words.resize(no, NOP);
    let mut last = Code::default();
    last.constant(R0, 0);
    words.extend(last.slots.iter().map(|slot| slot.word(0)));
    Ok(words)
}

impl Slot {
    /// `struct bpf_insn` (include/uapi/linux/bpf.h) as the host has it.
    fn word(&self, off: i16) -> u64 {
        let registers = if cfg!(target_endian = "big") {
            self.dst << 4 | self.src
        } else {
            self.src << 4 | self.dst
        };
        let [off0, off1] = off.to_ne_bytes();
        let [a, b, c, d] = self.imm.to_ne_bytes();
        u64::from_ne_bytes([self.code as u8, registers, off0, off1, a, b, c, d])
    }
}

#[derive(Default)]
struct Code {
    slots: Vec<Slot>,
}

impl Code {
    fn push(&mut self, code: u16, dst: u8, src: u8, off: i16, imm: u32) {
        self.slots.push(Slot {
            code,
            dst,
            src,
            off,
            imm,
            jump: None,
        });
    }

    /// 32-bit arithmetic with a constant.
    fn alu(&mut self, operation: u16, dst: u8, imm: u32) {
        self.push(ALU | operation | K, dst, 0, 0, imm);
    }

    /// … with a register.
    fn alu_by(&mut self, operation: u16, dst: u8, src: u8) {
        self.push(ALU | operation | X, dst, src, 0, 0);
    }

    fn constant(&mut self, dst: u8, value: u32) {
        self.alu(MOV, dst, value);
    }

    /// A jump that is always taken, with a way past it for the verifier, which refuses code that none leads to.
    fn give_up(&mut self) {
        self.constant(R5, 0);
        self.jump(JEQ, R5, 0, Target::No);
    }

    fn goto(&mut self, target: Target) {
        self.push(JMP | JA, 0, 0, 0, 0);
        self.aim(target);
    }

    /// Compares 32 bits with a constant: a 64-bit comparison would extend its sign.
    fn jump(&mut self, condition: u16, dst: u8, imm: u32, target: Target) {
        self.push(JMP32 | condition | K, dst, 0, 0, imm);
        self.aim(target);
    }

    fn jump_by(&mut self, condition: u16, dst: u8, src: u8, target: Target) {
        self.push(JMP32 | condition | X, dst, src, 0, 0);
        self.aim(target);
    }

    fn aim(&mut self, target: Target) {
        if let Some(last) = self.slots.last_mut() {
            last.jump = Some(target);
        }
    }

    fn instruction(&mut self, at: usize, instruction: Instruction) {
        let Instruction { code, k, .. } = instruction;
        match class(code) {
            LD => match mode(code) {
                ABS => self.absolute(code, R0, k),
                IND => self.indirect(code, k),
                _ => self.value(code, R0, k),
            },
            LDX if mode(code) == MSH => {
                self.absolute(B, RX, k);
                self.alu(super::opcode::AND, RX, 0x0f);
                self.alu(LSH, RX, 2);
            }
            LDX => self.value(code, RX, k),
            ST => self.push(STX | MEM | W, FRAME, R0, cell(k), 0),
            STX => self.push(STX | MEM | W, FRAME, RX, cell(k), 0),
            ALU => self.arithmetic(code, k),
            JMP => self.branch(at, instruction),
            RET => {
                if code & 0x18 != A {
                    self.constant(R0, k);
                }
                self.goto(Target::End);
            }
            MISC if code & 0xf8 == TXA => self.alu_by(MOV, R0, RX),
            _ => self.alu_by(MOV, RX, R0),
        }
    }

    fn absolute(&mut self, code: u16, dst: u8, k: u32) {
        let end = k.saturating_add(width(code));
        if end as usize > FRAME_BYTES {
            self.give_up();
            return;
        }
        self.jump(JLT, CAPTURED, end, Target::No);
        self.read(code, dst, FRAME, k as i16);
    }

    fn indirect(&mut self, code: u16, k: u32) {
        let last = FRAME_BYTES as u32 - width(code);
        if k > last {
            self.give_up();
            return;
        }
        self.jump(JGT, RX, last - k, Target::No);
        self.alu_by(MOV, R5, RX);
        self.alu(ADD, R5, k);
        // The verifier's bounds are of the register that is added: once more, and in 64 bits, which it understands everywhere.
        self.push(JMP | JGT | K, R5, 0, 0, last);
        self.aim(Target::No);
        self.alu_by(MOV, R0, R5);
        self.alu(ADD, R0, width(code));
        self.jump_by(JGT, R0, CAPTURED, Target::No);
        self.push(ALU64 | ADD | X, R5, FRAME, 0, 0);
        self.read(code, R0, R5, 0);
    }

    fn read(&mut self, code: u16, dst: u8, from: u8, off: i16) {
        self.push(LDX | MEM | size(code), dst, from, off, 0);
        match size(code) {
            W => self.push(TO_BE, dst, 0, 0, 32),
            H => self.push(TO_BE, dst, 0, 0, 16),
            _ => {}
        }
    }

    fn value(&mut self, code: u16, dst: u8, k: u32) {
        match mode(code) {
            IMM => self.constant(dst, k),
            LEN => self.alu_by(MOV, dst, LENGTH),
            _ => self.push(LDX | MEM | W, dst, FRAME, cell(k), 0),
        }
    }

    fn arithmetic(&mut self, code: u16, k: u32) {
        let operation = operation(code);
        match (operation, is_by_x(code)) {
            (NEG, _) => self.alu(NEG, R0, 0),
            (DIV | MOD, true) => {
                self.jump(JEQ, RX, 0, Target::No);
                self.alu_by(operation, R0, RX);
            }
            (DIV | MOD, false) if k == 0 => self.give_up(),
            (LSH | RSH, false) if k > 31 => self.constant(R0, 0),
            (LSH | RSH, true) => {
                // eBPF takes X modulo 32: with a value of nothing that makes no difference.
                self.jump(JLT, RX, 32, Target::Over);
                self.constant(R0, 0);
                self.alu_by(operation, R0, RX);
            }
            (_, true) => self.alu_by(operation, R0, RX),
            (_, false) => self.alu(operation, R0, k),
        }
    }

    fn branch(&mut self, at: usize, instruction: Instruction) {
        let Instruction { code, jt, jf, k } = instruction;
        let to = |jump: u32| Target::Instruction(at + 1 + jump as usize);
        if operation(code) == JA {
            self.goto(to(k));
            return;
        }
        let target = if jt == 0 && jf != 0 {
            Target::Over
        } else {
            to(jt.into())
        };
        if is_by_x(code) {
            self.jump_by(operation(code), R0, RX, target);
        } else {
            self.jump(operation(code), R0, k, target);
        }
        if jf != 0 {
            self.goto(to(jf.into()));
        }
    }
}

/// Where a cell is from the frame's start.
fn cell(k: u32) -> i16 {
    (offset_of!(Frame, cells) + 4 * k as usize) as i16
}
