//! The life of the .rpm. There is no system with rpm here, so the package gets a database of its own in a system without.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Result, ensure};

use super::root::{self, Root};
use crate::process;

/// Beginnings of what it may require: the C library, and what rpm itself provides.
const REQUIRES: [&str; 9] = [
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "libgcc_s.so.1",
    "ld-linux",
    "rtld(",
    "rpmlib(",
    "config(dockernet-trace)",
];

const INSTALLED: &str = r#"
test -f /usr/lib/systemd/system/dockernet-trace.service
test -f /usr/share/licenses/dockernet-trace/LICENSE-MIT
test -f /usr/share/zsh/site-functions/_dockernet-trace
man --where dockernet-trace | grep -q /man1/
dockernet-trace monitor --check-config
test -z "$(find /etc/systemd -name '*dockernet*')"
"#;

const USED: &str = r#"
printf 'listen = "127.0.0.1:9999"\n' >> /etc/dockernet-trace.toml
mkdir -p /var/lib/dockernet-trace
echo '{}' > /var/lib/dockernet-trace/counters.json
"#;

const KEPT: &str = r#"
grep -q '127.0.0.1:9999' /etc/dockernet-trace.toml
test -f /var/lib/dockernet-trace/counters.json
"#;

/// `package` is of `version`, `newer` of a later one.
pub(super) fn run(root: &Root, version: &str, package: &Path, newer: &Path) -> Result<()> {
    requires(package)?;
    rpm(root, &["--initdb"], None)?;
    let before = root.files()?;

    rpm(root, &["--install"], Some(package))?;
    let told = root.run("dockernet-trace --version")?;
    ensure!(
        told.contains(version),
        "the installed program says it is {told}"
    );
    root.run(INSTALLED)?;
    rpm(root, &["--verify", "dockernet-trace"], None)?;
    root.run(USED)?;
    rpm(root, &["--upgrade"], Some(newer))?;
    root.run(KEPT)?;
    rpm(root, &["--upgrade", "--oldpackage"], Some(package))?;
    root.run(KEPT)?;
    rpm(root, &["--erase", "dockernet-trace"], None)?;
    // rpm keeps a changed configuration under another name.
    root.run("test -f /etc/dockernet-trace.toml.rpmsave; rm /etc/dockernet-trace.toml.rpmsave")?;
    root::same(&before, &root.files()?)?;
    process::note("installed, upgraded, downgraded, erased: only the changed settings are left");
    Ok(())
}

/// `rpm` on the system in the folder.
fn rpm(root: &Root, arguments: &[&str], package: Option<&Path>) -> Result<()> {
    let mut rpm = root::apart("rpm")?;
    rpm.arg("--root").arg(root.folder());
    let does = |verbs: &[&str]| arguments.iter().any(|word| verbs.contains(word));
    if !does(&["--initdb"]) {
        // Its libraries are there, but Debian's database knows of them, not rpm's.
        rpm.arg("--nodeps");
    }
    if does(&["--install", "--upgrade", "--erase"]) {
        // Debian's rpm wants to be asked twice before it changes a system.
        rpm.arg("--force-debian");
    }
    rpm.args(arguments).args(package);
    process::quiet(&mut rpm, Duration::from_secs(300))
}

/// Demands that it asks for nothing which not every system with rpm has.
fn requires(package: &Path) -> Result<()> {
    let mut query = Command::new("rpm");
    query
        .args(["--query", "--requires", "--package"])
        .arg(package);
    let told = process::output(&mut query)?;
    let foreign: Vec<&str> = told
        .lines()
        .filter(|line| *line != "/bin/sh")
        .filter(|line| !REQUIRES.iter().any(|known| line.starts_with(known)))
        .collect();
    ensure!(
        foreign.is_empty() && told.contains("libc.so.6"),
        "the .rpm requires {}",
        foreign.join(", ")
    );
    Ok(())
}
