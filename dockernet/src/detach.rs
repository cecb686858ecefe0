//! `detach`: removes what an earlier run left on devices and in the ruleset, and says what.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{
    bpf::nat::{self, Leftover},
    cli::{
        Exit,
        options::{Options, Output},
    },
    host::{firewall::OWN_TABLE, netns::NetnsHandle, privileges},
    report::json_line,
    trace_rules,
};

/// Cleans the host's namespace. Never touches what other people attached, nor a run of ours that goes on.
///
/// # Errors
/// Privileges are missing, the namespace cannot be entered, or the kernel refuses to remove something.
pub fn run(options: &Options) -> Result<Exit> {
    privileges::check()?;
    let netns = match &options.netns {
        Some(path) => NetnsHandle::open(path)
            .with_context(|| format!("opening the network namespace {}", path.display()))?,
        None => NetnsHandle::current().context("opening this process's network namespace")?,
    };
    let found = nat::clean(&netns)?;
    let tables = trace_rules::remove_leftovers(&netns)?;
    let running = nat::running(&netns);
    let text = match options.output {
        Output::Json => json(&found, &tables, &running)?,
        Output::Text => text(&found, &tables, &running),
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("writing to standard output")
        }
        _ => Ok(Exit::Done),
    }
}

/// What `detach` removed.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", rename = "detach")]
struct Line<'a> {
    /// Version of this layout.
    schema: u32,
    /// Filters that a killed run left.
    removed: Vec<Removed<'a>>,
    /// nftables tables that a killed run left: `inet dockernet_trace`.
    tables: Vec<String>,
    /// Processes of this tool that go on, and what is theirs with them.
    running: Vec<u32>,
}

/// A filter that is gone.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Removed<'a> {
    /// Device that it hung on.
    device: &'a str,
    /// Name of its program.
    program: &'a str,
    /// Whether the clsact qdisc that was made for it went too.
    qdisc: bool,
}

#[cfg(test)]
pub(crate) fn schemas(generator: &mut schemars::SchemaGenerator) -> Vec<schemars::Schema> {
    vec![crate::schema::tagged::<Line<'_>>("detach", generator)]
}

fn json(found: &[Leftover], tables: &[&str], running: &[u32]) -> Result<String> {
    json_line(&Line {
        schema: 1,
        removed: found
            .iter()
            .filter(|leftover| leftover.owner.is_none())
            .map(|leftover| Removed {
                device: &leftover.device,
                program: &leftover.program,
                qdisc: leftover.qdisc,
            })
            .collect(),
        tables: tables.iter().map(|family| own_table(family)).collect(),
        running: pids(found, running),
    })
}

fn text(found: &[Leftover], tables: &[&str], running: &[u32]) -> String {
    let mut text = String::new();
    for leftover in found.iter().filter(|leftover| leftover.owner.is_none()) {
        let qdisc = if leftover.qdisc {
            " and the clsact qdisc made for it"
        } else {
            ""
        };
        text.push_str(&format!(
            "{}: removed the filter {}{qdisc}\n",
            leftover.device, leftover.program
        ));
    }
    for family in tables {
        text.push_str(&format!(
            "nftables: removed the table {}\n",
            own_table(family)
        ));
    }
    let pids = pids(found, running);
    if text.is_empty() && pids.is_empty() {
        text.push_str("nothing of ours is attached\n");
    }
    for pid in pids {
        text.push_str(&format!(
            "left alone: dockernet-trace runs as process {pid}; to end it: kill -INT {pid}\n"
        ));
    }
    text
}

/// As `nft` names it.
fn own_table(family: &str) -> String {
    format!("{family} {OWN_TABLE}")
}

/// Processes of ours that go on.
fn pids(found: &[Leftover], running: &[u32]) -> Vec<u32> {
    let mut pids: Vec<u32> = found
        .iter()
        .filter_map(|leftover| leftover.owner)
        .chain(running.iter().copied())
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leftover(owner: Option<u32>) -> Leftover {
        Leftover {
            device: "docker0".into(),
            program: "dockernet_nat".into(),
            qdisc: owner.is_none(),
            owner,
        }
    }

    #[test]
    fn says_what_it_did() {
        assert_eq!(text(&[], &[], &[]), "nothing of ours is attached\n");
        assert_eq!(
            text(&[leftover(None)], &[], &[]),
            "docker0: removed the filter dockernet_nat and the clsact qdisc made for it\n"
        );
        let other = text(&[leftover(Some(7))], &[], &[7]);
        assert_eq!(
            other,
            "left alone: dockernet-trace runs as process 7; to end it: kill -INT 7\n"
        );
        let line: serde_json::Value = json(&[leftover(None)], &["inet"], &[9])
            .ok()
            .and_then(|line| line.parse().ok())
            .unwrap_or_default();
        assert_eq!(line["removed"][0]["device"], "docker0");
        assert_eq!(line["running"][0], 9);
        assert_eq!(line["tables"][0], "inet dockernet_trace");
        assert_eq!(
            text(&[], &["bridge"], &[]),
            "nftables: removed the table bridge dockernet_trace\n"
        );
    }
}
