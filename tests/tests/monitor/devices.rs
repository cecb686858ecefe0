//! Devices that are renamed, and that come and go by the thousand.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dockernet_tests::{
    Lab, Place, family, knock,
    long_recording::memory,
    monitor::{Monitor, configuration},
    progress,
};

use super::{CAUSE, HASTY, life::web_is_counted, with_fault};

/// Pairs that come and go.
const PAIRS: u32 = 2000;
/// Pairs that are there at once.
const AT_ONCE: u32 = 250;
/// By which they are deleted at once: one by one the kernel waits for each.
const GROUP: u32 = 77;

/// A diagnosis after an uplink was renamed names the setting by its new name.
pub(crate) fn renamed(lab: &mut Lab) -> Result<()> {
    let config = configuration(lab.folder(), HASTY)?;
    let mut monitor = Monitor::start(lab, &["--config", &config])?;
    with_fault(lab, knock)?;
    let limit = Duration::from_secs(10);
    monitor
        .diagnosis("began", CAUSE, limit)
        .context("no diagnosis before")?;
    monitor
        .diagnosis("ended", CAUSE, limit)
        .context("it does not end")?;
    let seen = monitor.tracer.lines().len();
    rename(lab, "eth0", "wan0")?;
    let told = lab
        .sysctl(&Place::Host, "net/ipv4/conf/wan0/forwarding", "0")
        .and_then(|()| knock(lab))
        .and_then(|()| {
            let began = monitor.tracer.wait_for(limit, |line| {
                line["type"] == "diagnosis"
                    && line["state"] == "began"
                    && line.to_string().contains("wan0")
            });
            began.context("no diagnosis after")
        });
    lab.restore_sysctls();
    rename(lab, "wan0", "eth0")?;
    let lines = monitor.tracer.lines();
    let line = told.with_context(|| format!("{:?}", lines.get(seen..)))?;
    ensure!(
        line["cause"]["id"] == CAUSE
            && line["cause"]
                .to_string()
                .contains("net/ipv4/conf/wan0/forwarding=1")
            && !line.to_string().contains("eth0"),
        "{line:#}"
    );
    monitor.stop()?;
    Ok(())
}

/// While it is up, as a device that is down loses its routes (6.2 and later let it).
fn rename(lab: &Lab, from: &str, to: &str) -> Result<()> {
    lab.script(&Place::Host, &format!("ip link set {from} name {to}"))?;
    Ok(())
}

/// Neither descriptors nor memory are left of them, and the next drop has its name.
pub(crate) fn thousands(lab: &mut Lab) -> Result<()> {
    let monitor = Monitor::start(lab, &["--nat"])?;
    // One round, after which what is kept for good is there.
    come_and_go(lab, 0..AT_ONCE)?;
    web_is_counted(lab, &monitor)?;
    let before = Held::by(&monitor)?;
    for first in (AT_ONCE..PAIRS).step_by(AT_ONCE as usize) {
        come_and_go(lab, first..first + AT_ONCE)?;
    }
    web_is_counted(lab, &monitor)?;
    ensure!(
        monitor.get("/readyz")?.status == 200,
        "{:?}",
        monitor.get("/readyz")?
    );
    // What is attached to a device is let go of with its notice.
    monitor.wait(
        "its descriptors are closed",
        Duration::from_secs(15),
        |_| Held::by(&monitor).is_ok_and(|now| now.files <= before.files),
    )?;
    let after = Held::by(&monitor)?;
    progress(&format!(
        "{PAIRS} pairs: {} open files, then {}; {:.1} MiB resident, then {:.1}",
        before.files, after.files, before.resident, after.resident
    ));
    ensure!(
        after.resident < before.resident + 4.0,
        "{} MiB resident became {}",
        before.resident,
        after.resident
    );
    monitor.stop()?;
    Ok(())
}

fn come_and_go(lab: &Lab, pairs: std::ops::Range<u32>) -> Result<()> {
    let come: String = pairs
        .map(|n| format!("link add many{n} group {GROUP} up type veth peer name many{n}b\n"))
        .collect();
    let file = lab.folder().join("batch");
    fs::write(&file, come)?;
    lab.script(
        &Place::Host,
        &format!("ip -batch {} && ip link del group {GROUP}", file.display()),
    )?;
    Ok(())
}

/// What a service and its helper hold.
struct Held {
    files: usize,
    /// MiB.
    resident: f64,
}

impl Held {
    fn by(monitor: &Monitor) -> Result<Self> {
        let mut files = 0;
        let mut resident = 0.0;
        for process in family(monitor.tracer.pid())? {
            files += fs::read_dir(format!("/proc/{process}/fd"))?.count();
            resident += memory(process, "VmRSS")?;
        }
        Ok(Self { files, resident })
    }
}
