//! A reader of the few things in the kernel's BTF that offsets and names are resolved from.
//!
//! aya-obj keeps its type graph private and `btf-rs` is LGPL and five times slower, hence these kinds and no more.
//! Format: Documentation/bpf/btf.rst. Any bytes are safe to read: what does not fit is an error or absent.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context as _, Result, bail, ensure};

const MAGIC: u16 = 0xeb9f;
const KIND_PTR: u8 = 2;
const KIND_ARRAY: u8 = 3;
const KIND_STRUCT: u8 = 4;
const KIND_UNION: u8 = 5;
const KIND_ENUM: u8 = 6;
const KIND_TYPEDEF: u8 = 8;
const KIND_RESTRICT: u8 = 11;
const KIND_FUNC: u8 = 12;
const KIND_FUNC_PROTO: u8 = 13;
const KIND_TYPE_TAG: u8 = 18;
const KIND_ENUM64: u8 = 19;
/// Modifiers and anonymous members nest only so deep.
const MAX_DEPTH: usize = 16;
/// Members that one look-up sees at most: the kernel's largest structures have some hundred.
const MAX_MEMBERS: u32 = 10_000;

/// Type information of the kernel or of one module.
pub struct Btf {
    data: Vec<u8>,
    strings: std::ops::Range<usize>,
    /// Position in `data` of every type, the first being `first_id`.
    types: Vec<u32>,
    first_id: u32,
    first_string: u32,
    base: Option<Arc<Btf>>,
}

/// A struct member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Offset in bits from the start of the outermost struct.
    pub bit_offset: u32,
    /// Width in bits if it is a bit field, else 0.
    pub bits: u8,
}

struct Type<'a> {
    /// Where it was read: a module's type lives in other bytes than its base's.
    data: &'a [u8],
    name: u32,
    kind: u8,
    kind_flag: bool,
    len: u32,
    size_or_type: u32,
    /// Where the kind's own data begins.
    at: usize,
}

impl Btf {
    /// The running kernel's.
    pub fn vmlinux() -> Result<Self> {
        Self::read(Path::new("/sys/kernel/btf/vmlinux"), None).context(
            "this kernel has no type information (BTF) at /sys/kernel/btf/vmlinux; \
             it needs CONFIG_DEBUG_INFO_BTF=y, as the kernels of Debian 11+, Ubuntu 20.10+, RHEL 8.2+ and Fedora 31+ have",
        )
    }

    /// A loaded module's, which builds upon the kernel's (split BTF, 5.11+).
    pub fn module(name: &str, base: &Arc<Self>) -> Result<Self> {
        Self::read(&Path::new("/sys/kernel/btf").join(name), Some(base))
    }

    fn read(path: &Path, base: Option<&Arc<Self>>) -> Result<Self> {
        let data = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(data, base.cloned()).with_context(|| format!("parsing {}", path.display()))
    }

    /// Indexes raw BTF.
    pub fn parse(data: Vec<u8>, base: Option<Arc<Self>>) -> Result<Self> {
        ensure!(
            u16_at(&data, 0) == Some(MAGIC),
            "not BTF of this machine's byte order"
        );
        let word = |at| u32_at(&data, at).context("header cut short");
        let header = word(4)?;
        let section = |offset: u32, length: u32| {
            let start = (header as usize).checked_add(offset as usize)?;
            let end = start.checked_add(length as usize)?;
            (end <= data.len()).then_some(start..end)
        };
        let types = section(word(8)?, word(12)?).context("types lie outside the file")?;
        let strings = section(word(16)?, word(20)?).context("strings lie outside the file")?;
        let (first_id, first_string) = base.as_ref().map_or((1, 0), |base| {
            (
                base.next_id(),
                u32::try_from(base.strings.len()).unwrap_or(u32::MAX),
            )
        });
        let mut btf = Self {
            types: Vec::with_capacity(types.len() / 24),
            data,
            strings,
            first_id,
            first_string,
            base,
        };
        let mut at = types.start;
        while at < types.end {
            let Some(this) = btf.type_at(at) else {
                bail!("type cut short at byte {at}")
            };
            let Some(extra) = extra_bytes(&this) else {
                bail!("unknown kind {} at byte {at}", this.kind)
            };
            let next = this.at + extra;
            btf.types.push(u32::try_from(at)?);
            at = next;
        }
        Ok(btf)
    }

