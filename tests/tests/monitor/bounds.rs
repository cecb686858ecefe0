//! Containers come and go, series do not heap up.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use dockernet_tests::{
    Lab, Place, Run,
    monitor::{Monitor, Sample, configuration, sum},
};

const CONFIG: &str = "[limits]\ncontainers = 4\nkeep = \"2s\"\n[diagnosis]\nclear_after = \"1s\"\n";

fn containers(samples: &[Sample]) -> BTreeSet<String> {
    samples
        .iter()
        .filter_map(|sample| {
            let (_, rest) = sample.series.split_once("container=\"")?;
            Some(rest.split('"').next()?.to_owned())
        })
        .collect()
}

pub(crate) fn churn(lab: &mut Lab) -> Result<()> {
    let config = configuration(lab.folder(), CONFIG)?;
    let monitor = Monitor::start(lab, &["--config", &config])?;
    let names: Vec<String> = (0..7).map(|index| format!("churn{index}")).collect();
    for name in &names {
        lab.run(&Run::new(name, "sleep 1000"))?;
    }
    // A port that nobody listens on: the container's kernel drops it, or a rule of Docker's.
    lab.shell(
        &Place::Host,
        "nft 'table inet churn { chain out { type filter hook output priority 0; udp dport 7777 drop; }; }'",
    )?;
    for name in &names {
        let to = SocketAddr::new(lab.container_ip(name, None)?, 7777);
        for _ in 0..3 {
            lab.host().within(|| {
                let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
                // A rule on the way out says EPERM.
                socket.send_to(b"x", to).ok();
                Ok(())
            })?;
        }
    }
    monitor.wait("all are counted", Duration::from_secs(10), |samples| {
        sum(samples, "dockernet_drops_total", "") >= 21.0
    })?;
    let samples = monitor.samples()?;
    let told = containers(&samples);
    ensure!(told.len() <= 6, "more than 4, `other` and none: {told:?}");
    ensure!(told.contains("other"), "{told:?}");
    let other = sum(&samples, "dockernet_drops_total", "container=\"other\"");
    ensure!(other >= 9.0, "{other} of three containers");
    ensure!(sum(&samples, "dockernet_capped_drops_total", "") == other);
    let before = sum(&samples, "dockernet_drops_total", "");
    for name in &names {
        lab.docker(["rm", "-f", name])?;
    }
    // A tombstone, and what `keep` says.
    monitor.wait("their series go", Duration::from_secs(90), |samples| {
        !containers(samples)
            .iter()
            .any(|name| name.starts_with("churn"))
    })?;
    let samples = monitor.samples()?;
    let after = sum(&samples, "dockernet_drops_total", "")
        + sum(&samples, "dockernet_drops_removed_series_total", "");
    ensure!(after >= before, "{before} drops became {after}");
    lab.shell(&Place::Host, "nft delete table inet churn")?;
    monitor.stop()?;
    Ok(())
}
