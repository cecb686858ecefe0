//! Running `dockernet-trace monitor` and reading what it serves.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    exec::{Cmd, wait_until},
    http::{self, Answer},
    lab::Lab,
    netns::Netns,
    tracer::{Finished, Tracer, tool_path},
};

/// Metrics whose sum is `dockernet_observed_drops_total`.
pub const FATES: [&str; 7] = [
    "dockernet_drops_total",
    "dockernet_drops_removed_series_total",
    "dockernet_benign_drops_total",
    "dockernet_expected_drops_total",
    "dockernet_out_of_scope_drops_total",
    "dockernet_filtered_drops_total",
    "dockernet_unattributed_drops_total",
];

/// A running monitor.
#[derive(Debug)]
pub struct Monitor {
    /// The process and its lines.
    pub tracer: Tracer,
    /// Where it serves metrics.
    pub address: SocketAddr,
    netns: Option<Netns>,
}

/// One line of the text format.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name and labels, as written.
    pub series: String,
    /// Value.
    pub value: f64,
}

impl Monitor {
    /// Starts it in the lab's host namespace, on a free port of its loopback.
    ///
    /// # Errors
    /// As [`Tracer::start`].
    pub fn start(lab: &Lab, args: &[&str]) -> Result<Self> {
        let cmd = Self::command(lab)?.args(args).in_netns(lab.host().path());
        Self::spawn(&cmd, Some(Netns::at(lab.host().path())))
    }

    /// Starts it in the machine's own namespace, on a free port of its loopback, with `--netns` naming the lab's host.
    ///
    /// # Errors
    /// As [`Tracer::start`].
    pub fn start_elsewhere(lab: &Lab, args: &[&str]) -> Result<Self> {
        let cmd = Self::command(lab)?
            .arg("--netns")
            .arg(lab.host().path())
            .args(args);
        Self::spawn(&cmd, None)
    }

    /// The tool with the arguments that every monitor in a lab needs.
    ///
    /// # Errors
    /// The tool is not built.
    pub fn command(lab: &Lab) -> Result<Cmd> {
        Self::command_for(&lab.docker_host())
    }

    /// The same with the engine behind another address.
    ///
    /// # Errors
    /// The tool is not built.
    pub fn command_for(docker_host: &str) -> Result<Cmd> {
        Ok(Cmd::new(tool_path()?)
            .args([
                "monitor",
                "--output",
                "json",
                "--listen",
                "127.0.0.1:0",
                "-H",
            ])
            .arg(docker_host)
            .env_remove("DOCKER_HOST"))
    }

    /// Starts a command that runs it. `netns`: whose loopback it listens on.
    ///
    /// # Errors
    /// As [`Tracer::spawn`], or it listens nowhere.
    pub fn spawn(cmd: &Cmd, netns: Option<Netns>) -> Result<Self> {
        let mut tracer = Tracer::spawn(cmd)?;
        let line = tracer
            .wait_for(Duration::from_secs(5), |line| line["type"] == "listening")
            .context("it does not say where it listens")?;
        let address = line["address"].as_str().unwrap_or_default().parse()?;
        Ok(Self {
            tracer,
            address,
            netns,
        })
    }

    /// Asks it something.
    ///
    /// # Errors
    /// As [`http::get`].
    pub fn get(&self, path: &str) -> Result<Answer> {
        http::get(self.netns.as_ref(), self.address, path, "")
    }

    /// The metrics in OpenMetrics.
    ///
    /// # Errors
    /// As [`http::get`].
    pub fn open_metrics(&self) -> Result<Answer> {
        let accept = "Accept: application/openmetrics-text; version=1.0.0\r\n";
        http::get(self.netns.as_ref(), self.address, "/metrics", accept)
    }

    /// The metrics as text.
    ///
    /// # Errors
    /// There is no such page.
    pub fn page(&self) -> Result<String> {
        let answer = self.get("/metrics")?;
        ensure!(answer.status == 200, "/metrics says {answer:?}");
        Ok(answer.body)
    }

    /// The metrics.
    ///
    /// # Errors
    /// As [`Monitor::page`], or a line has no value.
    pub fn samples(&self) -> Result<Vec<Sample>> {
        samples(&self.page()?)
    }

    /// The sum over a metric's series whose labels hold `with`.
    ///
    /// # Errors
    /// As [`Monitor::samples`].
    pub fn sum(&self, metric: &str, with: &str) -> Result<f64> {
        Ok(sum(&self.samples()?, metric, with))
    }

    /// Waits until the sums say something.
    ///
    /// # Errors
    /// They do not within `limit`; the message has the page.
    pub fn wait(
        &self,
        what: &str,
        limit: Duration,
        mut fits: impl FnMut(&[Sample]) -> bool,
    ) -> Result<()> {
        wait_until(what, limit, || fits(&self.samples().ok()?).then_some(()))
            .with_context(|| self.page().unwrap_or_default())
    }

    /// Waits for a line about a diagnosis.
    pub fn diagnosis(&mut self, state: &str, cause: &str, limit: Duration) -> Option<Value> {
        self.tracer.wait_for(limit, |line| {
            line["type"] == "diagnosis" && line["state"] == state && line["cause"]["id"] == cause
        })
    }

    /// Ends it by SIGTERM and demands status 0.
    ///
    /// # Errors
    /// It ends otherwise, or not at all.
    pub fn stop(self) -> Result<Finished> {
        self.tracer.signal(Signal::SIGTERM)?;
        let finished = self.tracer.wait(Duration::from_secs(10))?;
        ensure!(
            finished.status == Some(0),
            "monitor ended with {:?}: {}",
            finished.status,
            finished.stderr
        );
        Ok(finished)
    }
}

/// The lines of a page.
///
/// # Errors
/// One has no value.
pub fn samples(page: &str) -> Result<Vec<Sample>> {
    page.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let (series, value) = line
                .rsplit_once(' ')
                .with_context(|| format!("no sample: {line}"))?;
            Ok(Sample {
                series: series.to_owned(),
                value: value.parse().with_context(|| format!("no value: {line}"))?,
            })
        })
        .collect()
}

/// The sum over a metric's series whose labels hold `with`.
#[must_use]
pub fn sum(samples: &[Sample], metric: &str, with: &str) -> f64 {
    samples
        .iter()
        .filter(|sample| sample.series.split('{').next() == Some(metric))
        .filter(|sample| sample.series.contains(with))
        .map(|sample| sample.value)
        .sum()
}

/// Writes a configuration file into a lab's folder.
///
/// # Errors
/// The disk is full.
pub fn configuration(folder: &Path, text: &str) -> Result<String> {
    let file = folder.join("monitor.toml");
    std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    Ok(file.display().to_string())
}
