//! Takes debugging information out of the kernel half: it is three quarters of the object, and neither aya nor the kernel reads it. BTF
//! with its line numbers stays, which is what the verifier's words refer to.
//!
//! Sections keep their numbers, so that nothing that refers to them changes; those of DWARF become empty.

use anyhow::{Context as _, Result, ensure};

/// Layout of the ELF64 file header (elf(5)): offset of the section table, its entries' size and number, index of the names.
const SHOFF: usize = 40;
const SHENTSIZE: usize = 58;
const SHNUM: usize = 60;
const SHSTRNDX: usize = 62;
/// Layout of a section's header.
const NAME: usize = 0;
const TYPE: usize = 4;
const OFFSET: usize = 24;
const SIZE: usize = 32;
const ALIGN: usize = 48;
/// Sections without content in the file.
const SHT_NULL: u32 = 0;
const SHT_NOBITS: u32 = 8;

/// A copy of a little- or big-endian relocatable object without DWARF.
pub(crate) fn stripped(object: &[u8]) -> Result<Vec<u8>> {
    ensure!(
        object.get(..5) == Some(b"\x7fELF\x02"),
        "the kernel half is no 64-bit ELF object"
    );
    let file = File {
        big: object.get(5) == Some(&2),
    };
    let table = usize::try_from(file.number(object, SHOFF, 8)?)?;
    let entry = usize::try_from(file.number(object, SHENTSIZE, 2)?)?;
    let count = usize::try_from(file.number(object, SHNUM, 2)?)?;
    let names = usize::try_from(file.number(object, SHSTRNDX, 2)?)?;
    ensure!(entry == 64, "section headers of {entry} bytes");
    let mut headers = slice(object, table, entry * count)?.to_vec();
    let names = file.content(slice(&headers, names * entry, entry)?, object)?;

    let mut out = slice(object, 0, 64)?.to_vec();
    for header in headers.chunks_exact_mut(entry) {
        let kind = file.number(header, TYPE, 4)? as u32;
        if kind == SHT_NULL {
            continue;
        }
        let name = usize::try_from(file.number(header, NAME, 4)?)?;
        let name = names.get(name..).unwrap_or_default();
        if name.starts_with(b".debug_") || name.starts_with(b".rel.debug_") {
            file.put(header, TYPE, u64::from(SHT_NULL), 4)?;
            file.put(header, SIZE, 0, 8)?;
            file.put(header, OFFSET, 0, 8)?;
            continue;
        }
        let content = if kind == SHT_NOBITS {
            &[]
        } else {
            file.content(header, object)?
        };
        let align = usize::try_from(file.number(header, ALIGN, 8)?)?.clamp(1, 4096);
        out.resize(out.len().next_multiple_of(align), 0);
        file.put(header, OFFSET, out.len() as u64, 8)?;
        out.extend_from_slice(content);
    }
    out.resize(out.len().next_multiple_of(8), 0);
    let table = out.len() as u64;
    file.put(&mut out, SHOFF, table, 8)?;
    out.extend_from_slice(&headers);
    Ok(out)
}

/// How numbers are written.
#[derive(Clone, Copy)]
struct File {
    big: bool,
}

impl File {
    fn number(self, bytes: &[u8], at: usize, length: usize) -> Result<u64> {
        let bytes = slice(bytes, at, length)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Ok(if self.big {
            bytes.iter().fold(0, add)
        } else {
            bytes.iter().rev().fold(0, add)
        })
    }

    fn put(self, bytes: &mut [u8], at: usize, value: u64, length: usize) -> Result<()> {
        let place = bytes
            .get_mut(at..at + length)
            .context("the kernel half is cut short")?;
        for (index, byte) in place.iter_mut().enumerate() {
            let index = if self.big { length - 1 - index } else { index };
            *byte = (value >> (8 * index)) as u8;
        }
        Ok(())
    }

    /// A section's content.
    fn content<'o>(self, header: &[u8], object: &'o [u8]) -> Result<&'o [u8]> {
        let offset = usize::try_from(self.number(header, OFFSET, 8)?)?;
        let size = usize::try_from(self.number(header, SIZE, 8)?)?;
        slice(object, offset, size)
    }
}

fn slice(bytes: &[u8], at: usize, length: usize) -> Result<&[u8]> {
    at.checked_add(length)
        .and_then(|end| bytes.get(at..end))
        .context("the kernel half is cut short")
}
