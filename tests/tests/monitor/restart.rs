//! Counters over a restart, as a real Prometheus sees them.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dockernet_tests::{
    Cmd, CountedDrop, Lab, Netns,
    monitor::{Monitor, Sample, sum},
    progress,
    prometheus::Prometheus,
    tool_path, wait_until,
};
use nix::sys::signal::Signal;

use super::numbers::{dropped, send};

const STORM: u64 = 100_000;
const TOLD: &str = "dockernet_drops_total{cause=\"foreign-table-drop\",container=\"target\"";

/// A service at an address of its own, as a unit starts it again and again.
fn service(lab: &Lab, address: SocketAddr, state: &Path) -> Result<Monitor> {
    let cmd = Cmd::new(tool_path()?)
        .args(["monitor", "--output", "json", "--listen"])
        .arg(address.to_string())
        .arg("--state")
        .arg(state)
        .arg("-H")
        .arg(lab.docker_host())
        .env_remove("DOCKER_HOST")
        .in_netns(lab.host().path());
    Monitor::spawn(&cmd, Some(Netns::at(lab.host().path())))
}

/// The name of a counter that goes on.
fn counter(sample: &Sample) -> Option<&str> {
    let name = sample.series.split('{').next()?;
    (name.starts_with("dockernet_") && name.ends_with("_total")).then_some(name)
}

/// Counters that are less on a later page than on an earlier one, or gone from it.
fn shrunk(before: &[Sample], after: &[Sample]) -> Vec<String> {
    let value = |series: &str| {
        let sample = after.iter().find(|sample| sample.series == series)?;
        Some(sample.value)
    };
    before
        .iter()
        .filter(|sample| counter(sample).is_some())
        .filter(|sample| value(&sample.series).is_none_or(|later| later < sample.value))
        .map(|sample| {
            format!(
                "{} {} → {:?}",
                sample.series,
                sample.value,
                value(&sample.series)
            )
        })
        .collect()
}

/// What of `target` is told, and what the ledger says is missing of it.
fn told(page: &[Sample]) -> (f64, f64) {
    let missing = sum(page, "dockernet_unattributed_drops_total", "")
        + sum(page, "dockernet_missed_drops_total", "");
    (
        sum(page, "dockernet_drops_total", "container=\"target\""),
        missing,
    )
}

pub(crate) fn restart(lab: &mut Lab) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("counters.json");
    let rule = CountedDrop::make(lab, "forward", 5000)?;
    let first = service(lab, "127.0.0.1:0".parse()?, &state)?;
    let address = first.address;
    let prometheus = Prometheus::start(Some(lab.host()), &[address], "groups: []\n")?;
    let scraped = |number: f64| {
        let rows = prometheus.query(&format!("{TOLD}}}")).ok()?;
        rows.iter().any(|(_, value)| *value == number).then_some(())
    };
    // The first is there before the storm is over.
    send(lab, STORM)?;
    thread::sleep(Duration::from_secs(2));
    let before = first.samples()?;
    let (storm, _) = told(&before);
    ensure!(storm > 0.0, "{before:?}");
    wait_until("prometheus has it", Duration::from_secs(10), || {
        scraped(storm)
    })?;
    first.stop()?;
    ensure!(state.is_file(), "it has left no counters");

    let second = service(lab, address, &state)?;
    ensure!(!state.exists(), "a crash would count these again");
    let less = shrunk(&before, &second.samples()?);
    ensure!(less.is_empty(), "less after a restart: {less:#?}");
    send(lab, STORM)?;
    thread::sleep(Duration::from_secs(2));
    let after = second.samples()?;
    let truth = dropped(lab, rule)?;
    let (all, missing) = told(&after);
    progress(&format!(
        "nft {truth} = {all} over a restart, {missing} missing"
    ));
    ensure!(
        all > storm && all <= truth && truth <= all + missing,
        "nft {truth}, told {all} after {storm}, missing {missing}"
    );
    wait_until("prometheus has both", Duration::from_secs(10), || {
        scraped(all)
    })?;
    let names: BTreeSet<&str> = after.iter().filter_map(counter).collect();
    ensure!(names.len() > 10, "{names:?}");
    for name in names {
        let resets = prometheus.query(&format!("resets({name}[10m]) > 0"))?;
        ensure!(
            resets.is_empty(),
            "prometheus sees {name} reset: {resets:?}"
        );
    }
    let increase = prometheus.query(&format!("increase({TOLD}}}[10m])"))?;
    let (_, increase) = increase.first().context("prometheus sees no increase")?;
    ensure!(
        *increase > 0.0 && *increase < truth * 1.2,
        "prometheus sees an increase by {increase}, nft dropped {truth}"
    );

    // Nothing is handed over by one that is killed: its last file would hold less than what was scraped since.
    second.tracer.signal(Signal::SIGKILL)?;
    second.tracer.wait(Duration::from_secs(5))?;
    let third = service(lab, address, &state)?;
    let (left, _) = told(&third.samples()?);
    ensure!(left == 0.0, "{left} after a crash");
    third.stop()?;
    Ok(())
}
