//! What a test needs, and what to say when it is missing.

use std::{fmt, io::Write, path::Path};

use nix::mount::{MsFlags, mount};

use crate::exec::Cmd;

/// Why a test cannot run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first thing that the lab needs and this machine does not have.
#[must_use]
pub fn missing_requirement() -> Option<Refusal> {
    if !nix::unistd::geteuid().is_root() {
        return Some(Refusal("the lab needs root".into()));
    }
    for (program, package) in [
        ("dockerd", "docker.io"),
        ("docker", "docker.io"),
        ("containerd", "containerd"),
        ("nsenter", "util-linux"),
        ("ip", "iproute2"),
        ("iptables", "iptables"),
        ("nft", "nftables"),
        ("conntrack", "conntrack"),
        ("tar", "tar"),
    ] {
        let found = Cmd::shell(format!("command -v {program}")).output();
        if !found.is_ok_and(|output| output.success()) {
            return Some(Refusal(format!(
                "{program} is not in PATH: `apt-get install {package}`"
            )));
        }
    }
    tracefs().err().map(Refusal)
}

/// Mounts tracefs where the kernel expects it, if nobody has: minimal systems leave that to the first who asks, and the kernel's
/// own account of a drop ([`crate::Evidence`]) and the classic tracepoint are read there.
fn tracefs() -> Result<(), String> {
    const MOUNT: &str = "/sys/kernel/tracing";
    if Path::new(MOUNT).join("events").is_dir() {
        return Ok(());
    }
    mount(
        Some("tracefs"),
        MOUNT,
        Some("tracefs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None::<&str>,
    )
    .map_err(|error| format!("tracefs is not mounted, and mounting it on {MOUNT} failed: {error}"))
}

/// Whether a test that needs the lab can run. Where it cannot, it says so; with `CI` set that is a failure.
///
/// # Errors
/// Something is missing, and `CI` is set.
pub fn can_run() -> anyhow::Result<bool> {
    let Some(missing) = missing_requirement() else {
        return Ok(true);
    };
    if std::env::var_os("CI").is_some() {
        anyhow::bail!("cannot run: {missing}");
    }
    progress(&format!(
        "NOT RUN: {missing} (with CI set this is a failure)"
    ));
    Ok(false)
}

/// Whether the running kernel is of this release or a later one.
///
/// # Errors
/// Its release does not begin with two numbers.
pub fn kernel_since(major: u32, minor: u32) -> anyhow::Result<bool> {
    let uname = nix::sys::utsname::uname()?;
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(second))) => Ok((first, second) >= (major, minor)),
        _ => anyhow::bail!("no kernel release: {release}"),
    }
}

/// A named part of a group.
pub type Part<'a, T> = (&'a str, fn(&mut T) -> anyhow::Result<()>);

/// Runs named parts one after the other, tells each result, and fails if one failed.
///
/// # Errors
/// The names of those that failed.
pub fn group<T: ?Sized>(context: &mut T, parts: &[Part<'_, T>]) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for (name, part) in parts {
        match part(context) {
            Ok(()) => progress(&format!("{name} ... ok")),
            Err(error) => {
                progress(&format!("{name} ... FAILED: {error:#}"));
                failed.push(format!("{name}: {error:#}"));
            }
        }
    }
    anyhow::ensure!(
        failed.is_empty(),
        "{} of {} failed:\n{}",
        failed.len(),
        parts.len(),
        failed.join("\n")
    );
    Ok(())
}

/// One line on standard error about a long step.
pub fn progress(text: &str) {
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr, "  {text}").ok();
}
