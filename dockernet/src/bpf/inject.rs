//! A filter expression into the kernel half, in place of its stub.

use std::{borrow::Cow, ops::Range};

use anyhow::{Result, bail};
use dockernet_common::frame::STUB_SLOTS;

use crate::pcap_filter::{Expression, translate::NOP};

/// The object with the expression in it; as it is without one.
pub(super) fn object<'a>(
    object: &'a [u8],
    expression: Option<&Expression>,
) -> Result<Cow<'a, [u8]>> {
    let Some(expression) = expression else {
        return Ok(Cow::Borrowed(object));
    };
    let mut changed = object.to_vec();
    let place = stub(object)
        .filter(|_| expression.code().len() == STUB_SLOTS)
        .and_then(|place| changed.get_mut(place));
    let Some(place) = place else {
        bail!(
            "the kernel half has no place for a filter expression; this binary was not built as it should be"
        );
    };
    for (slot, word) in place.chunks_exact_mut(8).zip(expression.code()) {
        slot.copy_from_slice(&word.to_ne_bytes());
    }
    Ok(Cow::Owned(changed))
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
    use super::*;

    #[test]
    fn the_stub_is_found_whole() {
        let body = NOP.to_ne_bytes().repeat(STUB_SLOTS);
        let before = [1_u8; 24];
        let whole = [&before[..], &body, &[9; 40]].concat();
        assert_eq!(stub(&whole), Some(24..24 + body.len()));
        assert_eq!(stub(&whole[..body.len() + 16]), None);
    }

    #[test]
    fn this_build_has_a_stub() {
        let object = super::super::load::object().map(stub);
        assert!(object.is_ok_and(|place| place.is_some()));
    }
}
