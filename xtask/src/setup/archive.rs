//! Packages of suites that this machine does not use: apt with a state of its own, at the archive this machine is told
//! to use. Packages are unpacked into a folder, never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{
    apt,
    apt_sources::{self, Source},
};
use crate::process;

const LIMIT: Duration = Duration::from_secs(900);

/// An apt that knows some suites and nothing of this machine.
#[derive(Debug)]
pub(crate) struct Archive {
    options: Vec<String>,
}

impl Archive {
    /// This machine's own apt, with all it knows.
    pub(crate) fn of_machine() -> Self {
        Self {
            options: Vec::new(),
        }
    }

    /// Makes an apt state in the folder `state` which knows `suites` only, such as `sid` or `bookworm-security`, and
    /// reads their package lists. Everything is checked with Debian's keyring.
    ///
    /// # Errors
    /// This is no Debian machine, its sources name no archive, or the archive cannot be read.
    pub(crate) fn open(state: &Path, suites: &[&str]) -> Result<Self> {
        if !apt::is_debian() {
            bail!(
                "Debian's archive is not this machine's, so nothing can be fetched from {}",
                suites.join(", ")
            );
        }
        let archive = Self {
            options: isolated(state, suites)?,
        };
        process::quiet(archive.command("apt-get").arg("update"), LIMIT)
            .with_context(|| format!("the archive's {} could not be read", suites.join(", ")))?;
        Ok(archive)
    }

    /// `apt-get` or another program of apt's, with this state.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }

    /// Downloads `packages` and unpacks them into the new folder `into`; `downloads` is scratch space.
    ///
    /// # Errors
    /// A package is not there, or there is no room.
    pub(crate) fn unpack(&self, packages: &[&str], into: &Path, downloads: &Path) -> Result<()> {
        for folder in [into, downloads] {
            remove(folder)?;
            make(folder)?;
        }
        let mut download = self.command("apt-get");
        download
            .current_dir(downloads)
            // The user apt drops to cannot write into a home folder.
            .args(["-o", "APT::Sandbox::User=root", "download"])
            .args(packages);
        process::quiet(&mut download, LIMIT)
            .with_context(|| format!("apt could not download {}", packages.join(" ")))?;
        let files = fs::read_dir(downloads)
            .with_context(|| format!("{} could not be read", downloads.display()))?;
        for file in files.flatten() {
            let mut extract = Command::new("dpkg-deb");
            extract.arg("--extract").arg(file.path()).arg(into);
            process::quiet(&mut extract, LIMIT)?;
        }
        remove(downloads)
    }
}

/// Options that give apt a state of its own which knows `suites` only.
fn isolated(state: &Path, suites: &[&str]) -> Result<Vec<String>> {
    let sources = apt_sources::of_machine();
    let codename = codename();
    let lines: Result<String> = suites
        .iter()
        .map(|suite| line(&sources, &codename, suite))
        .collect();
    for name in ["lists/partial", "cache/archives/partial"] {
        make(&state.join(name))?;
    }
    let list = write(&state.join("sources.list"), &lines?)?;
    let status = write(&state.join("status"), "")?;
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
        // An update that could not read a suite must fail, not warn.
        "APT::Update::Error-Mode=any".to_owned(),
    ];
    Ok(settings
        .into_iter()
        .flat_map(|setting| ["-o".to_owned(), setting])
        .collect())
}

/// One line of sources.list for `suite`. Security updates have an archive of their own.
fn line(sources: &[Source], codename: &str, suite: &str) -> Result<String> {
    let main = apt_sources::archive(sources, codename).with_context(|| {
        format!("apt's sources have no archive of {codename}, so it is unknown where {suite} is")
    })?;
    let uri = if suite.ends_with("-security") {
        apt_sources::security(sources)
            .map(|source| source.uri.clone())
            .unwrap_or_else(|| format!("{}-security", main.uri.trim_end_matches('/')))
    } else {
        main.uri.clone()
    };
    let keyring = apt_sources::keyring(main);
    Ok(format!("deb [signed-by={keyring}] {uri} {suite} main\n"))
}

/// Where Debian's main archive is, by this machine's own sources, and the keyring to check it with.
///
/// # Errors
/// They name none.
pub(crate) fn main() -> Result<(String, String)> {
    let sources = apt_sources::of_machine();
    let codename = codename();
    let main = apt_sources::archive(&sources, &codename)
        .with_context(|| format!("apt's sources have no archive of {codename}"))?;
    Ok((main.uri.clone(), apt_sources::keyring(main).to_owned()))
}

fn write(file: &Path, text: &str) -> Result<PathBuf> {
    fs::write(file, text).with_context(|| format!("{} could not be written", file.display()))?;
    Ok(file.to_owned())
}

/// Makes a folder and those above it.
pub(crate) fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{} could not be made", folder.display()))
}

/// Removes a folder with all that is in it, if it is there.
pub(crate) fn remove(folder: &Path) -> Result<()> {
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
