//! A container's hosts file.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::rooted;

/// One line: an address and its names (hosts(5)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostsEntry {
    /// The address.
    pub address: IpAddr,
    /// What it is called.
    pub names: Vec<String>,
}

/// What a process sees as `/etc/hosts`.
///
/// # Errors
/// The file cannot be read.
pub fn of_process(pid: u32) -> Result<Vec<HostsEntry>> {
    let text = rooted::read_of(pid, "etc/hosts")
        .with_context(|| format!("reading /proc/{pid}/root/etc/hosts"))?;
    Ok(parse(&text))
}

pub(crate) fn parse(text: &str) -> Vec<HostsEntry> {
    text.lines()
        .filter_map(|line| {
            let line = line.split('#').next()?;
            let mut words = line.split_ascii_whitespace();
            Some(HostsEntry {
                address: words.next()?.parse().ok()?,
                names: words.map(str::to_owned).collect(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_comments_and_rubbish() {
        let entries =
            parse("127.0.0.1\tlocalhost\n# 10.0.0.1 no\n172.17.0.2 db 1a2b # link\nxyz q\n\n");
        let told: Vec<String> = entries
            .iter()
            .map(|entry| format!("{} {}", entry.address, entry.names.join(",")))
            .collect();
        assert_eq!(told, ["127.0.0.1 localhost", "172.17.0.2 db,1a2b"]);
    }
}
