//! A filter expression into the kernel half, in place of its stub.

use std::ops::Range;

use anyhow::{Result, bail};
use dockernet_common::frame::STUB_SLOTS;

use crate::pcap_filter::{Expression, translate::NOP};

/// Puts the expression into the object.
pub(super) fn expression(object: &mut [u8], expression: &Expression) -> Result<()> {
    let place = stub(object)
        .filter(|_| expression.code().len() == STUB_SLOTS)
        .and_then(|place| object.get_mut(place));
    let Some(place) = place else {
        bail!(
            "the kernel half has no place for a filter expression; this binary was not built as it should be"
        );
    };
    for (slot, word) in place.chunks_exact_mut(8).zip(expression.code()) {
        slot.copy_from_slice(&word.to_ne_bytes());
    }
    Ok(())
}

/// Where the stub's body is: nothing else is so long a run of instructions that do nothing.
fn stub(object: &[u8]) -> Option<Range<usize>> {
    let mut run = 0;
    for (at, word) in object.chunks_exact(8).enumerate() {
        if word == NOP.to_ne_bytes() {
            run += 1;
        } else {
            run = 0;
        }
        if run == STUB_SLOTS {
            let end = (at + 1) * 8;
            return Some(end - STUB_SLOTS * 8..end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use object::{Object as _, ObjectSection as _};

    use super::*;

    #[test]
    fn the_stub_is_found_whole() {
        let body = NOP.to_ne_bytes().repeat(STUB_SLOTS);
        let before = [1_u8; 24];
        let whole = [&before[..], &body, &[9; 40]].concat();
        assert_eq!(stub(&whole), Some(24..24 + body.len()));
        assert_eq!(stub(&whole[..body.len() + 16]), None);
    }

    /// Before 6.7 the verifier rounds each function's stack up to 32 bytes, takes 32 for one that has none (the expression's), and allows 512
    /// for all (kernel/bpf/verifier.c, `check_max_stack_depth`).
    #[test]
    fn the_stack_has_room_for_the_expressions_call() {
        const MOST: i32 = 512 - 32;
        let file = object::File::parse(super::super::load::object().unwrap()).unwrap();
        let mut programs = 0;
        for section in file.sections() {
            let name = section.name().unwrap();
            if !["tp_btf/", "tracepoint/", "classifier"]
                .iter()
                .any(|kind| name.starts_with(kind))
            {
                continue;
            }
            programs += 1;
            let deepest = deepest(section.data().unwrap());
            assert!((-MOST..0).contains(&deepest), "{name}: {deepest}");
        }
        assert_eq!(programs, 7);
    }

    /// The lowest place below r10 that code has to do with.
    fn deepest(code: &[u8]) -> i32 {
        const FRAME: u8 = 10;
        let (constant, load, store, store_register) = (0, 1, 2, 3);
        let (arithmetic, arithmetic_64) = (4, 7);
        let (copy, add) = (0xbf, 0x07);
        // Registers that hold the frame's address.
        let mut frame_in = [false; 16];
        let mut deepest = 0;
        for slot in code.chunks_exact(8) {
            let (class, to, from) = (slot[0] & 7, slot[1] & 15, slot[1] >> 4);
            let offset = i32::from(i16::from_ne_bytes([slot[2], slot[3]]));
            let immediate = i32::from_ne_bytes([slot[4], slot[5], slot[6], slot[7]]);
            if class == load && from == FRAME
                || (class == store || class == store_register) && to == FRAME
            {
                deepest = deepest.min(offset);
            } else if slot[0] == add && frame_in[usize::from(to)] {
                deepest = deepest.min(immediate);
            }
            if [constant, load, arithmetic, arithmetic_64].contains(&class) {
                frame_in[usize::from(to)] = slot[0] == copy && from == FRAME;
            }
        }
        deepest
    }

    #[test]
    fn this_build_has_a_stub() {
        let object = super::super::load::object().map(stub);
        assert!(object.is_ok_and(|place| place.is_some()));
    }
}
