//! The package for Fedora and what derives from it, and for others with rpm.

use std::{
    collections::BTreeSet,
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    pieces::{Layout, Pieces, template},
    release::{NAME, Release, SUMMARY, write},
};
use crate::{
    process,
    setup::archive::{self, make},
};

/// Folders of /usr/share on every system.
const EVERYWHERE: [&str; 3] = ["doc", "man", "man/man1"];

/// Builds it.
pub(super) fn build(release: &Release, pieces: &Pieces) -> Result<PathBuf> {
    let work = release.scratch("rpm")?;
    let placed = pieces.place(Layout::Fedora, work.join("files"))?;
    let files: Vec<String> = folders(&placed.files)
        .into_iter()
        .map(|folder| format!("%dir \"/{folder}\""))
        .chain(placed.files.iter().map(|file| entry(file)))
        .collect();
    let words = [
        ("VERSION", release.version.as_str()),
        ("SUMMARY", SUMMARY),
        ("FROM", &placed.root.to_string_lossy()),
        ("FILES", &files.join("\n")),
    ];
    let spec = work.join("dockernet-trace.spec");
    write(&spec, template("dist/rpm/dockernet-trace.spec", &words)?)?;
    let mut rpm = release.command("rpmbuild", "rpm")?;
    rpm.arg("-bb")
        .arg("--define")
        .arg(format!("_topdir {}", work.join("top").display()))
        .arg("--define")
        .arg(format!("_rpmdir {}", work.join("out").display()))
        .arg(&spec);
    process::quiet(&mut rpm, Duration::from_secs(600))?;
    let name = format!("{NAME}-{}-1.{}.rpm", release.version, env::consts::ARCH);
    let built = work.join("out").join(env::consts::ARCH).join(&name);
    let package = release.folder.join(name);
    make(&release.folder)?;
    std::fs::copy(&built, &package)
        .with_context(|| format!("rpmbuild made no {}", built.display()))?;
    archive::remove(&work.join("top"))?;
    Ok(package)
}

/// Folders that the package owns, as others may too: they go with the last that does. Not those that every system has.
fn folders(files: &[String]) -> BTreeSet<String> {
    let above = files.iter().flat_map(|file| Path::new(file).ancestors());
    above
        .filter_map(Path::to_str)
        .filter(|path| {
            let below = path.strip_prefix("usr/share/");
            below.is_some_and(|below| !below.is_empty() && !EVERYWHERE.contains(&below))
        })
        .filter(|path| !files.iter().any(|file| file == path))
        .map(str::to_owned)
        .collect()
}

/// A line of `%files`.
fn entry(file: &str) -> String {
    let mark = if file.starts_with("etc/") {
        "%config(noreplace) "
    } else if file.contains("/licenses/") {
        "%license "
    } else if file.contains("/doc/") {
        "%doc "
    } else {
        ""
    };
    format!("{mark}\"/{file}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_its_own() {
        let files = [
            "etc/x.toml",
            "usr/bin/x",
            "usr/share/man/man1/x.1",
            "usr/share/x/y/z",
        ];
        let owned = folders(&files.map(str::to_owned));
        assert_eq!(
            owned.into_iter().collect::<Vec<_>>(),
            ["usr/share/x", "usr/share/x/y"]
        );
    }

    #[test]
    fn what_files_are() {
        assert_eq!(
            entry("etc/x.toml"),
            "%config(noreplace) \"/etc/x.toml\"",
            "an upgrade keeps what the user wrote"
        );
        assert_eq!(entry("usr/bin/x"), "\"/usr/bin/x\"");
        assert_eq!(
            entry("usr/share/licenses/x/MIT"),
            "%license \"/usr/share/licenses/x/MIT\""
        );
    }
}
