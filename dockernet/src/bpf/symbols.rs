//! Kernel addresses to function names, from /proc/kallsyms.

use std::fs;

use anyhow::{Context as _, Result};

/// Text symbols by address.
#[derive(Default)]
pub struct Symbols {
    /// Sorted by address: address, start of its name.
    entries: Vec<(u64, u32)>,
    names: Vec<u8>,
}

impl Symbols {
    /// Reads kallsyms (about 70 ms: on a thread of its own).
    ///
    /// Empty where `kernel.kptr_restrict` or a missing CAP_SYSLOG makes every address zero.
    pub fn read() -> Result<Self> {
        let text = fs::read("/proc/kallsyms").context("reading /proc/kallsyms")?;
        Ok(Self::parse(&text))
    }

    /// Parses lines of `ffffffff81000000 T name [module]`; others are left out.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut symbols = Self::default();
        for line in text.split(|&byte| byte == b'\n') {
            let mut words = line.split(|&byte| byte == b' ' || byte == b'\t');
            let (Some(address), Some(kind), Some(name)) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let (b"t" | b"T" | b"w" | b"W") = kind else {
                continue;
            };
            // Room before a function for a patch (CONFIG_FUNCTION_PADDING_BYTES, 6.2+): every other line, and no code runs there.
            if name.starts_with(b"__pfx_") {
                continue;
            }
            let Some(address) = hex(address).filter(|&address| address != 0) else {
                continue;
            };
            let Ok(start) = u32::try_from(symbols.names.len()) else {
                break;
            };
            symbols.entries.push((address, start));
            symbols.names.extend_from_slice(name);
            symbols.names.push(0);
        }
        // Stable: of several names at one address the first stays first.
        symbols.entries.sort_by_key(|&(address, _)| address);
        symbols.names.shrink_to_fit();
        symbols.entries.shrink_to_fit();
        symbols
    }

    /// Whether addresses were hidden from us.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The function that holds this address, without a compiler's suffix (`.isra.0`, `.constprop.0`, `.cold`).
    #[must_use]
    pub fn name(&self, address: u64) -> Option<&str> {
        let after = self.entries.partition_point(|&(start, _)| start <= address);
        let (start, _) = *self.entries.get(after.checked_sub(1)?)?;
        let first = self.entries.partition_point(|&(other, _)| other < start);
        let (_, name) = *self.entries.get(first)?;
        // Nothing that we look up lies further from its start.
        (address - start < 1 << 20)
            .then(|| self.string(name))
            .flatten()
    }

    /// The address of a function.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<u64> {
        self.entries
            .iter()
            .find_map(|&(address, start)| (self.string(start) == Some(name)).then_some(address))
    }

    /// The addresses of a function, up to the next one.
    #[must_use]
    pub fn range(&self, name: &str) -> Option<std::ops::Range<u64>> {
        let start = self.address(name)?;
        let after = self.entries.partition_point(|&(other, _)| other <= start);
        let (end, _) = *self.entries.get(after)?;
        Some(start..end)
    }

    fn string(&self, start: u32) -> Option<&str> {
        let bytes = self.names.get(start as usize..)?;
        let end = bytes.iter().position(|&byte| byte == 0)?;
        let name = std::str::from_utf8(bytes.get(..end)?).ok()?;
        Some(name.split_once('.').map_or(name, |(name, _)| name))
    }
}

fn hex(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookups() {
        let symbols = Symbols::parse(
            b"ffffffff81000000 T _text\nffffffff810000f0 t __pfx_ip_error.isra.0\nffffffff81000100 t ip_error.isra.0\nffffffff81000100 t alias\n\
              ffffffff81000200 D data\nffffffff81000300 T nft_do_chain [nf_tables]\nrubbish\n",
        );
        assert_eq!(symbols.name(0xffff_ffff_8100_0150), Some("ip_error"));
        assert_eq!(symbols.name(0xffff_ffff_8100_0300), Some("nft_do_chain"));
        assert_eq!(symbols.name(0xffff_ffff_8000_0000), None);
        assert_eq!(symbols.address("__pfx_ip_error"), None);
        assert_eq!(symbols.address("ip_error"), Some(0xffff_ffff_8100_0100));
        assert_eq!(symbols.address("nothing"), None);
        let range = 0xffff_ffff_8100_0100..0xffff_ffff_8100_0300;
        assert_eq!(symbols.range("ip_error"), Some(range));
        assert_eq!(symbols.range("nft_do_chain"), None);
    }

    #[test]
    fn hidden_addresses_are_no_symbols() {
        assert!(
            Symbols::parse(b"0000000000000000 T _text\n0000000000000000 T ip_error\n").is_empty()
        );
    }
}
