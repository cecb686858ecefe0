//! One folder with everything, for other systems and for images: unpacked anywhere, the program runs where it lies.

use std::{env, path::PathBuf, time::Duration};

use anyhow::Result;

use super::{
    pieces::{Layout, Pieces},
    release::{NAME, Release},
};
use crate::process;

/// Builds it.
pub(super) fn build(release: &Release, pieces: &Pieces) -> Result<PathBuf> {
    let name = format!("{NAME}-{}-{}-linux", release.version, env::consts::ARCH);
    let work = release.scratch("tarball")?;
    pieces.place(Layout::Folder, work.join(&name))?;
    let package = release.folder.join(format!("{name}.tar.xz"));
    let mut tar = release.command("tar", "tar")?;
    tar.arg("--create")
        .arg("--xz")
        .arg("--file")
        .arg(&package)
        .arg("--directory")
        .arg(&work)
        .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
        .arg(format!("--mtime=@{}", release.epoch))
        .arg(&name)
        // One thread, so that the result does not depend on how many there are.
        .env("XZ_OPT", "-9 --threads=1");
    process::quiet(&mut tar, Duration::from_secs(300))?;
    Ok(package)
}
