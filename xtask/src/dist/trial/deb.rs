//! The life of the .deb on a system.

use std::path::Path;

use anyhow::{Result, ensure};

use super::root::{self, Root};
use crate::process;

/// What must be so once it is installed, by a shell in the system.
const INSTALLED: &str = r#"
test -x /usr/bin/dockernet-trace
test -f /usr/lib/systemd/system/dockernet-trace.service
test -f /etc/dockernet-trace.toml
test -f /usr/share/dockernet-trace/grafana/dockernet.json
test -f /usr/share/dockernet-trace/prometheus/alerts.yml
test -f /usr/share/doc/dockernet-trace/copyright
man --where dockernet-trace | grep -q /man1/
for page in /usr/share/man/man1/dockernet-trace*.gz; do gzip --test "$page"; done
bash -n /usr/share/bash-completion/completions/dockernet-trace
grep -q '^#compdef dockernet-trace' /usr/share/zsh/vendor-completions/_dockernet-trace
grep -q 'complete -c dockernet-trace' /usr/share/fish/vendor_completions.d/dockernet-trace.fish
dpkg --verify dockernet-trace
"#;

/// Nothing is started with the machine, and nothing runs.
const IDLE: &str = r#"
test "$(systemctl is-enabled dockernet-trace.service || true)" = disabled
test -z "$(find /etc/systemd -name '*dockernet*')"
test -z "$(ls -l /proc/[0-9]*/exe 2>/dev/null | grep dockernet-trace)"
"#;

/// What a user makes of it: settings (one of a later version), counters kept, started with the machine.
const USED: &str = r#"
printf 'listen = "127.0.0.1:9999"\nof_tomorrow = 1\n' >> /etc/dockernet-trace.toml
mkdir -p /var/lib/dockernet-trace
echo '{}' > /var/lib/dockernet-trace/counters.json
systemctl enable dockernet-trace.service
"#;

/// The user's settings are still there, and the unknown one is told of, no more.
const KEPT: &str = r#"
grep -q '127.0.0.1:9999' /etc/dockernet-trace.toml
dockernet-trace monitor --check-config > /tmp/checked 2>&1 || { cat /tmp/checked; exit 1; }
grep -q of_tomorrow /tmp/checked
test -f /var/lib/dockernet-trace/counters.json
test "$(systemctl is-enabled dockernet-trace.service)" = enabled
"#;

/// What is left of a removed package: what the user made.
const REMOVED: &str = r#"
test ! -e /usr/bin/dockernet-trace
test ! -e /usr/lib/systemd/system/dockernet-trace.service
test -z "$(find /etc/systemd -name '*dockernet*')"
grep -q '127.0.0.1:9999' /etc/dockernet-trace.toml
test -f /var/lib/dockernet-trace/counters.json
"#;

/// `package` is of `version`, `newer` of a later one.
pub(super) fn run(root: &Root, version: &str, package: &Path, newer: &Path) -> Result<()> {
    let package = root.take(package)?;
    let newer = root.take(newer)?;
    let before = root.files()?;

    root.run(&format!("dpkg --install {package}"))?;
    let told = root.run("dockernet-trace --version; ldd --version | head -n 1")?;
    ensure!(
        told.contains(version),
        "the installed program says it is {told}"
    );
    root.run(INSTALLED)?;
    root.run(IDLE)?;
    process::note(&format!(
        "installed, nothing enabled: {}",
        told.trim().replace('\n', ", ")
    ));

    root.run(USED)?;
    root.run(KEPT)?;
    root.run(&format!("dpkg --install {newer}"))?;
    root.run(KEPT)?;
    process::note("upgraded: settings, counters and what was enabled are kept");

    root.run(&format!("dpkg --install {package}"))?;
    root.run(KEPT)?;
    process::note("downgraded: the same, and the setting that it does not know is a warning");

    let told = root.run("dpkg --remove dockernet-trace")?;
    ensure!(
        !told.contains("detach failed"),
        "removing could not detach: {told}"
    );
    root.run(REMOVED)?;
    process::note("removed: settings and counters are kept");

    root.run("dpkg --purge dockernet-trace")?;
    root::same(&before, &root.files()?)?;
    process::note("purged: nothing is left");

    // And once more, purged at once.
    root.run(&format!("dpkg --install {package}"))?;
    root.run(IDLE)?;
    root.run("dpkg --purge dockernet-trace")?;
    root::same(&before, &root.files()?)
}
