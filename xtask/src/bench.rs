//! `bench`: the lab's benchmarks, against an optimised build; results go to docs/benchmarks.md.

use anyhow::Result;

use crate::{process, test};

/// Builds everything, then runs the named benchmarks (all, if none) with root's rights.
pub(crate) fn verb(names: &[String]) -> Result<()> {
    let mut cargo = test::lab_cargo()?;
    process::run(
        cargo
            .args([
                "run",
                "--quiet",
                "--locked",
                "--release",
                "--package",
                "dockernet-tests",
                "--bin",
                "bench",
                "--",
            ])
            .args(names),
    )
}
