//! An old C library to link with, so that the program runs on systems older than the machine that builds it.
//!
//! A program asks for the newest version of each symbol that was there when it was linked. Debian 11 is the oldest system whose stock kernel
//! has what the kernel half needs.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::release::{Release, debian_architecture};
use crate::{process, setup::archive::Archive};

/// The release whose C library it is.
pub(super) const SUITE: &str = "bullseye";

/// The C library, its headers and the kernel's, and the unwinder.
const PACKAGES: [&str; 5] = [
    "libc6",
    "libc6-dev",
    "linux-libc-dev",
    "libcrypt1",
    "libgcc-s1",
];

/// Folders with an old C library.
#[derive(Debug)]
pub(super) struct Libc {
    /// What stands in the place of `/`.
    pub(super) root: PathBuf,
    /// The folders of libraries in it.
    pub(super) libraries: [PathBuf; 2],
}

/// The one that was fetched before, else the archive's.
pub(super) fn get(release: &Release) -> Result<Libc> {
    let root = release.work.join("libc");
    let (_, triplet) = debian_architecture()?;
    let libc = Libc {
        libraries: ["usr/lib", "lib"].map(|folder| root.join(folder).join(triplet)),
        root,
    };
    if !libc.root.is_dir() {
        process::step(
            &format!("fetching {SUITE}'s C library"),
            "the program is to run on systems older than this one; it is not installed",
        );
        let archive = Archive::open(&release.work.join("apt"), &[SUITE])?;
        let fresh = release.work.join("libc.new");
        archive.unpack(&PACKAGES, &fresh, &release.work.join("libc.deb"))?;
        for folder in ["usr/lib", "lib"] {
            relocate(&libc.root, &fresh.join(folder).join(triplet))?;
        }
        if fresh.join("lib64").is_dir() {
            relocate(&libc.root, &fresh.join("lib64"))?;
        }
        fs::rename(&fresh, &libc.root)
            .with_context(|| format!("{} could not be made", libc.root.display()))?;
    }
    Ok(libc)
}

/// Links such as `libdl.so -> /lib/…/libdl.so.2` lead to this machine's own: they are made to lead into what will be `root`.
fn relocate(root: &Path, folder: &Path) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("{} could not be read", folder.display()))?;
    for entry in entries.flatten() {
        let link = entry.path();
        let Ok(target) = fs::read_link(&link) else {
            continue;
        };
        let Ok(inside) = target.strip_prefix("/") else {
            continue;
        };
        fs::remove_file(&link)
            .and_then(|()| symlink(root.join(inside), &link))
            .with_context(|| format!("{} could not be changed", link.display()))?;
    }
    Ok(())
}
