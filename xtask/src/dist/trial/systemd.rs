//! The life of the .deb under a running systemd: Debian 11 with its own kernel, in an emulated machine.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};

use super::root::Root;
use crate::{process, vm};

/// The kernel of the system in the folder.
const KERNEL: &str = "5.10";

/// What an emulated machine may take, on a busy one.
const LIMIT: Duration = Duration::from_secs(900);

/// Runs the trial once the system is up, tells its status and switches the machine off.
const UNIT: &str = "\
[Unit]
Description=Trial of a package
[Service]
Type=oneshot
ExecStart=/bin/bash -c 'stty -F /dev/ttyS1 raw -echo; stty -F /dev/ttyS2 raw -echo; bash -eu /trial >/dev/ttyS1 2>&1; echo $? >/dev/ttyS2; \
stty -F /dev/ttyS1 raw -echo; stty -F /dev/ttyS2 raw -echo; systemctl poweroff --force --force'
";

/// What is tried. Lines that begin with `= ` are told. The first command that fails ends it.
const SCRIPT: &str = r#"
set -o pipefail
unit=dockernet-trace.service
pid() { systemctl show --property=MainPID --value $unit; }
metrics() {
    exec 3<>/dev/tcp/127.0.0.1/9758
    printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3
    cat <&3 > /tmp/metrics
    exec 3<&-
    grep -q '^dockernet_' /tmp/metrics
}
running() { test "$(systemctl is-active $unit)" = active; metrics; }
# Once systemd has started it anew.
another() {
    for second in $(seq 120); do
        test "$(pid)" != "$1" && test "$(systemctl is-active $unit || true)" = active && break
        sleep 1
    done
    running
    test "$(pid)" != "$1"
}
failed() { echo "failed in line $1"; systemctl status --no-pager --full $unit || true; journalctl --no-pager -n 30 || true; }
trap 'failed $LINENO' ERR

dpkg --install "$old"
test "$(systemctl is-enabled $unit || true)" = disabled
test "$(systemctl is-active $unit || true)" = inactive
echo "= installed: not enabled, not started"

start=$(date +%s%N)
systemctl enable --now $unit
echo "= ready after $(( ($(date +%s%N) - start) / 1000000 )) ms, $(awk '/VmRSS/ { print $2, $3 }' /proc/$(pid)/status) resident"
running
systemd-analyze security --no-pager $unit | tail -n 1 | sed 's/^[^O]*/= /'

before=$(pid)
echo 'of_tomorrow = 1' >> /etc/dockernet-trace.toml
systemctl reload $unit
for second in $(seq 30); do
    journalctl --no-pager --unit=$unit > /tmp/journal
    grep -q of_tomorrow /tmp/journal && break
    sleep 1
done
grep of_tomorrow /tmp/journal
running
test "$(pid)" = "$before"
echo "= reloaded: the same process, and the unknown setting is told of"

dpkg --install "$new"
running
test "$(pid)" != "$before"
echo "= upgraded: another process"

before=$(pid)
dpkg --install "$old"
running
test "$(pid)" != "$before"
echo "= downgraded: another process, and the unknown setting does not stop it"

# Waiting less than the unit does, and less for what a stopped process cannot do: abort.
mkdir -p /run/systemd/system/$unit.d
printf '[Service]\nWatchdogSec=10\nTimeoutAbortSec=5\n' > /run/systemd/system/$unit.d/trial.conf
systemctl daemon-reload
systemctl restart $unit
before=$(pid)
kill -STOP "$before"
another "$before"
journalctl --no-pager --unit=$unit > /tmp/journal
grep -i 'watchdog timeout' /tmp/journal
rm -r /run/systemd/system/$unit.d
systemctl daemon-reload
echo "= stuck: ended by the watchdog, and started again"

before=$(pid)
systemctl set-property --runtime $unit MemoryMax=2M
for second in $(seq 60); do
    test "$(pid)" != "$before" && break
    sleep 1
done
systemctl set-property --runtime $unit MemoryMax=256M
another "$before"
journalctl --no-pager --dmesg > /tmp/kernel
grep "Memory cgroup out of memory: Killed process $before (dockernet-trace)" /tmp/kernel
# Its helper ended with it: what is there is of the new one.
for process in $(cat /sys/fs/cgroup/system.slice/$unit/cgroup.procs); do
    test "$process" = "$(pid)" || grep -q "^PPid:[[:space:]]*$(pid)\$" /proc/$process/status
done
echo "= out of memory: ended by the kernel, and started again"

systemctl stop $unit
dpkg --install "$new"
test "$(systemctl is-active $unit || true)" = inactive
echo "= upgraded while stopped: still stopped"

systemctl start $unit
running
dpkg --remove dockernet-trace 2>&1 | tee /tmp/removed
test -z "$(grep 'detach failed' /tmp/removed)"
# Not systemd itself, process 1, which has programs of its own.
test -z "$(ls -l /proc/[0-9][0-9]*/fd 2>/dev/null | grep bpf-prog)"
test "$(systemctl is-active $unit || true)" = inactive
test -f /var/lib/dockernet-trace/counters.json
echo "= removed: stopped, no process holds a program in the kernel, counters are kept"
dpkg --purge dockernet-trace
test -z "$(find / -xdev -name '*dockernet*' -not -path '/root/*')"
echo "= purged: no file is left"
"#;

/// `newer` is of a later version than `package`.
pub(super) fn run(root: &Root, package: &Path, newer: &Path) -> Result<()> {
    let package = root.take(package)?;
    let newer = root.take(newer)?;
    root.put(UNIT.as_bytes(), "etc/systemd/system/trial.service")?;
    let script = format!("old={package}\nnew={newer}\n{SCRIPT}");
    root.put(script.as_bytes(), "trial")?;
    root.run(
        "ln -sf lib/systemd/systemd /init
         mkdir -p /etc/systemd/system/multi-user.target.wants
         ln -sf ../trial.service /etc/systemd/system/multi-user.target.wants/
         echo trial > /etc/hostname",
    )?;
    let mut printed = Vec::new();
    let status = vm::system::boot(KERNEL, root.folder(), LIMIT, |bytes| {
        // Kept beside being shown: a failure is told with it.
        printed.extend_from_slice(bytes);
    })?;
    let printed = String::from_utf8_lossy(&printed);
    ensure!(
        status == 0,
        "under systemd the package failed ({status}):\n{printed}"
    );
    for line in printed.lines().filter_map(|line| line.strip_prefix("= ")) {
        process::note(line.trim());
    }
    Ok(())
}
