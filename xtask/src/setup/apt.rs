//! Debian's package manager.

use std::{fs, sync::Once, time::Duration};

use anyhow::{Context as _, Result, bail};

use crate::process;

const LIMIT: Duration = Duration::from_secs(1200);

/// True on Debian and what derives from it.
pub(crate) fn is_here() -> bool {
    process::find("apt-get").is_some()
}

/// True on Debian itself, where sid's packages can be fetched.
pub(crate) fn is_debian() -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|text| {
        text.lines()
            .any(|line| line == "ID=debian" || line == "ID=\"debian\"")
    })
}

/// Installs `packages`; `why` completes the progress line.
///
/// # Errors
/// When apt-get is not here, refuses, or there are no root rights.
pub(crate) fn install(packages: &[&str], why: &str) -> Result<()> {
    if !is_here() {
        bail!(
            "there is no apt-get here; install by hand what Debian calls: {}",
            packages.join(" ")
        );
    }
    update();
    process::step(&format!("apt-get install {}", packages.join(" ")), why);
    let mut install = as_root()?;
    install
        .args(["install", "--yes", "--no-install-recommends"])
        .args(packages);
    process::quiet(&mut install, LIMIT)
        .with_context(|| format!("apt could not install {}", packages.join(" ")))
}

/// Refreshes the package lists once. Old lists may still do, so a failure is only told.
fn update() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        process::step("apt-get update", "the package lists may be old");
        let done = as_root().and_then(|mut update| process::quiet(update.arg("update"), LIMIT));
        if let Err(error) = done {
            process::note(&format!("{error:#}"));
        }
    });
}

/// `apt-get` as root that never asks, waits for another apt, and restarts no service.
fn as_root() -> Result<std::process::Command> {
    let mut command = process::as_root("env")?;
    command.args([
        "DEBIAN_FRONTEND=noninteractive",
        "NEEDRESTART_SUSPEND=1",
        "apt-get",
        "-o",
        "DPkg::Lock::Timeout=300",
    ]);
    Ok(command)
}

/// True when dpkg has `package` installed.
pub(crate) fn has(package: &str) -> bool {
    let mut query = std::process::Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    process::output(&mut query).is_ok_and(|status| status == "installed")
}
