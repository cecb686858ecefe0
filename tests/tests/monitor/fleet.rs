//! Several hosts, one Prometheus, one question: which is sick?

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dockernet_tests::{
    Engine, Lab, LabOptions, Run,
    monitor::Monitor,
    prometheus::{Prometheus, shipped},
    wait_until,
};

use super::{CAUSE, knock, with_fault};

/// The query of the page, so that what stands there is what is tested.
fn query() -> Result<String> {
    let page = shipped("docs/monitoring.md")?;
    let (_, rest) = page
        .split_once("```promql\n")
        .context("docs/monitoring.md has no query")?;
    let (query, _) = rest.split_once("```").context("the query has no end")?;
    Ok(query.trim().to_owned())
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
    let targets: Vec<_> = monitors.iter().map(|monitor| monitor.address).collect();
    let prometheus = Prometheus::start(None, &targets, "groups: []")?;
    wait_until("both are scraped", Duration::from_secs(15), || {
        (prometheus.query("sum(up) == 2").ok()?.len() == 1).then_some(())
    })?;
    let query = query()?;
    ensure!(prometheus.query(&query)?.is_empty(), "nobody is sick yet");
    let sick = with_fault(&mut labs[1], |lab| {
        wait_until("somebody is sick", Duration::from_secs(15), || {
            knock(lab).ok()?;
            let rows = prometheus.query(&query).ok()?;
            (!rows.is_empty()).then_some(rows)
        })
    })?;
    let wanted = targets[1].to_string();
    ensure!(
        sick.iter().all(|(labels, _)| {
            labels["instance"] == wanted.as_str()
                && labels["container"] == "web"
                && labels["cause"] == CAUSE
        }),
        "not {wanted} alone: {sick:?}"
    );
    for monitor in monitors {
        monitor.stop()?;
    }
    Ok(())
}
