//! The package for Debian and what derives from it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};

use super::{
    binary::Binary,
    pieces::{Layout, Pieces, template},
    release::{NAME, Release, SUMMARY, debian_architecture, source, write},
};
use crate::process;

/// What is done when it is installed and removed.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Builds it.
pub(super) fn build(release: &Release, pieces: &Pieces, binary: &Binary) -> Result<PathBuf> {
    let (architecture, _) = debian_architecture()?;
    let placed = pieces.place(Layout::Debian, release.work.join("deb"))?;
    let control = placed.root.join("DEBIAN");
    let doc = placed.root.join("usr/share/doc").join(NAME);
    write(&doc.join("copyright"), source("dist/deb/copyright")?)?;
    let bytes: u64 = placed
        .files
        .iter()
        .filter_map(|file| placed.root.join(file).metadata().ok())
        .map(|meta| meta.len())
        .sum();
    let words = [
        ("VERSION", release.version.as_str()),
        ("ARCHITECTURE", architecture),
        ("GLIBC", &binary.glibc),
        ("KIB", &bytes.div_ceil(1024).to_string()),
        ("SUMMARY", SUMMARY),
    ];
    write(
        &control.join("control"),
        template("dist/deb/control", &words)?,
    )?;
    let configs: String = placed
        .files
        .iter()
        .filter(|file| file.starts_with("etc/"))
        .map(|file| format!("/{file}\n"))
        .collect();
    write(&control.join("conffiles"), configs)?;
    for script in SCRIPTS {
        let file = control.join(script);
        write(&file, source(&format!("dist/deb/{script}"))?)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("{} could not be changed", file.display()))?;
    }
    let package = release
        .folder
        .join(format!("{NAME}_{}_{architecture}.deb", release.version));
    // xz: Debian 11 reads no zstd.
    let mut deb = release.command("dpkg-deb", "dpkg")?;
    deb.args(["--root-owner-group", "-Zxz", "--build"])
        .arg(&placed.root)
        .arg(&package);
    process::quiet(&mut deb, Duration::from_secs(300))?;
    Ok(package)
}
