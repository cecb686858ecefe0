//! Reads by cast into the kernel half: see [`dockernet_common::cast`].

use anyhow::Result;
use dockernet_common::{
    cast::{CALL, NOT_YET},
    offsets::{ABSENT, Offsets},
};

/// `r0 = r1`: what the function returns.
const HARMLESS: [u8; 8] = if cfg!(target_endian = "little") {
    [0xbf, 0x10, 0, 0, 0, 0, 0, 0]
} else {
    [0xbf, 0x01, 0, 0, 0, 0, 0, 0]
};

/// Makes every call of a function that the kernel half only has a place for one of `bpf_rdonly_cast`. Where the kernel has no such function
/// the places are never reached; but verifiers look up every such call, reached or not.
pub(super) fn complete(object: &mut [u8], offsets: &Offsets) {
    let mut wanted = HARMLESS;
    if offsets.cast_call != ABSENT {
        wanted = instruction(offsets.cast_call);
    }
    let place = instruction(NOT_YET);
    for slot in object.chunks_exact_mut(8) {
        if slot == place {
            slot.copy_from_slice(&wanted);
        }
    }
}

fn instruction(function: u32) -> [u8; 8] {
    let mut both = [0; 8];
    let (call, number) = both.split_at_mut(CALL.len());
    call.copy_from_slice(&CALL);
    number.copy_from_slice(&function.to_ne_bytes());
    both
}

/// Loads with reads by cast, and once more without them if the kernel refuses; then says so in a sentence as well.
///
/// # Errors
/// Those of the last try.
pub(super) fn or_without<T>(
    offsets: &Offsets,
    load: impl Fn(&Offsets) -> Result<T>,
) -> Result<(T, Option<String>)> {
    if offsets.cast_type == ABSENT {
        return Ok((load(offsets)?, None));
    }
    let refusal = match load(offsets) {
        Ok(loaded) => return Ok((loaded, None)),
        Err(error) => error,
    };
    let without = Offsets {
        cast_type: ABSENT,
        cast_call: ABSENT,
        ..*offsets
    };
    let loaded = load(&without)?;
    let sentence = format!(
        "plain reads of kernel memory refused, using a helper (about 25 ns more for each): {refusal:#}"
    );
    Ok((loaded, Some(sentence)))
}

/// The same for what has no sentence in `ready.degraded`: it is logged.
///
/// # Errors
/// As [`or_without`].
pub(super) fn or_without_logged<T>(
    what: &str,
    offsets: &Offsets,
    load: impl Fn(&Offsets) -> Result<T>,
) -> Result<T> {
    let (loaded, sentence) = or_without(offsets, load)?;
    if let Some(sentence) = sentence {
        log::info!("{what}: {sentence}");
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use object::{Object as _, ObjectSection as _, SectionKind};

    use super::*;

    fn places(code: &[u8], wanted: [u8; 8]) -> usize {
        code.chunks_exact(8).filter(|slot| *slot == wanted).count()
    }

    /// The drop program and NAT's have some; what is replaced is code and nothing else.
    #[test]
    fn every_place_in_this_build_is_filled() {
        let built = super::super::load::object().unwrap();
        let mut offsets = Offsets::NONE;
        for (function, filled) in [(ABSENT, HARMLESS), (4711, instruction(4711))] {
            offsets.cast_call = function;
            let mut object = built.to_vec();
            complete(&mut object, &offsets);
            let (before, after) = (
                object::File::parse(built).unwrap(),
                object::File::parse(object.as_slice()).unwrap(),
            );
            let mut programs = 0;
            for (old, new) in before.sections().zip(after.sections()) {
                let (old_data, new_data) = (old.data().unwrap(), new.data().unwrap());
                if old.kind() != SectionKind::Text {
                    assert_eq!(old_data, new_data, "{:?}", old.name());
                    continue;
                }
                let found = places(old_data, instruction(NOT_YET));
                assert_eq!(
                    places(new_data, filled),
                    places(old_data, filled) + found,
                    "{:?}",
                    old.name()
                );
                programs += usize::from(found > 0);
            }
            assert_eq!(places(&object, instruction(NOT_YET)), 0);
            assert!(programs >= 3, "{programs}");
        }
    }

    #[test]
    fn what_a_kernel_refuses_is_tried_without() {
        let mut offsets = Offsets::NONE;
        (offsets.cast_type, offsets.cast_call) = (1, 2);
        let told = or_without(&offsets, |offsets| {
            match (offsets.cast_type, offsets.cast_call) {
                (ABSENT, ABSENT) => Ok("without"),
                _ => anyhow::bail!("refused"),
            }
        });
        let (loaded, sentence) = told.unwrap();
        assert_eq!(loaded, "without");
        assert!(sentence.is_some_and(|sentence| sentence.ends_with(": refused")));
        let told: Result<((), _)> = or_without(&offsets, |_| anyhow::bail!("this too"));
        assert_eq!(told.unwrap_err().to_string(), "this too");
        assert_eq!(or_without(&offsets, |_| Ok(1)).unwrap(), (1, None));
        let told = or_without(&Offsets::NONE, |_| Ok(2));
        assert_eq!(told.unwrap(), (2, None));
    }
}
