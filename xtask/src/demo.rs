//! `demo`: the lab, the fault, the tool naming it, the mend, silence.

use anyhow::Result;

use crate::{process, test};

/// Builds everything, then runs the lab's `demo` binary with root's rights.
pub(crate) fn verb() -> Result<()> {
    let mut cargo = test::lab_cargo(false)?;
    process::run(cargo.args([
        "run",
        "--quiet",
        "--locked",
        "--package",
        "dockernet-tests",
        "--bin",
        "demo",
    ]))
}
