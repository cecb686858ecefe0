//! Docker engines for the lab: this machine's own, or its distribution's; and those of other suites of Debian.
//!
//! A package is unpacked into the target folder, never installed: an installed docker.io would start a daemon
//! and change this machine's firewall.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{
    apt,
    archive::{self, Archive},
};
use crate::{process, project};

/// One engine the lab can start.
#[derive(Debug)]
pub(crate) struct Engine {
    /// `machine`, `debian`, or the suite it is from.
    pub(crate) name: &'static str,
    /// The folder that holds its `dockerd`.
    pub(crate) bin: PathBuf,
}

/// The engine of this machine and a current one; with `between` also one from between the two. Without the others the
/// lab still works, so outside of continuous integration that is only told.
pub(crate) fn fetch(between: bool) -> Result<Vec<Engine>> {
    let mut engines = vec![own()?];
    let suites: &[&str] = if between {
        &["trixie", "sid"]
    } else {
        &["sid"]
    };
    for &suite in suites {
        match of_suite(suite) {
            Ok(engine) => engines.push(engine),
            Err(error) if project::is_ci() => {
                return Err(error.context(format!("no Docker engine of {suite} to test with")));
            }
            Err(error) => process::note(&format!(
                "tests run without the Docker engine of {suite}: {error:#}"
            )),
        }
    }
    Ok(engines)
}

/// Folders that go into `PATH` after the machine's own, for containerd and runc of an unpacked engine.
pub(crate) fn extra_path() -> Vec<PathBuf> {
    let folder = folder("debian");
    ["usr/sbin", "usr/bin"]
        .iter()
        .map(|bin| folder.join(bin))
        .filter(|bin| bin.is_dir())
        .collect()
}

/// The engines as the lab takes them: `name=folder:name=folder`, the folder being the one that an engine was unpacked
/// into, and none for the machine's own.
pub(crate) fn list(engines: &[Engine]) -> OsString {
    let mut list = OsString::new();
    for engine in engines {
        if !list.is_empty() {
            list.push(":");
        }
        list.push(engine.name);
        list.push("=");
        if is_unpacked(&engine.bin) {
            list.push(folder(engine.name));
        }
    }
    list
}

/// Whether a folder of programs is one that an engine was unpacked into.
pub(crate) fn is_unpacked(bin: &Path) -> bool {
    bin.starts_with(project::target().join("engines"))
}

/// The engine that is installed, else the distribution's, unpacked.
fn own() -> Result<Engine> {
    if let Some(dockerd) = process::find("dockerd") {
        let bin = dockerd.parent().map(Path::to_owned).unwrap_or_default();
        return Ok(Engine {
            name: "machine",
            bin,
        });
    }
    let bin = folder("debian").join("usr/sbin");
    if !bin.join("dockerd").is_file() {
        // The libraries dockerd and containerd link against; they start nothing.
        apt::install(
            &["libdevmapper1.02.1", "libsystemd0", "libseccomp2"],
            "the lab's Docker engine needs these libraries",
        )?;
        process::step(
            "unpacking docker.io, containerd and runc",
            "the lab starts its own dockerd",
        );
        unpack(
            &Archive::of_machine(),
            &["docker.io", "containerd", "runc"],
            "debian",
        )?;
    }
    Ok(Engine {
        name: "debian",
        bin,
    })
}

/// docker.io of a suite of Debian, checked with Debian's keyring.
fn of_suite(suite: &'static str) -> Result<Engine> {
    let bin = folder(suite).join("usr/sbin");
    if !bin.join("dockerd").is_file() {
        process::step(
            &format!("fetching docker.io from Debian {suite}"),
            "tests run against engines of several years",
        );
        let archive = Archive::open(&folder("apt"), &[suite])?;
        unpack(&archive, &["docker.io"], suite)?;
    }
    Ok(Engine { name: suite, bin })
}

/// Downloads `packages` and unpacks them into the engine folder `name`, which appears only when complete.
fn unpack(archive: &Archive, packages: &[&str], name: &str) -> Result<()> {
    let fresh = folder(&format!("{name}.new"));
    archive.unpack(packages, &fresh, &folder(&format!("{name}.deb")))?;
    if !fresh.join("usr/sbin/dockerd").is_file() {
        bail!("docker.io of {name} was unpacked, but it holds no usr/sbin/dockerd");
    }
    let place = folder(name);
    archive::remove(&place)?;
    fs::rename(&fresh, &place).with_context(|| format!("{} could not be made", place.display()))
}

fn folder(name: &str) -> PathBuf {
    project::target().join("engines").join(name)
}
