//! Stock Debian kernels: fetched once, kept in the target folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    process,
    setup::{
        apt,
        archive::{self, Archive},
    },
};

/// Where series live: 5.10 in bullseye's security updates, 6.1 in bookworm, 6.12 in trixie, later ones in its backports.
const SUITES: [&str; 6] = [
    "bullseye-security",
    "bookworm",
    "bookworm-security",
    "trixie",
    "trixie-security",
    "trixie-backports",
];

/// The small kernel for virtual machines: it has what servers have, and boots quickly.
const CLOUD: &str = "-cloud-amd64";
/// The one for all machines, which can sleep.
const GENERIC: &str = "-amd64";

/// A kernel with its modules, unpacked.
#[derive(Debug)]
pub(super) struct Kernel {
    /// As asked for, such as `6.1`.
    pub(super) series: String,
    /// As `uname -r` says.
    pub(super) release: String,
    /// The unpacked package.
    pub(super) folder: PathBuf,
}

impl Kernel {
    /// The kernel's image.
    pub(super) fn image(&self) -> PathBuf {
        let boot = self.folder.join(format!("boot/vmlinuz-{}", self.release));
        if boot.is_file() {
            boot
        } else {
            self.modules().join("vmlinuz")
        }
    }

    /// The folder of its modules, with `modules.dep`.
    pub(super) fn modules(&self) -> PathBuf {
        ["usr/lib/modules", "lib/modules"]
            .iter()
            .map(|folder| self.folder.join(folder).join(&self.release))
            .find(|folder| folder.is_dir())
            .unwrap_or_else(|| self.folder.join("lib/modules").join(&self.release))
    }
}

/// The newest kernel of a series such as `6.1` (the one for virtual machines) or `6.1-generic`: the one that was fetched before, else the
/// archive's.
///
/// # Errors
/// The series is none, the archive has none of it, or cannot be read.
pub(super) fn get(series: &str) -> Result<Kernel> {
    check(series)?;
    let place = folder().join(series);
    if !place.join("release").is_file() {
        fetch(series, &place)?;
    }
    let release = fs::read_to_string(place.join("release"))
        .with_context(|| format!("reading {}", place.join("release").display()))?;
    let kernel = Kernel {
        series: series.to_owned(),
        release: release.trim().to_owned(),
        folder: place,
    };
    if !kernel.image().is_file() {
        bail!(
            "{} is not there; remove {} to have the kernel fetched again",
            kernel.image().display(),
            kernel.folder.display()
        );
    }
    Ok(kernel)
}

/// `6.1`, or more exactly `6.1.0-50`.
fn check(series: &str) -> Result<()> {
    let fits = series.starts_with(|first: char| first.is_ascii_digit())
        && series.contains('.')
        && series
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".+-~".contains(c));
    if !fits {
        bail!("{series:?} is no kernel series; write one such as 6.1");
    }
    Ok(())
}

fn folder() -> PathBuf {
    super::folder().join("kernels")
}

fn fetch(series: &str, place: &Path) -> Result<()> {
    process::step(
        &format!("fetching Debian's kernel {series}"),
        "it is booted in a virtual machine, never installed",
    );
    let (wanted, flavour) = match series.strip_suffix("-generic") {
        Some(wanted) => (wanted, GENERIC),
        None => (series, CLOUD),
    };
    let archive = Archive::open(&folder().join("apt"), &SUITES)?;
    let mut search = archive.command("apt-cache");
    let pattern = format!("^linux-image-[0-9].*{flavour}$");
    search.args(["search", "--names-only", &pattern]);
    let found = process::output(&mut search)?;
    let names = found.lines().filter_map(|line| line.split(' ').next());
    let names: Vec<&str> = names.collect();
    let Some(name) = newest(&names, wanted, flavour) else {
        bail!(
            "Debian's archive has no kernel linux-image-{wanted}…{flavour}; it has {}",
            all_series(&names, flavour).join(", ")
        );
    };
    let fresh = folder().join(format!("{series}.new"));
    let release = name.trim_start_matches("linux-image-");
    let told = process::output(archive.command("apt-cache").args(["show", name]))?;
    let packages: Vec<&str> = std::iter::once(name).chain(parts(&told, release)).collect();
    archive.unpack(&packages, &fresh, &folder().join(format!("{series}.deb")))?;
    depmod(&fresh, release)?;
    fs::write(fresh.join("release"), release)
        .with_context(|| format!("writing to {}", fresh.display()))?;
    archive::remove(place)?;
    fs::rename(&fresh, place).with_context(|| format!("{} could not be made", place.display()))
}

/// The packages that hold what a kernel's own does not: from 7.2 or so Debian has its image and its modules apart.
fn parts<'a>(told: &'a str, release: &str) -> Vec<&'a str> {
    let lines = told
        .lines()
        .filter_map(|line| line.strip_prefix("Depends:"));
    let words = lines.flat_map(|line| line.split([' ', ',', '|']));
    words
        .filter(|word| {
            ["linux-binary-", "linux-modules-"]
                .iter()
                .any(|start| word.strip_prefix(start) == Some(release))
        })
        .collect()
}

