//! Faults in turn: healthy, broken until the service has said so, mended, and silence until the next.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use dockernet_tests::{
    Lab,
    monitor::Monitor,
    progress,
    scenario::{self, Moment, Scenario},
};

use crate::{
    life::{Life, lock},
    storm::{self, Storms},
    verdicts::Verdicts,
};

/// Scenarios of all families that a host survives again and again.
const FAULTS: [&str; 16] = [
    "ip-forward-disabled",
    "docker-user-drop",
    "container-no-default-route",
    "rp-filter-host",
    "foreign-table-drop",
    "no-route",
    "veth-down",
    "route-rejects-blackhole",
    "container-paused",
    "host-input-drop",
    "stale-neighbour",
    "interface-forwarding-disabled-uplink",
    "bridge-filter-drop",
    "container-firewall-drop",
    "mtu-exceeded",
    "container-wrong-gateway",
];
/// A storm after so many.
const STORM_EVERY: usize = 4;
/// After a fault is mended and its containers are gone: the last of its packets, and what was counted of them, come.
const SETTLE: Duration = Duration::from_secs(8);
/// Before a fault: the service has read new containers' counters once, and told what it has to tell of the time before.
const BEFORE: Duration = Duration::from_secs(5);
/// A fault is told within this time.
const TOLD: Duration = Duration::from_secs(20);

/// What came of them.
#[derive(Debug, Default)]
pub(crate) struct Rotation {
    /// Faults that were made, told and mended.
    pub(crate) told: u64,
    /// How many of them were different ones.
    pub(crate) kinds: usize,
    pub(crate) storms: Storms,
    /// Time in which nothing was broken and silence was demanded.
    pub(crate) silence: Duration,
    pub(crate) complaints: Vec<String>,
    /// Since when nothing is broken, and what had been told by then.
    since: Option<(Instant, Verdicts)>,
}

impl Rotation {
    /// Until `end`.
    pub(crate) fn run(lab: &mut Lab, monitor: &Monitor, life: &Life, end: Instant) -> Result<Self> {
        let all = scenario::all()?;
        let faults: Vec<&Scenario> = FAULTS
            .iter()
            .filter_map(|name| all.iter().find(|scenario| scenario.name == *name))
            .collect();
        ensure!(
            faults.len() == FAULTS.len(),
            "a scenario is gone: {FAULTS:?}"
        );
        let mut rotation = Self::default();
        rotation.rest(monitor, life)?;
        for (turn, scenario) in faults.iter().cycle().enumerate() {
            if Instant::now() >= end {
                break;
            }
            rotation.kinds = rotation.kinds.max(turn.min(FAULTS.len() - 1) + 1);
            rotation
                .turn(lab, monitor, life, scenario)
                .with_context(|| format!("around {}", scenario.name))?;
            if turn % STORM_EVERY == STORM_EVERY - 1 {
                rotation.storm(lab, monitor, life)?;
            }
        }
        rotation.silent(monitor)?;
        Ok(rotation)
    }

    fn complain(&mut self, text: String) {
        progress(&text);
        self.complaints.push(text);
    }

    /// Waits until all is told of what was broken, and remembers it.
    fn rest(&mut self, monitor: &Monitor, life: &Life) -> Result<()> {
        life.sleep(SETTLE);
        self.since = Some((Instant::now(), Verdicts::of(&monitor.samples()?)));
        Ok(())
    }

    /// Demands that nothing was told since.
    fn silent(&mut self, monitor: &Monitor) -> Result<Verdicts> {
        let now = Verdicts::of(&monitor.samples()?);
        if let Some((since, before)) = self.since.take() {
            self.silence += since.elapsed();
            for told in before.grown(&now) {
                let last = last_diagnosis(monitor, &told);
                self.complain(format!("told while nothing was broken: {told}{last}"));
            }
        }
        Ok(now)
    }

    fn turn(
        &mut self,
        lab: &mut Lab,
        monitor: &Monitor,
        life: &Life,
        scenario: &Scenario,
    ) -> Result<()> {
        progress(&format!("fault {}", scenario.name));
        let mut before = Verdicts::default();
        let mut traffic = None;
        let mut is_told = false;
        let done = scenario::turn(lab, scenario, |moment| {
            match moment {
                Moment::Healthy => {
                    thread::sleep(BEFORE);
                    traffic = Some(lock(&life.traffic));
                    before = self.silent(monitor)?;
                }
                Moment::Broken => {
                    let end = Instant::now() + TOLD;
                    while !is_told && Instant::now() < end {
                        thread::sleep(Duration::from_millis(250));
                        let now = Verdicts::of(&monitor.samples()?);
                        is_told = before.has_told(&now, &scenario.expect.cause);
                    }
                    if !is_told {
                        let now = Verdicts::of(&monitor.samples()?);
                        self.complain(format!(
                            "{} was not told, but {:?}",
                            scenario.name,
                            before.grown(&now)
                        ));
                    }
                }
            }
            Ok(())
        });
        match done {
            Ok(()) => self.told += u64::from(is_told),
            Err(error) => self.complain(format!("{}: {error:#}", scenario.name)),
        }
        let containers = lock(&life.containers);
        lab.reset()?;
        drop(containers);
        drop(traffic);
        self.rest(monitor, life)
    }

    fn storm(&mut self, lab: &Lab, monitor: &Monitor, life: &Life) -> Result<()> {
        self.silent(monitor)?;
        let traffic = lock(&life.traffic);
        if let Some(problem) = storm::rage(lab, monitor, &mut self.storms)? {
            self.complain(problem);
        }
        drop(traffic);
        self.rest(monitor, life)
    }
}

/// What the service's newest line says about the cause of a series, as far as it tells what was seen.
fn last_diagnosis(monitor: &Monitor, series: &str) -> String {
    let lines = monitor.tracer.lines();
    let of_it = |line: &&serde_json::Value| {
        let cause = line["cause"]["id"].as_str();
        line["state"] == "began" && cause.is_some_and(|id| series.contains(&format!("\"{id}\"")))
    };
    let last = lines.iter().rev().find(of_it);
    last.map(|line| {
        format!(
            "; its last diagnosis ({}): {} at {}, {}",
            line["time"], line["reason"], line["location"], line["cause"]["evidence"]
        )
    })
    .unwrap_or_default()
}
