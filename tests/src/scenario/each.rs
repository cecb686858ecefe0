//! The same for every fault, or for a share of them.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::{all, model::Scenario};
use crate::{
    choice::{is_full, seed},
    daemon::DaemonOptions,
    engine::{Engine, engines},
    lab::{Lab, LabOptions},
    policy::progress,
};

/// The lab that was used last, if it is one for this fault on this engine, or a new one.
///
/// # Errors
/// No lab is to be had.
pub fn lab_for(last: &mut Option<Lab>, engine: &Engine, fault: &Scenario) -> Result<Lab> {
    let options = LabOptions {
        daemon: DaemonOptions {
            config: fault.daemon.clone(),
        },
    };
    let usable = last.take_if(|lab| lab.engine().name == engine.name && *lab.options() == options);
    // The old one goes first: two engines at a time would only be slower.
    *last = None;
    match usable {
        Some(lab) => Ok(lab),
        None => Lab::start(engine, &options),
    }
}

/// Runs `job` on one of `share` faults that are `suited`, or on all of them in a full run, each on one engine: `turn` on from the
/// one that it is explained on. A job that says false had nothing to do. `DOCKERNET_TEST_FAULT` names those that are run.
///
/// # Errors
/// A job failed; all others were run.
pub fn each(
    share: usize,
    turn: usize,
    suited: impl Fn(&Scenario) -> bool,
    job: impl Fn(&mut Lab, &Scenario) -> Result<bool>,
) -> Result<()> {
    let engines = engines()?;
    let wanted = std::env::var("DOCKERNET_TEST_FAULT").ok();
    let scenarios = all()?;
    let seed = seed()?;
    let mut plan = Vec::new();
    for (place, fault) in scenarios.iter().enumerate() {
        let chosen = match &wanted {
            Some(name) => fault.name.contains(name.as_str()),
            None => is_full() || place % share == seed % share,
        };
        let able: Vec<&Engine> = engines.iter().filter(|e| fault.runs_on(e)).collect();
        if chosen
            && !able.is_empty()
            && fault.missing().is_none()
            && fault.foreign_module().is_none()
            && suited(fault)
        {
            plan.push((able[(place + seed + turn) % able.len()], fault));
        }
    }
    plan.sort_by_key(|(engine, fault)| (engine.name.clone(), format!("{:?}", fault.daemon)));
    let mut failed = Vec::new();
    let mut lab: Option<Lab> = None;
    for (engine, fault) in plan {
        let mut at = lab_for(&mut lab, engine, fault)?;
        let started = Instant::now();
        let result = job(&mut at, fault);
        let seconds = started.elapsed().as_secs_f64();
        let name = format!("{}::{}", fault.name, engine.name);
        match result {
            Ok(true) => progress(&format!("{name} ... ok ({seconds:.1} s)")),
            Ok(false) => progress(&format!("{name}: nothing of it is of use here")),
            Err(error) => {
                progress(&format!("{name} ... FAILED: {error:#}"));
                failed.push(name);
            }
        }
        if at.reset().is_ok() {
            lab = Some(at);
        }
    }
    ensure!(failed.is_empty(), "{} faults: {failed:?}", failed.len());
    Ok(())
}
