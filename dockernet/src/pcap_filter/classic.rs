//! The classic BPF machine, as libpcap's `bpf_filter()` has it: 32-bit registers A and X, sixteen cells, loads in network byte
//! order. A load from outside ends the program with "no".

use dockernet_common::{
    frame::{CELLS, COPIED_BYTES},
    packet::ByteSource as _,
};

use super::opcode::{
    A, ABS, ADD, ALU, AND, B, DIV, H, IMM, IND, JA, JEQ, JGE, JGT, JMP, JSET, K, LD, LDX, LEN, LSH,
    MEM, MISC, MOD, MSH, MUL, NEG, OR, RET, RSH, ST, STX, SUB, TAX, TXA, W, XOR, class, is_by_x,
    mode, operation, size, width,
};

/// One instruction: `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// Instructions to skip if a condition holds.
    pub jt: u8,
    /// … and if not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Whether a program is one that the kernel half can run.
///
/// # Errors
/// Says why not.
pub fn check(program: &[Instruction]) -> Result<(), String> {
    for (at, instruction) in program.iter().enumerate() {
        let Instruction { code, jt, jf, k } = *instruction;
        let is_known = match class(code) {
            LD => matches!(mode(code), ABS | IND | IMM | MEM | LEN),
            LDX => match mode(code) {
                MSH => size(code) == B,
                mode => matches!(mode, IMM | MEM | LEN),
            },
            ST | STX => true,
            ALU => operation(code) <= XOR,
            JMP => operation(code) <= JSET,
            RET => matches!(code & 0x18, K | A),
            _ => matches!(code & 0xf8, TAX | TXA),
        };
        let uses_cell =
            matches!(class(code), ST | STX) || matches!(class(code), LD | LDX) && mode(code) == MEM;
        if !is_known || uses_cell && k as usize >= CELLS {
            return Err(format!(
                "libpcap's instruction {at} ({code:#x}) is unknown here"
            ));
        }
        let jumps: &[u32] = match (class(code), operation(code)) {
            (JMP, JA) => &[k],
            (JMP, _) => &[jt.into(), jf.into()],
            _ => &[],
        };
        if jumps
            .iter()
            .any(|jump| at + 1 + *jump as usize >= program.len())
        {
            return Err(
                "it loops over headers (protochain), which the kernel half cannot; name the header instead, \
                 as in 'ip6 proto 58'"
                    .to_owned(),
            );
        }
        let is_load = class(code) == LD && mode(code) == ABS
            || class(code) == LD && mode(code) == IND
            || class(code) == LDX && mode(code) == MSH;
        if is_load && k.saturating_add(width(code)) > COPIED_BYTES {
            return Err(format!(
                "it looks at byte {k} of the Ethernet frame; only the first {COPIED_BYTES} are there to be looked at"
            ));
        }
    }
    match program.last() {
        Some(last) if class(last.code) == RET => Ok(()),
        _ => Err("libpcap's program does not end".to_owned()),
    }
}

/// Runs a program on the start of a packet `length` bytes long: 0 means no. Programs that [`check`] refuses say no.
#[must_use]
pub fn run(program: &[Instruction], packet: &[u8], length: u32) -> u32 {
    Machine {
        a: 0,
        x: 0,
        cells: [0; CELLS],
        packet,
        length,
    }
    .run(program)
    .unwrap_or(0)
}

struct Machine<'a> {
    a: u32,
    x: u32,
    cells: [u32; CELLS],
    packet: &'a [u8],
    length: u32,
}

impl Machine<'_> {
    /// None: a load from outside, a division by zero.
    fn run(&mut self, program: &[Instruction]) -> Option<u32> {
        let mut at = 0_usize;
        loop {
            let instruction = *program.get(at)?;
            at += 1;
            let Instruction { code, jt, jf, k } = instruction;
            match class(code) {
                LD => {
                    self.a = match mode(code) {
                        ABS => self.load(code, k)?,
                        IND => self.load(code, self.x.checked_add(k)?)?,
                        _ => self.value(code, k)?,
                    }
                }
                LDX if mode(code) == MSH => self.x = (self.load(code, k)? & 0x0f) << 2,
                LDX => self.x = self.value(code, k)?,
                ST => *self.cells.get_mut(k as usize)? = self.a,
                STX => *self.cells.get_mut(k as usize)? = self.x,
                ALU => self.a = self.arithmetic(code, k)?,
                JMP if operation(code) == JA => at = at.checked_add(k as usize)?,
                JMP => at += usize::from(if self.holds(code, k)? { jt } else { jf }),
                RET => return Some(if code & 0x18 == A { self.a } else { k }),
                MISC if code & 0xf8 == TXA => self.a = self.x,
                _ => self.x = self.a,
            }
        }
    }

    fn load(&self, code: u16, at: u32) -> Option<u32> {
        let at = at as usize;
        match size(code) {
            W => self.packet.read(at).map(u32::from_be_bytes),
            H => self.packet.read(at).map(u16::from_be_bytes).map(u32::from),
            _ => self.packet.get(at).copied().map(u32::from),
        }
    }

    fn value(&self, code: u16, k: u32) -> Option<u32> {
        match mode(code) {
            IMM => Some(k),
            LEN => Some(self.length),
            _ => self.cells.get(k as usize).copied(),
        }
    }

    fn operand(&self, code: u16, k: u32) -> u32 {
        if is_by_x(code) { self.x } else { k }
    }

    fn arithmetic(&self, code: u16, k: u32) -> Option<u32> {
        let by = self.operand(code, k);
        Some(match operation(code) {
            ADD => self.a.wrapping_add(by),
            SUB => self.a.wrapping_sub(by),
            MUL => self.a.wrapping_mul(by),
            DIV => self.a.checked_div(by)?,
            MOD => self.a.checked_rem(by)?,
            OR => self.a | by,
            AND => self.a & by,
            XOR => self.a ^ by,
            // Everything is shifted out.
            LSH => self.a.checked_shl(by).unwrap_or(0),
            RSH => self.a.checked_shr(by).unwrap_or(0),
            NEG => self.a.wrapping_neg(),
            _ => return None,
        })
    }

    fn holds(&self, code: u16, k: u32) -> Option<bool> {
        let by = self.operand(code, k);
        Some(match operation(code) {
            JEQ => self.a == by,
            JGT => self.a > by,
            JGE => self.a >= by,
            JSET => self.a & by != 0,
            _ => return None,
        })
    }
}

const _: () = assert!(size_of::<Instruction>() == 8);
