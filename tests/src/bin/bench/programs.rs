//! What BPF programs cost by the kernel's own statistics.

use anyhow::Result;
use dockernet_tests::{Cmd, foreign::program_id};
use serde_json::Value;

/// Time and runs of some programs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub nanoseconds: f64,
    pub runs: f64,
}

impl Spent {
    /// Nanoseconds per run between two looks.
    pub(crate) fn per_run(before: Self, after: Self) -> f64 {
        (after.nanoseconds - before.nanoseconds) / (after.runs - before.runs).max(1.0)
    }
}

/// Every program that a process holds, by itself or by a link.
pub(crate) fn of_process(pid: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let text = std::fs::read_to_string(entry?.path()).unwrap_or_default();
        found.extend(program_id(&text));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// What these have cost so far (while statistics are on).
pub(crate) fn spent(programs: &[u32]) -> Result<Spent> {
    let mut sum = Spent::default();
    for id in programs {
        let text = Cmd::new("bpftool")
            .args(["-j", "prog", "show", "id", &id.to_string()])
            .run()?;
        let value: Value = serde_json::from_str(&text)?;
        // What has not run yet has none.
        let number = |key: &str| value[key].as_f64().unwrap_or(0.0);
        sum.nanoseconds += number("run_time_ns");
        sum.runs += number("run_cnt");
    }
    Ok(sum)
}
