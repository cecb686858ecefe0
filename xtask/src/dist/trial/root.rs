//! A system in a folder: its programs run there with no other network, processes or mounts than their own.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::super::{libc::SUITE, release::Release};
use crate::{
    process,
    setup::{apt, archive},
};

const LIMIT: Duration = Duration::from_secs(1200);

/// What changes with any package, and what only passes through.
const BOOKS: [&str; 9] = [
    "dev",
    "proc",
    "tmp",
    "root",
    "var/cache",
    "var/lib/dpkg",
    "var/lib/rpm",
    "var/log",
    "var/lib/systemd",
];

/// A system in a folder.
#[derive(Debug)]
pub(super) struct Root {
    folder: PathBuf,
}

impl Root {
    /// Debian's oldest system that the packages are for: made before, or by debootstrap.
    pub(super) fn base(release: &Release) -> Result<Self> {
        let folder = release.work.join(format!("{SUITE}-root"));
        if !folder.is_dir() {
            if process::find("debootstrap").is_none() {
                apt::install(&["debootstrap"], "it makes a system in a folder")?;
            }
            process::step(
                &format!("debootstrap {SUITE}"),
                "a system in a folder, to try the packages in",
            );
            let fresh = release.scratch("root.new")?;
            let (uri, keyring) = archive::main()?;
            let mut debootstrap = process::as_root("debootstrap")?;
            debootstrap
                .args(["--variant=minbase", "--include=systemd,man-db"])
                .arg(format!("--keyring={keyring}"))
                .arg(SUITE)
                .arg(&fresh)
                .arg(uri);
            process::quiet(&mut debootstrap, LIMIT)?;
            fs::rename(&fresh, &folder)
                .with_context(|| format!("{} could not be made", folder.display()))?;
        }
        Ok(Self { folder })
    }

    /// A fresh copy, to be spoilt.
    pub(super) fn copy(&self, release: &Release) -> Result<Self> {
        let folder = release.work.join("trial-root");
        let mut remove = process::as_root("rm")?;
        process::quiet(remove.arg("-rf").arg(&folder), LIMIT)?;
        let mut copy = process::as_root("cp")?;
        copy.args(["--archive", "--reflink=auto"])
            .arg(&self.folder)
            .arg(&folder);
        process::quiet(&mut copy, LIMIT)?;
        Ok(Self { folder })
    }

    /// Its folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts a file into its /root (a boot empties /tmp) and gives its path there.
    pub(super) fn take(&self, file: &Path) -> Result<String> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let bytes =
            fs::read(file).with_context(|| format!("{} could not be read", file.display()))?;
        self.put(&bytes, &format!("root/{name}"))?;
        Ok(format!("/root/{name}"))
    }

    /// Writes a file in it. Its folders belong to root, who may not be us.
    pub(super) fn put(&self, bytes: &[u8], path: &str) -> Result<()> {
        let file = self.folder.join(path);
        let mut tee = process::as_root("tee")?;
        let mut child = tee
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("tee could not be started")?;
        let written = child
            .stdin
            .take()
            .context("tee has no input")?
            .write_all(bytes);
        let status = child.wait().context("waiting for tee")?;
        ensure!(
            written.is_ok() && status.success(),
            "{} could not be written",
            file.display()
        );
        Ok(())
    }

    /// Runs a shell's script in it and gives what it printed. The first command that fails ends it.
    pub(super) fn run(&self, script: &str) -> Result<String> {
        let mut command = apart("chroot")?;
        command
            .arg(&self.folder)
            .args(["/bin/sh", "-euc"])
            .arg(format!("mount -t proc proc /proc; exec 2>&1\n{script}"))
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive");
        let output = command
            .output()
            .with_context(|| format!("a program in {}", self.folder.display()))?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "in {} this failed ({}):\n{script}\n{printed}{}",
            self.folder.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(printed)
    }

    /// Everything in it, but for books that any package changes.
    pub(super) fn files(&self) -> Result<BTreeSet<String>> {
        let mut find = process::as_root("find")?;
        find.current_dir(&self.folder).args([".", "-xdev"]);
        let found = process::output(&mut find)?;
        Ok(found
            .lines()
            .map(|line| line.trim_start_matches("./").to_owned())
            .filter(|path| !BOOKS.iter().any(|book| Path::new(path).starts_with(book)))
            .collect())
    }
}

/// A program with mounts, processes and a network of its own: nothing that it does reaches this machine's.
pub(super) fn apart(program: impl AsRef<OsStr>) -> Result<Command> {
    let mut command = process::as_root("unshare")?;
    command
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--"])
        .arg(program);
    Ok(command)
}

/// Demands that nothing is there that was not there before, and nothing is gone.
pub(super) fn same(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Result<()> {
    let differ: Vec<&str> = before
        .symmetric_difference(after)
        .map(String::as_str)
        .collect();
    ensure!(
        differ.is_empty(),
        "not as before it was installed: {}",
        differ.join(", ")
    );
    Ok(())
}
