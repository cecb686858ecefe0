//! The classic tracepoint's format file: where its fields are, and the reasons' names on kernels whose BTF lacks them.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

/// What `events/skb/kfree_skb/format` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFormat {
    fields: Vec<(String, u32)>,
    symbols: Vec<(u32, String)>,
}

/// Where tracefs may be mounted.
const MOUNTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

impl EventFormat {
    /// Reads the format of an event, e.g. `skb/kfree_skb`.
    pub fn read(event: &str) -> Result<Self> {
        let path = MOUNTS
            .iter()
            .map(|mount| Path::new(mount).join("events").join(event).join("format"))
            .find(|path| path.exists())
            .with_context(|| {
                format!(
                    "no {event} event under {}: tracefs is not mounted here; \
                     try: mount -t tracefs tracefs /sys/kernel/tracing",
                    MOUNTS.join(" or ")
                )
            })?;
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(Self::parse(&text))
    }

    /// Parses a format file. What is not understood is left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let fields = text.lines().filter_map(field).collect();
        let symbols = text
            .lines()
            .find(|line| line.starts_with("print fmt:"))
            .map(symbols)
            .unwrap_or_default();
        Self { fields, symbols }
    }

    /// Byte offset of a field in the event.
    #[must_use]
    pub fn offset(&self, name: &str) -> Option<u32> {
        self.fields
            .iter()
            .find_map(|(field, offset)| (field == name).then_some(*offset))
    }

    /// Numbers and names of `__print_symbolic`.
    #[must_use]
    pub fn symbols(&self) -> &[(u32, String)] {
        &self.symbols
    }
}

/// `field:void * skbaddr;  offset:8;  size:8;  signed:0;` with tabs between.
fn field(line: &str) -> Option<(String, u32)> {
    let mut parts = line.trim().strip_prefix("field:")?.split(';');
    let name = parts.next()?.rsplit([' ', '*']).next()?.split('[').next()?;
    let offset = parts.find_map(|part| part.trim().strip_prefix("offset:"))?;
    Some((name.to_owned(), offset.parse().ok()?))
}

/// `{ 2, "NOT_SPECIFIED" }, { 3, "NO_SOCKET" }`
fn symbols(line: &str) -> Vec<(u32, String)> {
    line.split('{')
        .skip(1)
        .filter_map(|part| {
            let (number, rest) = part.split_once(',')?;
            let name = rest.split('"').nth(1)?;
            Some((number.trim().parse().ok()?, name.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_symbols() {
        let format = EventFormat::parse(
            "name: kfree_skb\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
             \tfield:void * skbaddr;\toffset:8;\tsize:8;\tsigned:0;\n\
             \tfield:enum skb_drop_reason reason;\toffset:28;\tsize:4;\tsigned:0;\n\n\
             print fmt: \"%p %s\", REC->skbaddr, __print_symbolic(REC->reason, { 2, \"NOT_SPECIFIED\" }, { 3, \"NO_SOCKET\" })\n",
        );
        assert_eq!(format.offset("skbaddr"), Some(8));
        assert_eq!(format.offset("reason"), Some(28));
        assert_eq!(format.offset("rx_sk"), None);
        assert_eq!(
            format.symbols(),
            [(2, "NOT_SPECIFIED".to_owned()), (3, "NO_SOCKET".to_owned())]
        );
    }
}