/// Makes `modules.dep`, which packages make only when they are installed.
fn depmod(root: &Path, release: &str) -> Result<()> {
    if process::find("depmod").is_none() {
        apt::install(&["kmod"], "it finds what a kernel module needs")?;
    }
    let depmod = process::find("depmod").context("depmod is missing")?;
    // Newer packages have no /lib of their own, and older depmods look nowhere else.
    let lib = root.join("lib");
    if !lib.exists() {
        std::os::unix::fs::symlink("usr/lib", &lib)
            .with_context(|| format!("{} could not be made", lib.display()))?;
    }
    let mut command = Command::new(depmod);
    command.arg("--basedir").arg(root).arg(release);
    process::quiet(&mut command, Duration::from_secs(120))
}

/// The newest package of `series` among `names`.
fn newest<'a>(names: &[&'a str], series: &str, flavour: &str) -> Option<&'a str> {
    let of_series = names.iter().filter(|name| {
        version(name, flavour).is_some_and(|version| {
            version
                .strip_prefix(series)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '+']))
        })
    });
    of_series.max_by_key(|name| numbers(name)).copied()
}

/// The version of a package that holds a kernel: `6.1.0-50` of `linux-image-6.1.0-50-cloud-amd64`. The ones that follow
/// the newest (`linux-image-6.1-cloud-amd64`) and unsigned ones hold none.
fn version<'a>(name: &'a str, flavour: &str) -> Option<&'a str> {
    let version = name.strip_prefix("linux-image-")?.strip_suffix(flavour)?;
    // Else another flavour's word is between.
    let is_whole = version.ends_with(|last: char| last.is_ascii_digit());
    (is_whole && version.matches('.').count() >= 2).then_some(version)
}

fn all_series(names: &[&str], flavour: &str) -> Vec<String> {
    let mut series: Vec<(Vec<u64>, String)> = names
        .iter()
        .filter_map(|name| {
            let mut parts = version(name, flavour)?.split('.');
            let series = format!("{}.{}", parts.next()?, parts.next()?);
            Some((numbers(&series), series))
        })
        .collect();
    series.sort();
    series.dedup();
    series.into_iter().map(|(_, name)| name).collect()
}

/// All numbers in a version, to compare by.
pub(crate) fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 11] = [
        "linux-image-5.10.0-9-cloud-amd64",
        "linux-image-5.10.0-46-cloud-amd64",
        "linux-image-5.10.0-46-cloud-amd64-unsigned",
        "linux-image-6.1-cloud-amd64",
        "linux-image-6.1.0-0.deb11.52-cloud-amd64",
        "linux-image-6.1.0-56-cloud-amd64",
        "linux-image-6.12.9+deb13-cloud-amd64",
        "linux-image-6.12.117+deb13-cloud-amd64",
        "linux-image-6.12.118+deb13-amd64",
        "linux-image-6.12.119+deb13-rt-amd64",
        "linux-image-cloud-amd64",
    ];

    #[test]
    fn the_newest_of_a_series() {
        let newest = |series| newest(&NAMES, series, CLOUD);
        assert_eq!(newest("5.10"), Some("linux-image-5.10.0-46-cloud-amd64"));
        assert_eq!(newest("6.1"), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(
            newest("6.12"),
            Some("linux-image-6.12.117+deb13-cloud-amd64")
        );
        assert_eq!(newest("5.10.0-9"), Some("linux-image-5.10.0-9-cloud-amd64"));
        assert_eq!(newest("6.2"), None);
        assert_eq!(all_series(&NAMES, CLOUD), ["5.10", "6.1", "6.12"]);
        assert_eq!(
            super::newest(&NAMES, "6.12", GENERIC),
            Some("linux-image-6.12.118+deb13-amd64")
        );
        assert_eq!(all_series(&NAMES, GENERIC), ["6.12"]);
    }

    #[test]
    fn a_kernel_in_parts() {
        let told = "Package: linux-image-7.2.1-cloud-amd64\nDepends: kmod, linux-base-7.2.1-cloud-amd64 (= 7), \
                    linux-binary-7.2.1-cloud-amd64 (= 7), linux-modules-7.2.1-cloud-amd64 (= 7) | x\n";
        assert_eq!(
            parts(told, "7.2.1-cloud-amd64"),
            [
                "linux-binary-7.2.1-cloud-amd64",
                "linux-modules-7.2.1-cloud-amd64"
            ]
        );
        assert!(parts(told, "7.2.2-cloud-amd64").is_empty());
    }

    #[test]
    fn what_is_no_series() {
        for text in ["", "6", "../6.1", "6.1;", "six.one"] {
            assert!(check(text).is_err(), "{text}");
        }
        assert!(check("6.1").is_ok() && check("6.12.9+deb13").is_ok());
    }
}
