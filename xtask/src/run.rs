//! `run`: build, then become the tracer, so that signals reach it and its exit status is ours.

use std::{ffi::OsString, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Error, Result};

use crate::{build, process, project};

/// What the tracer reads of its environment, which sudo would strip.
const KEEP: &str = "--preserve-env=DOCKER_HOST,NO_COLOR,TERM,LANG,LC_ALL,LC_CTYPE,RUST_BACKTRACE";

/// Returns only when the tracer could not be started.
pub(crate) fn verb(args: &[OsString]) -> Result<()> {
    build::verb(true)?;
    let tracer = project::tracer();
    let mut command = if process::is_root() {
        Command::new(&tracer)
    } else {
        let mut sudo = process::sudo()?;
        sudo.arg(KEEP).arg("--").arg(&tracer);
        sudo
    };
    let error = command.args(args).exec();
    Err(Error::new(error).context(format!("{} could not be started", tracer.display())))
}
