//! What goes on beside the pipeline: the textfile, the service's own cost, and reading the configuration again.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use tokio::{
    signal::unix::Signal,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    budget::{Change, Governor, Use},
    config::Config,
    cost::{self, Process},
    lines::Lines,
    meter::Meter,
    notify::Notify,
    shared::Shared,
    textfile,
};
use crate::{
    cause::catalogue,
    cli::options::{MonitorArgs, Options},
    host::helper,
    memory,
    pipeline::Command,
};

/// Between two looks at what the service costs.
const COST: Duration = Duration::from_secs(10);
/// Between two measurements of the kernel half, in looks, while it has as much to do as before.
const MEASURE: u32 = 6;
/// Between two rounds of giving back free memory, in looks.
const TRIM: u32 = 6;
/// Between two rounds of letting go of pages of the program, in looks: what was needed once, for one fault's explanation.
const UNMAP: u32 = 60;

/// Writes the textfile from time to time, if there is to be one.
pub(super) async fn textfile(shared: Arc<Shared>, lines: Arc<Lines>) {
    let mut is_failing = false;
    let mut last: Option<PathBuf> = None;
    loop {
        sleep(shared.config().textfile_every).await;
        let path = shared.config().textfile.clone();
        let Some(path) = path else {
            last.take().as_deref().map(remove);
            continue;
        };
        let (file, source) = (path.clone(), Arc::clone(&shared));
        // A full or slow disk stops nobody else.
        let written =
            tokio::task::spawn_blocking(move || textfile::write_in_turn(&file, || source.file()))
                .await;
        match written {
            Ok(Ok(())) => {
                is_failing = false;
                // Only now: one that grows old is noticed, one that is not there is not.
                if let Some(old) = last.replace(path.clone()).filter(|old| *old != path) {
                    remove(&old);
                }
            }
            Ok(Err(error)) => {
                // Once, not every time.
                if !is_failing {
                    lines.note(&format!("writing {}: {error}", path.display()));
                }
                is_failing = true;
            }
            Err(error) => log::warn!("writing {}: {error}", path.display()),
        }
    }
}

/// Removes a file that the configuration names no more: nobody would mend what it says for ever.
fn remove(old: &Path) {
    match std::fs::remove_file(old) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => log::warn!(
            "removing {}, which is not written any more: {error}",
            old.display()
        ),
        _ => {}
    }
}

/// Reads the configuration again at each SIGHUP.
pub(super) async fn reload(
    mut hangups: Signal,
    args: MonitorArgs,
    options: Options,
    shared: Arc<Shared>,
    lines: Arc<Lines>,
    commands: mpsc::Sender<Command>,
) {
    let notify = Notify::from_environment();
    // What needs a restart stays as it was then, whatever was read since.
    let started = shared.config();
    while hangups.recv().await.is_some() {
        notify.reloading();
        let read = Config::load(&args, &options, catalogue::IDS);
        shared.state().values.is_configured = read.is_ok();
        match read {
            Ok((config, warnings)) => {
                let source = match &config.file {
                    Some(file) => format!("{} is in force again", file.display()),
                    None => "no configuration file: the defaults are in force again".to_owned(),
                };
                for warning in warnings {
                    lines.note(&warning);
                }
                let fixed = started.fixed(&config);
                let restart = if fixed.is_empty() {
                    String::new()
                } else {
                    format!("; needs a restart: {}", fixed.join(", "))
                };
                lines.note(&format!("{source}{restart}"));
                // The pipeline is ending, if nobody takes it.
                let _ = commands.send(Command::Ignore(config.ignore.clone()));
                shared.configure(config);
            }
            Err(error) => {
                let sentence = crate::cli::error::sentence(&error);
                let sentence = sentence.trim_start_matches("dockernet-trace: ");
                lines.note(&format!("the configuration stays as it was: {sentence}"));
            }
        }
        notify.send("READY=1");
    }
}

/// Ends the service when its helper has ended: without it containers that come have no names, and it has no right to start another.
pub(super) async fn helper(commands: mpsc::Sender<Command>) {
    if let Err(error) = helper::has_ended().await {
        log::warn!("whether the helper for namespaces lives is not known: {error}");
        return;
    }
    let why = "the helper for namespaces has ended, and containers that come could not be named without it; systemd starts the service \
               again, else start it by hand";
    // The pipeline is ending, if nobody takes it.
    let _ = commands.send(Command::End(why.to_owned()));
}

/// Measures what the service costs, and keeps it within its budget.
pub(super) async fn budget(
    shared: Arc<Shared>,
    lines: Arc<Lines>,
    commands: mpsc::Sender<Command>,
    has_nat: bool,
) {
    let mut governor = Governor::default();
    let mut meter = Meter::new(has_nat);
    let mut looks = interval(COST);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for look in 0.. {
        looks.tick().await;
        let runs = shared.state().runs;
        if look % MEASURE == 0 || meter.is_outdated(runs) {
            meter.measure().await;
        }
        let runs = shared.state().runs;
        meter.count(runs);
        if look % TRIM == TRIM - 1 {
            memory::free_unused();
        }
        if look % UNMAP == UNMAP - 1 {
            memory::unmap_code();
        }
        let process = Process::read();
        let used = Use {
            cpu_seconds: process.cpu_seconds + meter.seconds,
            // Rings are in both.
            memory: process
                .resident_bytes
                .saturating_sub(cost::mapped_map_bytes())
                + meter.map_bytes,
        };
        let config = shared.config();
        let change = governor.sample(Instant::now(), used, &config.budget);
        let mut state = shared.state();
        let cost = &mut state.values.cost;
        cost.bpf_seconds = meter.seconds;
        cost.bpf_run = meter.run().unwrap_or(0.0);
        cost.map_bytes = meter.map_bytes;
        cost.memory_bytes = used.memory;
        cost.cpu = governor.cpu().unwrap_or(0.0);
        cost.is_reduced = governor.is_reduced();
        drop(state);
        let Some(change) = change else { continue };
        let is_wanted = change == Change::Recover;
        // The pipeline is ending, if nobody takes it.
        let _ = commands.send(Command::Detail(is_wanted));
        let cost = format!(
            "{:.2} % of a core (budget {:.2} %), {} MiB (budget {} MiB)",
            governor.cpu().unwrap_or(0.0) * 100.0,
            config.budget.cpu * 100.0,
            used.memory >> 20,
            config.budget.memory >> 20,
        );
        lines.note(&match change {
            Change::Reduce => format!("over its budget: {cost}; packets are only counted for now"),
            Change::Recover => {
                format!("within its budget again: {cost}; packets are looked at again")
            }
        });
    }
}
