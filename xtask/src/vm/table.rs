//! `docs/kernels.md`: what each kernel has, and what was run on it.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::outcome::Outcome;
use crate::project;

const HEAD: &str = "# Kernels

Written by `cargo xtask test --kernels 5.10,6.1,…`, which boots each kernel in an emulated machine and runs the quick set of the
lab's tests in it, with a real Docker engine. Rows of kernels that a run does not name stay as they were,
and so do cells where it names single tests (`-- scenarios nat cgroup_v1`).

| kernel | drops | reasons | receiving socket | namespace id | missed drops counted | NAT | scenarios | classic tracepoint | hooks | NAT test | refusals | rule tracing | cgroup v1 | filter | healthy host | steps of the clock | path |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
";

const TAIL: &str = "
- drops: the attach point that the kernel accepted. reasons: how many drop reasons it has (5.17+).
- receiving socket: `kfree_skb` tells it (6.11+). namespace id: `net_cookie` (to be asked for since 5.14), or the inode number.
- missed drops: the kernel counts those that interrupt our program (6.1+). NAT: tcx (6.6+), or clsact.
- scenarios, classic tracepoint (the same, with `DOCKERNET_TIER=tracepoint`), hooks, NAT test, refusals, rule tracing (`--trace-rules`), filter (`--filter` of drops and NAT), healthy host (nothing is told of it), steps of the clock (`monitor`), path (hops, NAT and drops of one flow): tests that passed of those that ran.
- cgroup v1: scenarios with the old hierarchy mounted, before 6.12 (current engines are leaving it).
";

/// The step that runs with the old hierarchy mounted.
pub(super) const CGROUP_V1: &str = "cgroup_v1";

/// The last columns: steps, of which each is run as a whole.
const TESTED: [&str; 11] = [
    "faults",
    "tracepoint",
    "hooks",
    "nat",
    "refusals",
    "trace_rules",
    CGROUP_V1,
    "filter",
    "healthy",
    "clock",
    "path",
];

/// Writes what came out of single steps into the row of just this kernel, if there is one, and keeps everything else.
///
/// # Errors
/// The file cannot be written.
pub(super) fn amend(outcome: &Outcome) -> Result<()> {
    rewrite(|rows| {
        for (_, row) in rows {
            *row = amended(row, outcome);
        }
    })
}

/// The rows of the page by their kernels' first two numbers.
type Rows = Vec<(Vec<u64>, String)>;

fn rewrite(change: impl FnOnce(&mut Rows)) -> Result<()> {
    let file = project::root().join("docs/kernels.md");
    let old = fs::read_to_string(&file).unwrap_or_default();
    let mut rows: Rows = old
        .lines()
        .filter_map(|line| Some((series_of(line)?, padded(line))))
        .collect();
    change(&mut rows);
    rows.sort();
    let body: String = rows.iter().map(|(_, line)| format!("{line}\n")).collect();
    fs::create_dir_all(project::root().join("docs"))
        .and_then(|()| fs::write(&file, format!("{HEAD}{body}{TAIL}")))
        .with_context(|| format!("{} could not be written", file.display()))
}

fn amended(line: &str, outcome: &Outcome) -> String {
    let is_its_row = line
        .strip_prefix("| ")
        .and_then(|line| line.strip_prefix(&outcome.release))
        .is_some_and(|rest| rest.starts_with(" |"));
    if outcome.release.is_empty() || !is_its_row {
        return line.to_owned();
    }
    let mut cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
    // The last is what comes after the last bar.
    let first = cells.len().saturating_sub(TESTED.len() + 1);
    for (cell, step) in cells.iter_mut().skip(first).zip(TESTED) {
        if outcome.step(step).is_some() {
            *cell = tested(outcome, step);
        }
    }
    cells.join(" | ").trim().to_owned()
}

/// Writes the row of an outcome, and keeps the others.
///
/// # Errors
/// The file cannot be written.
pub(super) fn update(outcome: &Outcome) -> Result<()> {
    if outcome.steps.is_empty() {
        return Ok(());
    }
    rewrite(|rows| {
        let line = row(outcome);
        if let Some(series) = series_of(&line) {
            rows.retain(|(other, _)| *other != series);
            rows.push((series, line));
        }
    })
}

