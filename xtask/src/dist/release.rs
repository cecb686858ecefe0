//! What is packed: which version, as of when, for which machine, into which folder.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{process, project, setup::archive};

/// The program's name, and that of its packages.
pub(crate) const NAME: &str = "dockernet-trace";

/// One line about it, for packages.
pub(super) const SUMMARY: &str =
    "names each dropped packet's container, the cause and the command that mends it";

/// A release of the workspace as it is.
#[derive(Debug, Clone)]
pub(crate) struct Release {
    /// Such as `0.1.0`.
    pub(crate) version: String,
    /// Seconds since 1970 that everything packed is dated to, so that the same commit gives the same bytes.
    pub(super) epoch: u64,
    /// Where packages go.
    pub(crate) folder: PathBuf,
    /// Where they are put together.
    pub(crate) work: PathBuf,
}

impl Release {
    /// `SOURCE_DATE_EPOCH`, else the last commit, says as of when.
    ///
    /// # Errors
    /// There is no folder to be made, or this is neither a git checkout nor dated by the variable.
    pub(crate) fn of_workspace() -> Result<Self> {
        let text = match env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => text,
            Err(_) => {
                let mut git = Command::new("git");
                git.current_dir(project::root())
                    .args(["log", "-1", "--format=%ct"]);
                process::output(&mut git).context("SOURCE_DATE_EPOCH is not set")?
            }
        };
        let epoch = text
            .trim()
            .parse()
            .with_context(|| format!("{text:?} is no number of seconds"))?;
        let release = Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            epoch,
            folder: project::target().join("packages"),
            work: project::target().join("dist-work"),
        };
        archive::make(&release.folder)?;
        archive::make(&release.work)?;
        Ok(release)
    }

    /// The same for packages of another version, to try upgrades.
    pub(super) fn pretending(&self, version: &str) -> Result<Self> {
        let mut other = self.clone();
        version.clone_into(&mut other.version);
        other.folder = self.scratch("pretended")?;
        Ok(other)
    }

    /// An empty folder to put something together in.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.work.join(name);
        archive::remove(&folder)?;
        archive::make(&folder)?;
        Ok(folder)
    }

    /// A program whose output depends on when and where it runs less than usual.
    pub(super) fn command(&self, program: &str, package: &str) -> Result<Command> {
        if process::find(program).is_none() {
            crate::setup::apt::install(&[package], &format!("{program} makes a package"))?;
        }
        let mut command = Command::new(program);
        command
            .env("SOURCE_DATE_EPOCH", self.epoch.to_string())
            .env("LC_ALL", "C")
            .env("TZ", "UTC");
        Ok(command)
    }
}

/// Rust's name of the target: this machine's architecture.
pub(super) fn target() -> Result<&'static str> {
    match env::consts::ARCH {
        "x86_64" => Ok("x86_64-unknown-linux-gnu"),
        "aarch64" => Ok("aarch64-unknown-linux-gnu"),
        other => bail!("packages for {other} have not been thought of"),
    }
}

/// Debian's name of this machine's architecture, and of its folder of libraries.
pub(super) fn debian_architecture() -> Result<(&'static str, &'static str)> {
    match env::consts::ARCH {
        "x86_64" => Ok(("amd64", "x86_64-linux-gnu")),
        "aarch64" => Ok(("arm64", "aarch64-linux-gnu")),
        other => bail!("packages for {other} have not been thought of"),
    }
}

/// Writes a file, with the folders above it.
pub(super) fn write(file: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    if let Some(folder) = file.parent() {
        archive::make(folder)?;
    }
    fs::write(file, content).with_context(|| format!("{} could not be written", file.display()))
}

/// Reads a text file of the workspace.
pub(super) fn source(path: &str) -> Result<String> {
    let file = project::root().join(path);
    fs::read_to_string(&file).with_context(|| format!("{} could not be read", file.display()))
}
