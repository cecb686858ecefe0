//! `path` on every fault: a failing packet's journey ends with the drop, where it happened.

use std::time::Instant;

use anyhow::{Result, ensure};
use dockernet_tests::{
    DaemonOptions, Engine, Lab, LabOptions, can_run, engines, is_full, scenario, seed,
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
    let mut failed = Vec::new();
    let mut lab: Option<(LabOptions, String, Lab)> = None;
    for (place, fault) in scenario::all()?.iter().enumerate() {
        let chosen = match &wanted {
            Some(name) => fault.name.contains(name.as_str()),
            None => is_full() || place % SHARE == seed()? % SHARE,
        };
        let able: Vec<&Engine> = engines.iter().filter(|e| fault.runs_on(e)).collect();
        if !chosen || able.is_empty() || fault.missing().is_some() || fault.unfollowed.is_some() {
            continue;
        }
        let engine = able[(place + seed()?) % able.len()];
        let options = LabOptions {
            daemon: DaemonOptions {
                config: fault.daemon.clone(),
            },
        };
        let mut at = match lab.take() {
            Some((used, name, lab)) if used == options && name == engine.name => lab,
            _ => Lab::start(engine, &options)?,
        };
        let started = Instant::now();
        let result = scenario::follow(&mut at, fault);
        let seconds = started.elapsed().as_secs_f64();
        let name = &fault.name;
        match result {
            Ok(true) => println!("  {name} on {} ... ok ({seconds:.1} s)", engine.name),
            Ok(false) => println!("  {name}: no traffic of it fails"),
            Err(error) => {
                println!("  {name} on {} ... FAILED: {error:#}", engine.name);
                failed.push(name.clone());
            }
        }
        if at.reset().is_ok() {
            lab = Some((options, engine.name.clone(), at));
        }
    }
    ensure!(failed.is_empty(), "{} faults: {failed:?}", failed.len());
    Ok(())
}