/// A row of an older table, which had fewer columns.
fn padded(row: &str) -> String {
    let bars = |line: &str| line.matches('|').count();
    let columns = HEAD
        .lines()
        .find(|line| line.starts_with("|---"))
        .map_or(0, bars);
    let missing = columns.saturating_sub(bars(row));
    format!("{row}{}", " not run |".repeat(missing))
}

/// First two numbers of a row's kernel.
fn series_of(line: &str) -> Option<Vec<u64>> {
    let release = line.strip_prefix("| ")?;
    let numbers: Vec<u64> = release
        .split([' ', '.', '-', '+'])
        .map_while(|word| word.parse().ok())
        .take(2)
        .collect();
    (numbers.len() == 2).then_some(numbers)
}

fn row(outcome: &Outcome) -> String {
    let features = &outcome.doctor["features"];
    let yes = |key: &str| match features[key].as_bool() {
        Some(true) => "yes",
        Some(false) => "–",
        None => "?",
    };
    let program = |prefix: &str| {
        let list = outcome.ready["programs"].as_array();
        let found = list.into_iter().flatten().filter_map(Value::as_str);
        let mut found = found.filter_map(|name| name.strip_prefix(prefix)?.strip_prefix(':'));
        found.next().unwrap_or("–").to_owned()
    };
    let nat = match features["tcx"].as_bool() {
        Some(true) => "tcx",
        Some(false) => "clsact",
        None => "?",
    };
    let mut cells = vec![
        outcome.release.clone(),
        program("kfree_skb"),
        match features["reasons"].as_u64() {
            Some(0) => "–".to_owned(),
            Some(count) => count.to_string(),
            None => "?".to_owned(),
        },
        yes("rx_sk").to_owned(),
        match features["net_cookie"].as_bool() {
            Some(true) => "cookie",
            Some(false) => "inode",
            None => "?",
        }
        .to_owned(),
        yes("recursion_misses").to_owned(),
        nat.to_owned(),
    ];
    cells.extend(TESTED.map(|step| tested(outcome, step)));
    format!("| {} |", cells.join(" | "))
}

fn tested(outcome: &Outcome, step: &str) -> String {
    let Some(step) = outcome.step(step) else {
        return "not run".to_owned();
    };
    let word = if step.status == 0 { "" } else { "FAILED " };
    format!("{word}{}/{}", step.ok, step.ok + step.failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_rows_get_the_new_columns() {
        let bars = |line: &str| line.matches('|').count();
        let old = "| 6.1.0-56-cloud-amd64 | tp_btf |";
        let new = padded(old);
        assert!(
            new.starts_with(old) && new.ends_with("| not run |"),
            "{new}"
        );
        let head = HEAD.lines().find(|line| line.starts_with("|---"));
        assert_eq!(Some(bars(&new)), head.map(bars));
        assert_eq!(padded(&new), new);
    }

    #[test]
    fn single_steps_change_their_cells_in_the_row_of_their_kernel() {
        let step = |name: &str, status, ok| super::super::outcome::Step {
            name: name.to_owned(),
            status,
            ok,
            failed: u32::from(status != 0),
            ..Default::default()
        };
        let outcome = Outcome {
            release: "5.10.0-46".into(),
            steps: vec![
                step("nat", 0, 1),
                step("some faults", 0, 3),
                step(CGROUP_V1, 1, 1),
            ],
            ..Outcome::default()
        };
        let row = "| 5.10.0-46 | tp_btf | – | 9/9 | 1/1 | 1/1 | FAILED 0/1 | 10/10 | 1/1 | not run | 1/1 | 1/1 | 1/1 | 1/1 |";
        let new = "| 5.10.0-46 | tp_btf | – | 9/9 | 1/1 | 1/1 | 1/1 | 10/10 | 1/1 | FAILED 1/2 | 1/1 | 1/1 | 1/1 | 1/1 |";
        assert_eq!(amended(row, &outcome), new);
        for other in ["| 5.10.0-461 | tp_btf | 9/9 |", "|---|---|", "", "text"] {
            assert_eq!(amended(other, &outcome), other);
        }
    }

    #[test]
    fn rows_know_their_kernel() {
        assert_eq!(
            series_of("| 6.12.117+deb13-cloud-amd64 | x |"),
            Some(vec![6, 12])
        );
        assert_eq!(series_of("| 6.1.0-56-cloud-amd64 | x |"), Some(vec![6, 1]));
        assert_eq!(series_of("| kernel | drops |"), None);
        assert_eq!(series_of("|---|"), None);
    }
}
