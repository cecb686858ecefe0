//! Docker engines for the lab: this machine's own, or its distribution's; and the one in Debian sid.
//!
//! A package is unpacked into the target folder, never installed: an installed docker.io would start a daemon
//! and change this machine's firewall.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{apt, apt_sources};
use crate::{process, project};

const LIMIT: Duration = Duration::from_secs(900);

/// One engine the lab can start.
#[derive(Debug)]
pub(crate) struct Engine {
    /// `machine`, `debian` or `sid`.
    pub(crate) name: &'static str,
    /// The folder that holds its `dockerd`.
    pub(crate) bin: PathBuf,
}

/// All engines this machine can have. Without the one in sid the lab still works, so outside of continuous
/// integration that is only told.
pub(crate) fn fetch() -> Result<Vec<Engine>> {
    let mut engines = vec![own()?];
    match sid() {
        Ok(engine) => engines.push(engine),
        Err(error) if project::is_ci() => {
            return Err(error.context("no current Docker engine to test with"));
        }
        Err(error) => process::note(&format!(
            "tests run without a current Docker engine: {error:#}"
        )),
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
        let unpacked = engine.bin.strip_prefix(folder(engine.name)).is_ok();
        if unpacked {
            list.push(folder(engine.name));
        }
    }
    list
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
        unpack(&[], &["docker.io", "containerd", "runc"], "debian")?;
    }
    Ok(Engine {
        name: "debian",
        bin,
    })
}

/// docker.io of Debian sid, checked with Debian's keyring.
fn sid() -> Result<Engine> {
    let bin = folder("sid").join("usr/sbin");
    if !bin.join("dockerd").is_file() {
        if !apt::is_debian() {
            bail!("Debian's archive is not this machine's, so sid's docker.io cannot be fetched");
        }
        let options = isolated()?;
        process::step(
            "fetching docker.io from Debian sid",
            "tests run against a current engine too",
        );
        let mut update = Command::new("apt-get");
        update.args(&options).arg("update");
        process::quiet(&mut update, LIMIT).context("the archive's sid could not be read")?;
        unpack(&options, &["docker.io"], "sid")?;
    }
    Ok(Engine { name: "sid", bin })
}

/// Options that give apt a state of its own which knows sid only, at the archive this machine uses.
fn isolated() -> Result<Vec<String>> {
    let sources = apt_sources::of_machine();
    let codename = codename();
    let source = apt_sources::archive(&sources, &codename).with_context(|| {
        format!("apt's sources have no archive of {codename}, so it is unknown where sid is")
    })?;
    let state = folder("apt");
    for name in ["lists/partial", "cache/archives/partial"] {
        make(&state.join(name))?;
    }
    let list = state.join("sid.list");
    let line = format!(
        "deb [signed-by={}] {} sid main\n",
        apt_sources::keyring(source),
        source.uri
    );
    fs::write(&list, line).with_context(|| format!("{} could not be written", list.display()))?;
    let status = state.join("status");
    fs::write(&status, "").with_context(|| format!("{} could not be written", status.display()))?;
    let settings = [
        format!("Dir::Etc::SourceList={}", list.display()),
        "Dir::Etc::SourceParts=-".to_owned(),
        "Dir::Etc::Preferences=-".to_owned(),
        "Dir::Etc::PreferencesParts=-".to_owned(),
        format!("Dir::State={}", state.display()),
        format!("Dir::State::Lists={}", state.join("lists").display()),
        format!("Dir::State::Status={}", status.display()),
        format!("Dir::Cache={}", state.join("cache").display()),
        "Acquire::Languages=none".to_owned(),
        // An update that could not read sid must fail, not warn.
        "APT::Update::Error-Mode=any".to_owned(),
    ];
    Ok(settings
        .into_iter()
        .flat_map(|setting| ["-o".to_owned(), setting])
        .collect())
}

/// Downloads `packages` and unpacks them into the engine folder `name`, which appears only when complete.
fn unpack(options: &[String], packages: &[&str], name: &str) -> Result<()> {
    let fresh = folder(&format!("{name}.new"));
    let downloads = folder(&format!("{name}.deb"));
    for folder in [&fresh, &downloads] {
        remove(folder)?;
        make(folder)?;
    }
    let mut download = Command::new("apt-get");
    download
        .current_dir(&downloads)
        .args(options)
        // The user apt drops to cannot write into a home folder.
        .args(["-o", "APT::Sandbox::User=root", "download"])
        .args(packages);
    process::quiet(&mut download, LIMIT)
        .with_context(|| format!("apt could not download {}", packages.join(" ")))?;
    let files = fs::read_dir(&downloads)
        .with_context(|| format!("{} could not be read", downloads.display()))?;
    for file in files.flatten() {
        let mut extract = Command::new("dpkg-deb");
        extract.arg("--extract").arg(file.path()).arg(&fresh);
        process::quiet(&mut extract, LIMIT)?;
    }
    if !fresh.join("usr/sbin/dockerd").is_file() {
        bail!("docker.io of {name} was unpacked, but it holds no usr/sbin/dockerd");
    }
    let place = folder(name);
    remove(&place)?;
    fs::rename(&fresh, &place).with_context(|| format!("{} could not be made", place.display()))?;
    remove(&downloads)
}

fn folder(name: &str) -> PathBuf {
    project::target().join("engines").join(name)
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{} could not be made", folder.display()))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} could not be removed", folder.display()))
        }
        _ => Ok(()),
    }
}

/// The release's code name, such as `bookworm`.
fn codename() -> String {
    fs::read_to_string("/etc/os-release")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .unwrap_or("stable")
        .trim_matches('"')
        .to_owned()
}
