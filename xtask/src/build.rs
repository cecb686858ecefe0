//! `build`: the tracer with its kernel half inside.

use anyhow::Result;

use crate::{process, project, setup};

/// Sets the toolchain up when it is missing, then builds.
pub(crate) fn verb(release: bool) -> Result<()> {
    setup::toolchain()?;
    let mut cargo = project::cargo();
    cargo.args(["build", "--locked", "--package", "dockernet"]);
    if release {
        cargo.arg("--release");
    }
    process::run(&mut cargo)
}
