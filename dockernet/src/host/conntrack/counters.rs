//! Counters of a network namespace's connection table.

use std::io;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::host::{inside, netns::NetnsHandle};

/// Counters of the table (`/proc/net/stat/nf_conntrack`), summed over all CPUs, since the namespace was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Flows in the table now.
    pub entries: u64,
    /// Packets that fitted no flow and could not begin one.
    pub invalid: u64,
    /// Flows that were not entered because another one with the same tuple was there.
    pub insert_failed: u64,
    /// Packets dropped: no memory or no room for their flow, or it could not be entered.
    pub drop: u64,
    /// Flows that had to go early to make room.
    pub early_drop: u64,
}

/// The table's counters.
///
/// # Errors
/// The namespace cannot be entered, or the kernel has no such file (no conntrack, or none of its files in /proc).
pub fn counters(netns: &NetnsHandle) -> Result<Counters> {
    let text = netns.run(|| inside::read("/proc/thread-self/net/stat/nf_conntrack"))?;
    let text = match text {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("the kernel shows no conntrack counters (/proc/net/stat/nf_conntrack)")
        }
        other => other.context("reading /proc/net/stat/nf_conntrack")?,
    };
    Ok(parse_counters(&text))
}

/// A line of names, then one of hexadecimal numbers for each CPU.
pub(crate) fn parse_counters(text: &str) -> Counters {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or("").split_whitespace().collect();
    let rows: Vec<Vec<u64>> = lines
        .map(|line| {
            let numbers = line.split_whitespace();
            numbers
                .map(|number| u64::from_str_radix(number, 16).unwrap_or(0))
                .collect()
        })
        .collect();
    let column = |name: &str| {
        let at = names.iter().position(|known| *known == name);
        let values = rows.iter().filter_map(move |row| row.get(at?).copied());
        values.collect::<Vec<_>>()
    };
    let sum = |name: &str| column(name).into_iter().fold(0, u64::saturating_add);
    Counters {
        // The same on every line.
        entries: column("entries").first().copied().unwrap_or(0),
        invalid: sum("invalid"),
        insert_failed: sum("insert_failed"),
        drop: sum("drop"),
        early_drop: sum("early_drop"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name() {
        let text = "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop\n\
                    0000000a 0 0 0 00000003 0 0 0 0 00000010 00000001 00000000\n\
                    0000000a 0 0 0 00000002 0 0 0 0 00000001 00000000 00000005\n";
        let counters = Counters {
            entries: 10,
            invalid: 5,
            insert_failed: 17,
            drop: 1,
            early_drop: 5,
        };
        assert_eq!(parse_counters(text), counters);
        for hostile in ["", "entries", "entries drop\nzz\n", "\n\n"] {
            assert_eq!(parse_counters(hostile), Counters::default());
        }
    }
}
