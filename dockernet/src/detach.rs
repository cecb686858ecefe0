//! `detach`: removes what an earlier run left on devices and in the ruleset, and says what.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};

use crate::{
    bpf::nat::{self, Leftover},
    cli::{
        Exit,
        options::{Options, Output},
    },
    host::{firewall::OWN_TABLE, netns::NetnsHandle, privileges},
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
        Output::Json => json(&found, &tables, &running),
        Output::Text => text(&found, &tables, &running),
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("writing to standard output")
        }
        _ => Ok(Exit::Done),
    }
}

fn json(found: &[Leftover], tables: &[&str], running: &[u32]) -> String {
    let removed: Vec<serde_json::Value> = found
        .iter()
        .filter(|leftover| leftover.owner.is_none())
        .map(|leftover| {
            serde_json::json!({
                "device": leftover.device,
                "program": leftover.program,
                "qdisc": leftover.qdisc,
            })
        })
        .collect();
    let tables: Vec<String> = tables.iter().map(|family| own_table(family)).collect();
    let line = serde_json::json!({
        "type": "detach", "schema": 1, "removed": removed, "tables": tables, "running": pids(found, running),
    });
    format!("{line}\n")
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
            .parse()
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
