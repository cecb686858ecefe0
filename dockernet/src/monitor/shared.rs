//! What the pipeline's thread, the scrapers and the tasks around them share.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    config::Config,
    cost::Process,
    diagnoses::Diagnoses,
    labels::Labels,
    metrics::{Format, Saved, Values},
};
use crate::{inventory::EngineStatus, report::Counted};

/// A pipeline that has not come round for so long is stuck.
const STUCK: Duration = Duration::from_secs(10);

/// All of it.
#[derive(Debug)]
pub(super) struct Shared {
    config: Mutex<Arc<Config>>,
    state: Mutex<State>,
    started: Instant,
    /// When the pipeline came round last, milliseconds since the start.
    beat: AtomicU64,
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) values: Values,
    pub(super) labels: Labels,
    pub(super) diagnoses: Diagnoses,
    /// Since when the engine has not answered, and why.
    engine: Option<Down>,
    /// Runs of the drop program by its own counters.
    pub(super) runs: u64,
    /// Whether the kernel half is attached.
    pub(super) is_attached: bool,
}

#[derive(Debug)]
struct Down {
    since: Instant,
    why: String,
    /// It answered before.
    was_up: bool,
    /// A line has said so.
    is_told: bool,
}

impl Shared {
    pub(super) fn new(config: Config) -> Self {
        let mut state = State::default();
        state.values.is_configured = true;
        Self {
            config: Mutex::new(Arc::new(config)),
            state: Mutex::new(state),
            started: Instant::now(),
            beat: AtomicU64::new(0),
        }
    }

    /// What the service was told to do, by now.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&lock(&self.config))
    }

    pub(super) fn configure(&self, config: Config) {
        *lock(&self.config) = Arc::new(config);
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The pipeline has come round: the ring is drained.
    pub(super) fn beat(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat.store(now, Ordering::Relaxed);
    }

    /// The metrics.
    pub(super) fn page(&self, format: Format) -> String {
        let process = Process::read();
        self.state().values.page(format, Some(&process))
    }

    /// The metrics for node_exporter's textfile collector: without `process_*`, which it has of its own.
    pub(super) fn file(&self) -> String {
        self.state().values.page(Format::Text, None)
    }

    /// Whether the pipeline comes round.
    pub(super) fn health(&self) -> Result<String, String> {
        let beat = Duration::from_millis(self.beat.load(Ordering::Relaxed));
        let since = self.started.elapsed().saturating_sub(beat);
        if since < STUCK {
            Ok("ok".to_owned())
        } else {
            Err(format!(
                "the event loop has been stuck for {} s",
                since.as_secs()
            ))
        }
    }

    /// Whether everything is seen and can be named.
    pub(super) fn readiness(&self) -> Result<String, String> {
        let state = self.state();
        if !state.is_attached {
            return Err("the kernel half is not attached yet".to_owned());
        }
        match &state.engine {
            None if state.values.docker_up => Ok("ready".to_owned()),
            None => Err("the container engine has not answered yet".to_owned()),
            Some(down) => Err(format!(
                "drops are counted, but containers may lack names: {}",
                down.why
            )),
        }
    }
}

impl State {
    /// Takes over what the kernel has counted. Gives a sentence if the engine came or went.
    pub(super) fn counted(&mut self, counted: &Counted<'_>, started: Instant) -> Option<String> {
        let values = &mut self.values;
        values.ledger = counted.ledger.clone();
        // The kernel's own sum: what is on its way is in it.
        values.ledger.observed = counted.totals.observed;
        self.runs = counted.totals.observed + counted.totals.non_packets;
        values.ring_full = counted.totals.ring_full;
        values.counts_full = counted.totals.other;
        values.ring = counted.ring;
        values.reasons.clear();
        for (number, packets) in counted.reasons {
            let name = counted.names.name(*number);
            let name = name.unwrap_or_else(|| "none".to_owned());
            *values.reasons.entry(name).or_default() += packets;
        }
        let inventory = counted.inventory;
        values.containers = inventory
            .containers()
            .filter(|container| container.runs())
            .count();
        let status = inventory.engine_status();
        let was_up = values.docker_up;
        values.docker_up = matches!(status, EngineStatus::Up { .. });
        if let Some(version) = status.version() {
            let down = self.engine.take();
            values.inventory_age = 0.0;
            // At the start `ready` has told it, unless it was down then.
            return down
                .filter(|down| down.is_told)
                .map(|_| format!("docker {version} answers, containers have their names"));
        }
        let now = Instant::now();
        let down = self.engine.get_or_insert_with(|| Down {
            since: if was_up { now } else { started },
            why: "the container engine has not answered yet".to_owned(),
            was_up,
            is_told: false,
        });
        values.inventory_age = down.since.elapsed().as_secs_f64();
        let problem = status.problem()?;
        problem.clone_into(&mut down.why);
        let is_told = std::mem::replace(&mut down.is_told, true);
        (!is_told && down.was_up).then(|| format!("no names from the container engine: {problem}"))
    }

    /// Goes on from what a service before has counted.
    pub(super) fn restore(&mut self, saved: Saved) {
        let labels = self.values.restore(saved);
        self.labels.restore(labels);
    }

    /// Forgets what belonged to these containers.
    pub(super) fn forget(&mut self, containers: &HashSet<String>) {
        if !containers.is_empty() {
            self.values.forget(containers);
        }
    }
}

/// A thread that panicked while it held the lock left numbers that are still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
