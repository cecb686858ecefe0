//! Prometheus and its promtool, for the tests of `monitor`. The package is unpacked into the target folder, never installed: installed
//! it would start a server.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use super::{
    apt,
    archive::{self, Archive},
};
use crate::{process, project};

/// Unpacks it where it is missing. Without it only the tests of `monitor` fail, so outside of continuous integration that is told
/// and no more.
pub(crate) fn fetch() -> Result<()> {
    let is_here = ["prometheus", "promtool"]
        .iter()
        .all(|program| process::find(program).is_some() || bin().join(program).is_file());
    if is_here {
        return Ok(());
    }
    match unpack() {
        Err(error) if !project::is_ci() => {
            process::note(&format!(
                "without Prometheus the tests of `monitor` will fail: {error:#}"
            ));
            Ok(())
        }
        other => other,
    }
}

fn unpack() -> Result<()> {
    if !apt::is_here() {
        anyhow::bail!("there is no apt-get here; put prometheus and promtool into PATH by hand");
    }
    process::step(
        "unpacking prometheus",
        "tests have a real one scrape the monitor",
    );
    let fresh = folder("prometheus.new");
    Archive::of_machine().unpack(&["prometheus"], &fresh, &folder("prometheus.deb"))?;
    let place = folder("prometheus");
    archive::remove(&place)?;
    fs::rename(&fresh, &place).with_context(|| format!("{} could not be made", place.display()))
}

/// Where its programs are.
fn bin() -> PathBuf {
    folder("prometheus").join("usr/bin")
}

fn folder(name: &str) -> PathBuf {
    project::target().join(name)
}
