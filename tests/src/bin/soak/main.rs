//! `soak MINUTES`: the service beside a Docker host that lives: containers come and go, faults are made and mended in turn,
//! healthy traffic flows, the metrics are scraped. In the end docs/soak.md says what it cost and what it left behind.

mod churn;
mod faults;
mod life;
mod report;
mod slices;
mod storm;
mod trend;
mod verdicts;
mod watch;

use std::{
    process::ExitCode,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use dockernet_tests::{
    Engine, Lab, LabOptions, Run,
    monitor::{Monitor, configuration},
    progress,
};

use self::{faults::Rotation, life::Life, report::Story};

/// The budget is widened, so that what is found does not depend on what the machine's other programs leave of a core.
const CONFIG: &str = "nat = true\n[budget]\ncpu = \"20%\"\nmemory = \"256MiB\"\n";

fn main() -> ExitCode {
    let minutes = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let done = minutes
        .filter(|minutes| *minutes > 0)
        .context("usage: soak MINUTES (1 or more)")
        .and_then(soak);
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well. The report is written either way.
fn soak(minutes: u64) -> Result<bool> {
    let machine = report::machine();
    let engine = Engine::newest()?;
    let mut lab = Lab::start(&engine, &LabOptions::default())?;
    lab.run(
        &Run::new("steady", "httpd -f -p 80 -h /www")
            .publish("17001:80")
            .wait_port("80/tcp"),
    )?;
    lab.run(&Run::new("target", "sleep 86400").publish("17004:5000/udp"))?;
    lab.keep()?;
    let config = configuration(lab.folder(), CONFIG)?;
    let page = lab.folder().join("last.prom");
    let textfile = page.display().to_string();
    let monitor = Monitor::start(&lab, &["--config", &config, "--textfile", &textfile])?;
    let life = Life::new(&lab)?;
    let started = Instant::now();
    let end = started + Duration::from_secs(minutes * 60);
    let (rotation, samples) = thread::scope(|scope| -> Result<_> {
        let watching = scope.spawn(|| watch::run(&monitor, &life, started));
        let churning = scope.spawn(|| churn::run(&life));
        let talking = scope.spawn(|| life.talk());
        let rotation = Rotation::run(&mut lab, &monitor, &life, end);
        life.stop.store(true, Ordering::Relaxed);
        let samples = watching.join();
        for thread in [churning, talking] {
            ensure!(thread.join().is_ok(), "a thread of the soak panicked");
        }
        let samples = samples
            .ok()
            .context("the watching thread panicked")
            .flatten()?;
        Ok((rotation?, samples))
    })?;
    let length = started.elapsed();
    progress("stopping the service");
    let finished = monitor.stop()?;
    let left = watch::left_behind(&lab, &samples)?;
    let story = Story {
        machine,
        engine: engine.version.clone(),
        length,
        rotation,
        samples,
        life: life.told(),
        left,
        ledger: finished.ledger()?.clone(),
        page: std::fs::read_to_string(&page).context("reading the last page of metrics")?,
        stderr: finished.stderr,
    };
    let (text, is_well) = report::write(&story)?;
    println!("{text}");
    Ok(is_well)
}
