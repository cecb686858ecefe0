//! `bench`: the lab's benchmarks, of the program as it is packed; results go to docs/benchmarks.md.

use anyhow::Result;

use crate::{process, setup::apt, test};

/// What people look at drops with otherwise: program and the Debian package that has it.
const PEERS: [(&str, &str); 2] = [("bpftrace", "bpftrace"), ("perf", "linux-perf")];

/// Builds everything, then runs the named benchmarks (all, if none) with root's rights.
pub(crate) fn verb(names: &[String]) -> Result<()> {
    let missing: Vec<&str> = PEERS
        .iter()
        .filter(|(program, _)| process::find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    // Elsewhere than on Debian their rows say that they did not run.
    if !missing.is_empty() && apt::is_here() {
        apt::install(&missing, "the storm is measured beside them too")?;
    }
    test::lab_program("bench", names)
}
