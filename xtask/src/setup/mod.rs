//! `setup`: what a machine needs to build the kernel half, and with `--tests` what the lab needs.

pub(crate) mod apt;
mod apt_sources;
pub(crate) mod archive;
pub(crate) mod engines;
mod lab_tools;
mod linker;
mod prometheus;
pub(crate) mod toolchain;
mod trial;

use anyhow::Result;

use crate::process;

/// Everything that is missing; says at the end what there is.
pub(crate) fn verb(tests: bool) -> Result<()> {
    toolchain()?;
    if tests {
        lab(false)?;
    }
    process::note("this machine has what it needs");
    Ok(())
}

/// The toolchain and linker of the kernel half.
pub(crate) fn toolchain() -> Result<()> {
    toolchain::ensure()
}

/// The lab's programs and Docker engines (an old one and a current one, or `every` one): folders that hold a `dockerd`.
pub(crate) fn lab(every: bool) -> Result<Vec<engines::Engine>> {
    lab_tools::install()?;
    prometheus::fetch()?;
    engines::fetch(every)
}
