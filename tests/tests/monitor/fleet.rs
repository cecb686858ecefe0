//! Several hosts, one Prometheus, one question: which is sick?

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dockernet_tests::{
    Engine, Lab, LabOptions, Run, knock,
    monitor::Monitor,
    prometheus::{Prometheus, replaced, retargeted, shipped},
    wait_until,
};
use serde_json::Value;

use super::{CAUSE, with_fault};

/// What the hosts are called: all of them are scraped at the same address otherwise.
const NAMES: [&str; 2] = ["one.example", "two.example"];

/// A block of the page, so that what stands there is what is tested.
fn block(begin: &str) -> Result<String> {
    let page = shipped("docs/monitoring.md")?;
    let (_, rest) = page
        .split_once(begin)
        .with_context(|| format!("docs/monitoring.md has no block {begin:?}"))?;
    let (block, _) = rest.split_once("```").context("the block has no end")?;
    Ok(block.trim().to_owned())
}

/// The shipped job, edited as it asks for.
fn on_host(name: &str, service: SocketAddr) -> Result<Prometheus> {
    let config = shipped("dist/prometheus/scrape.yml")?;
    let config = retargeted(&config, &[service]);
    let named = replaced(&config, "instance:", &format!("instance: {name}"));
    ensure!(
        named != config && named.contains(&service.to_string()),
        "dist/prometheus/scrape.yml has no target, or no instance"
    );
    Prometheus::configured(&named)
}

/// Both hosts, each with its own Prometheus, and the one that takes from them what they know.
struct Fleet {
    central: Prometheus,
    /// They end with it.
    _hosts: Vec<Prometheus>,
}

impl Fleet {
    fn start(services: &[SocketAddr]) -> Result<Self> {
        let hosts = NAMES
            .iter()
            .zip(services)
            .map(|(name, service)| on_host(name, *service))
            .collect::<Result<Vec<_>>>()?;
        let addresses: Vec<SocketAddr> = hosts.iter().map(Prometheus::address).collect();
        let config = retargeted(&block("```yaml\n# central\n")?, &addresses);
        Ok(Self {
            central: Prometheus::configured(&config)?,
            _hosts: hosts,
        })
    }

    /// The rows of a query of which there are some.
    fn rows(&self, query: &str) -> Option<Vec<(Value, f64)>> {
        let rows = self.central.query(query).ok()?;
        (!rows.is_empty()).then_some(rows)
    }
}

pub(crate) fn the_sick_host_is_found() -> Result<()> {
    let engine = Engine::newest()?;
    let mut labs = [
        Lab::start(&engine, &LabOptions::default())?,
        Lab::start(&engine, &LabOptions::default())?,
    ];
    let mut monitors = Vec::new();
    for lab in &labs {
        lab.run(
            &Run::new("web", "httpd -f -p 80 -h /www")
                .publish("10001:80")
                .wait_port("80/tcp"),
        )?;
        monitors.push(Monitor::start_elsewhere(lab, &[])?);
    }
    let services: Vec<_> = monitors.iter().map(|monitor| monitor.address).collect();
    let fleet = Fleet::start(&services)?;
    wait_until("both are heard of", Duration::from_secs(30), || {
        fleet.rows("sum(up{job=\"dockernet\"}) == 2").map(drop)
    })?;
    let query = block("```promql\n")?;
    ensure!(fleet.rows(&query).is_none(), "nobody is sick yet");
    let [_, sick] = NAMES;
    let [_, lab] = &mut labs;
    let rows = with_fault(lab, |lab| {
        wait_until("somebody is sick", Duration::from_secs(20), || {
            knock(lab).ok()?;
            fleet.rows(&query)
        })
    })?;
    ensure!(
        rows.iter().all(|(labels, _)| {
            labels["instance"] == sick && labels["container"] == "web" && labels["cause"] == CAUSE
        }),
        "not {sick} alone: {rows:?}"
    );
    absent(&fleet, monitors.pop().context("no service")?, sick)?;
    for monitor in monitors {
        monitor.stop()?;
    }
    Ok(())
}

/// A host whose service has ended is known by its name, too: DockernetTracerAbsent asks this.
fn absent(fleet: &Fleet, monitor: Monitor, name: &str) -> Result<()> {
    monitor.stop()?;
    let rows = wait_until("it is missed", Duration::from_secs(20), || {
        fleet.rows("up{job=\"dockernet\"} == 0")
    })?;
    ensure!(
        rows.iter().all(|(labels, _)| labels["instance"] == name),
        "not {name} alone: {rows:?}"
    );
    Ok(())
}