    fn next_id(&self) -> u32 {
        self.first_id
            .saturating_add(u32::try_from(self.types.len()).unwrap_or(u32::MAX))
    }

    fn type_at(&self, at: usize) -> Option<Type<'_>> {
        let info = u32_at(&self.data, at + 4)?;
        Some(Type {
            data: &self.data,
            name: u32_at(&self.data, at)?,
            kind: u8::try_from(info >> 24 & 0x1f).ok()?,
            kind_flag: info >> 31 == 1,
            len: info & 0xffff,
            size_or_type: u32_at(&self.data, at + 8)?,
            at: at + 12,
        })
    }

    fn by_id(&self, id: u32) -> Option<Type<'_>> {
        if id < self.first_id {
            return self.base.as_ref()?.by_id(id);
        }
        let at = self.types.get((id - self.first_id) as usize)?;
        self.type_at(*at as usize)
    }

    fn string(&self, offset: u32) -> &[u8] {
        if offset < self.first_string {
            return self.base.as_ref().map_or(&[], |base| base.string(offset));
        }
        let start = self.strings.start + (offset - self.first_string) as usize;
        let bytes = self.data.get(start..self.strings.end).unwrap_or(&[]);
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(0);
        bytes.get(..end).unwrap_or(&[])
    }

    /// The first definition of that kind and name; forward declarations do not count.
    fn find(&self, kinds: &[u8], name: &str) -> Option<Type<'_>> {
        self.by_id(self.id(kinds, name)?)
    }

    /// Its number.
    fn id(&self, kinds: &[u8], name: &str) -> Option<u32> {
        let own = self.types.iter().position(|&at| {
            self.type_at(at as usize).is_some_and(|this| {
                kinds.contains(&this.kind) && self.string(this.name) == name.as_bytes()
            })
        });
        own.and_then(|index| self.first_id.checked_add(u32::try_from(index).ok()?))
            .or_else(|| self.base.as_ref()?.id(kinds, name))
    }

    /// The number of a structure's type, as programs name it to the kernel.
    #[must_use]
    pub fn structure_id(&self, name: &str) -> Option<u32> {
        self.id(&[KIND_STRUCT], name)
    }

    /// The number of a function's.
    #[must_use]
    pub fn function_id(&self, name: &str) -> Option<u32> {
        self.id(&[KIND_FUNC], name)
    }

    /// A member by its dotted path (`nd_net.net`), through anonymous structs and unions.
    #[must_use]
    pub fn field(&self, structure: &str, path: &str) -> Option<Field> {
        let mut owner = self.find(&[KIND_STRUCT], structure)?;
        let mut found = Field {
            bit_offset: 0,
            bits: 0,
        };
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next() {
            let mut left = MAX_MEMBERS;
            let (field, type_id) = self.member(&owner, part, MAX_DEPTH, &mut left)?;
            found.bit_offset = found.bit_offset.checked_add(field.bit_offset)?;
            found.bits = field.bits;
            if parts.peek().is_some() {
                owner = self.resolve(type_id)?;
            }
        }
        Some(found)
    }

    /// A member's byte offset; `None` for bit fields that do not begin at a byte.
    #[must_use]
    pub fn offset(&self, structure: &str, path: &str) -> Option<u32> {
        let field = self.field(structure, path)?;
        (field.bit_offset % 8 == 0).then_some(field.bit_offset / 8)
    }

    /// `left` bounds how many members are looked at: damaged information may hold structures within themselves.
    fn member(
        &self,
        owner: &Type<'_>,
        name: &str,
        depth: usize,
        left: &mut u32,
    ) -> Option<(Field, u32)> {
        if depth == 0 || ![KIND_STRUCT, KIND_UNION].contains(&owner.kind) {
            return None;
        }
        (0..owner.len as usize).find_map(|index| {
            *left = left.checked_sub(1)?;
            let at = owner.at + index * 12;
            let member = self.string(u32_at(owner.data, at)?);
            let type_id = u32_at(owner.data, at + 4)?;
            let raw = u32_at(owner.data, at + 8)?;
            let field = if owner.kind_flag {
                Field {
                    bit_offset: raw & 0xff_ffff,
                    bits: u8::try_from(raw >> 24).ok()?,
                }
            } else {
                Field {
                    bit_offset: raw,
                    bits: 0,
                }
            };
            if member == name.as_bytes() {
                return Some((field, type_id));
            }
            if !member.is_empty() {
                return None;
            }
            let (inner, type_id) = self.member(&self.resolve(type_id)?, name, depth - 1, left)?;
            let bit_offset = field.bit_offset.checked_add(inner.bit_offset)?;
            Some((
                Field {
                    bit_offset,
                    ..inner
                },
                type_id,
            ))
        })
    }

    /// Through typedefs, qualifiers, and arrays to their element.
    fn resolve(&self, mut id: u32) -> Option<Type<'_>> {
        for _ in 0..MAX_DEPTH {
            let this = self.by_id(id)?;
            id = match this.kind {
                KIND_TYPEDEF..=KIND_RESTRICT | KIND_TYPE_TAG => this.size_or_type,
                KIND_ARRAY => u32_at(this.data, this.at)?,
                _ => return Some(this),
            };
        }
        None
    }

    /// Enumerators of an enum.
    #[must_use]
    pub fn enumerators(&self, name: &str) -> Vec<(String, u64)> {
        let Some(this) = self.find(&[KIND_ENUM, KIND_ENUM64], name) else {
            return Vec::new();
        };
        let width = if this.kind == KIND_ENUM { 8 } else { 12 };
        (0..this.len as usize)
            .map_while(|index| {
                let at = this.at + index * width;
                let name =
                    String::from_utf8_lossy(self.string(u32_at(this.data, at)?)).into_owned();
                let low = u64::from(u32_at(this.data, at + 4)?);
                let high = if width == 12 {
                    u64::from(u32_at(this.data, at + 8)?)
                } else {
                    0
                };
                Some((name, high << 32 | low))
            })
            .collect()
    }

    /// Whether the kernel has a function of this name.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        self.find(&[KIND_FUNC], name).is_some()
    }

    /// How many arguments a tracepoint hands to BPF (`btf_trace_NAME`, without its first, private one).
    #[must_use]
    pub fn tracepoint_arguments(&self, name: &str) -> Option<u32> {
        let typedef = self.find(&[KIND_TYPEDEF], &format!("btf_trace_{name}"))?;
        let pointer = self.by_id(typedef.size_or_type)?;
        let proto = self.by_id(pointer.size_or_type)?;
        (pointer.kind == KIND_PTR && proto.kind == KIND_FUNC_PROTO)
            .then(|| proto.len.saturating_sub(1))
    }
}

/// Bytes that follow a type's 12; `None` for a kind that this reader has not heard of.
fn extra_bytes(this: &Type<'_>) -> Option<usize> {
    let len = this.len as usize;
    Some(match this.kind {
        // int, var, decl tag
        1 | 14 | 17 => 4,
        KIND_PTR | 7..=12 | 16 | KIND_TYPE_TAG => 0,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | KIND_ENUM64 | 15 => len * 12,
        KIND_ENUM | KIND_FUNC_PROTO => len * 8,
        _ => return None,
    })
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*data.get(at..)?.first_chunk()?))
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*data.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests;
