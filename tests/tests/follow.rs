//! `path` on every fault: a failing packet's journey ends with the drop, where it happened.

use std::time::Instant;

use anyhow::{Result, ensure};
use dockernet_tests::{
    DaemonOptions, Engine, Lab, LabOptions, can_run, engines, is_full, progress, scenario, seed,
};

/// One of so many faults is followed in a run that is not full.
const SHARE: usize = 10;

#[test]
fn journeys_end_where_packets_die() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let engines = engines()?;
    let wanted = std::env::var("DOCKERNET_TEST_FAULT").ok();
    let scenarios = scenario::all()?;
    let mut plan = Vec::new();
    for (place, fault) in scenarios.iter().enumerate() {
        let chosen = match &wanted {
            Some(name) => fault.name.contains(name.as_str()),
            None => is_full() || place % SHARE == seed()? % SHARE,
        };
        let able: Vec<&Engine> = engines.iter().filter(|e| fault.runs_on(e)).collect();
        if chosen
            && !able.is_empty()
            && fault.missing().is_none()
            && fault.foreign_module().is_none()
            && fault.unfollowed.is_none()
            && !fault.expect.finding
        {
            // Not the engine that the same fault is explained on.
            plan.push((able[(place + seed()? + 1) % able.len()], fault));
        }
    }
    plan.sort_by_key(|(engine, fault)| (engine.name.clone(), format!("{:?}", fault.daemon)));
    let mut failed = Vec::new();
    let mut lab: Option<Lab> = None;
    for (engine, fault) in plan {
        let options = LabOptions {
            daemon: DaemonOptions {
                config: fault.daemon.clone(),
            },
        };
        let usable =
            lab.take_if(|lab| lab.engine().name == engine.name && *lab.options() == options);
        // The old one goes first: two engines at a time would only be slower.
        lab = None;
        let mut at = match usable {
            Some(lab) => lab,
            None => Lab::start(engine, &options)?,
        };
        let started = Instant::now();
        let result = scenario::follow(&mut at, fault);
        let seconds = started.elapsed().as_secs_f64();
        let name = format!("{}::{}", fault.name, engine.name);
        match result {
            Ok(true) => progress(&format!("{name} ... ok ({seconds:.1} s)")),
            Ok(false) => progress(&format!("{name}: no traffic of it fails")),
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
