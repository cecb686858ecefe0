//! The pipeline's report, as the service takes it: everything is counted, diagnoses are told.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use jiff::Timestamp;

use super::{
    handover::{self, Taken},
    lines::Lines,
    notify::Notify,
    shared::Shared,
    textfile,
};
use crate::{
    model::{Drop, Fate, Ledger, NatKind, Ready, Transition},
    report::{Counted, Report, Stream, subject},
};

/// Between two looks at what has ended.
const LOOK: Duration = Duration::from_secs(1);
/// Between two words to systemd about how it goes, while nothing but counts has changed.
const STATUS: Duration = Duration::from_secs(60);
/// Between two looks at what networks are gone: each goes through all series.
const NETWORKS: Duration = Duration::from_secs(10);

/// The report.
pub(super) struct Sink {
    shared: Arc<Shared>,
    lines: Arc<Lines>,
    notify: Notify,
    /// Where metrics are served.
    address: Option<String>,
    /// The file that the counters come from, until they go on.
    taken: Option<Taken>,
    /// Between its first line and what it writes at the end.
    is_going: bool,
    started: Instant,
    looked: Instant,
    /// The last look at the networks.
    networks: Instant,
    /// What systemd was told last, and when.
    status: (String, Instant),
}

impl Sink {
    pub(super) fn new(
        shared: Arc<Shared>,
        lines: Arc<Lines>,
        notify: Notify,
        address: Option<String>,
        taken: Option<Taken>,
    ) -> Self {
        Self {
            shared,
            lines,
            notify,
            address,
            taken,
            is_going: false,
            started: Instant::now(),
            looked: Instant::now(),
            networks: Instant::now(),
            status: (String::new(), Instant::now()),
        }
    }

    /// A packet died, or a failure was found, that is to be told.
    fn diagnosed(&self, packet: &Drop, bytes: Option<u64>) {
        let config = self.shared.config();
        let mut state = self.shared.state();
        let label = subject(packet).map_or_else(String::new, |container| {
            state.labels.of(container, config.limits.containers)
        });
        let key = (packet.cause.id.clone(), label.clone());
        match bytes {
            Some(bytes) => {
                state
                    .values
                    .dropped(packet, &label, bytes, config.limits.series);
            }
            None => *state.values.findings.entry(key.clone()).or_default() += packet.count,
        }
        let now = Instant::now();
        let (has_begun, notice) =
            state
                .diagnoses
                .dropped(key.clone(), packet, now, config.diagnosis.lines);
        if has_begun {
            *state.values.began.entry(key.0.clone()).or_default() += 1;
            state.values.active.insert(key, true);
        }
        state.values.suppressed = state.diagnoses.suppressed + self.lines.lost();
        drop(state);
        if let Some(notice) = notice {
            self.lines.notice(&notice);
        }
    }

    /// Writes what is to go on after the end, once.
    fn keep(&mut self) {
        self.is_going = false;
        let config = self.shared.config();
        if let Some(path) = &config.state {
            let saved = self.shared.state().values.save();
            if let Err(error) = handover::write(path, saved) {
                let path = path.display();
                self.lines.note(&format!(
                    "counters will begin at 0: writing {path}: {error}"
                ));
            }
        }
        // Who reads the file later shall find the last numbers in it, and no diagnosis that nobody makes any more.
        self.shared.state().values.end_diagnoses();
        if let Some(path) = &config.textfile
            && let Err(error) = textfile::write_in_turn(path, || self.shared.file())
        {
            self.lines
                .note(&format!("writing {}: {error}", path.display()));
        }
    }

    /// Ends diagnoses and forgets containers that are gone.
    fn look(&mut self, now: Instant) {
        let config = self.shared.config();
        let mut state = self.shared.state();
        let tick = state.diagnoses.tick(
            now,
            config.diagnosis.clear_after,
            config.limits.keep,
            config.diagnosis.lines,
        );
        for key in tick.ended {
            state.values.active.insert(key, false);
        }
        for key in tick.forgotten {
            state.values.active.remove(&key);
        }
        state.values.suppressed = state.diagnoses.suppressed + self.lines.lost();
        let status = format!(
            "STATUS=causes at work now: {}{}; drops counted: ",
            state.diagnoses.active(),
            if state.values.docker_up {
                ""
            } else {
                "; no container engine"
            },
        );
        let ledger = &state.values.ledger;
        let (counted, diagnosed) = (ledger.observed, ledger.shown);
        drop(state);
        for notice in tick.notices {
            self.lines.notice(&notice);
        }
        // Counts alone are no news.
        let (told, at) = &self.status;
        if status != *told || now - *at >= STATUS {
            self.notify
                .send(&format!("{status}{counted}, diagnosed: {diagnosed}"));
            self.status = (status, now);
        }
    }
}

/// Where nothing came to its end: an error between the start and the loop, or one that leaves no last numbers; a panic.
impl std::ops::Drop for Sink {
    fn drop(&mut self) {
        if self.is_going {
            self.keep();
        }
    }
}

impl Report for Sink {
    fn ready(&mut self, ready: &Ready, after: Duration) -> Result<Stream> {
        let mut state = self.shared.state();
        state.values.programs.clone_from(&ready.programs);
        state.values.docker_up = ready.docker.is_some();
        state.values.containers = ready.containers;
        state.is_attached = true;
        drop(state);
        if let Some(taken) = self.taken.take() {
            taken.done();
        }
        self.is_going = true;
        self.shared.beat();
        self.lines.ready(ready, after, self.address.as_deref());
        self.notify.send("READY=1");
        Ok(Stream::Open)
    }

    fn dropped(&mut self, _drop: &Drop) -> Result<Stream> {
        Ok(Stream::Open)
    }

    fn transition(&mut self, transition: &Transition) -> Result<Stream> {
        let kind = match transition.kind {
            NatKind::Dnat => "dnat",
            NatKind::Snat => "snat",
            NatKind::Both => "dnat+snat",
            NatKind::Proxy => "proxy",
        };
        // A flow is told again when it is answered.
        if !transition.replied {
            let mut state = self.shared.state();
            *state.values.nat.entry(kind.into()).or_default() += 1;
        }
        Ok(Stream::Open)
    }

    fn finding(&mut self, finding: &Drop) -> Result<Stream> {
        self.diagnosed(finding, None);
        Ok(Stream::Open)
    }

    fn tick(&mut self, _now: Timestamp) -> Result<Stream> {
        let now = Instant::now();
        self.shared.beat();
        self.notify.alive(now);
        if now - self.looked >= LOOK {
            self.looked = now;
            self.look(now);
        }
        Ok(Stream::Open)
    }

    fn ledger(&mut self, _ledger: &Ledger) -> Result<Stream> {
        Ok(Stream::Open)
    }

    fn ending(&mut self) {
        // What is waited for at the end may take as long as the watchdog waits.
        self.notify.send("WATCHDOG=1");
        self.notify.send("STOPPING=1");
    }

    fn finish(&mut self, ledger: &Ledger, _interrupted: bool) -> Result<Stream> {
        self.keep();
        self.lines.ledger(ledger);
        Ok(Stream::Open)
    }

    fn accounted(&mut self, fate: Fate, drop: &Drop, bytes: u64) {
        match fate {
            Fate::Shown => self.diagnosed(drop, Some(bytes)),
            Fate::Benign => self.shared.state().values.benign(drop),
            Fate::Expected => {
                let most = self.shared.config().limits.containers;
                let mut state = self.shared.state();
                let label = subject(drop)
                    .map_or_else(String::new, |container| state.labels.of(container, most));
                state.values.expected(drop, &label);
            }
            // Sums in the ledger.
            Fate::Filtered | Fate::OutOfScope => {}
        }
    }

    fn counted(&mut self, counted: &Counted<'_>) {
        let keep = self.shared.config().limits.keep;
        let mut state = self.shared.state();
        let engine = state.counted(counted, self.started);
        let now = Instant::now();
        let expired = state.labels.expired(counted.inventory, keep, now);
        state.forget(&expired);
        if now - self.networks >= NETWORKS {
            self.networks = now;
            state.values.forget_networks(counted.inventory, keep, now);
        }
        drop(state);
        if let Some(sentence) = engine {
            self.lines.note(&sentence);
        }
    }

    fn note(&mut self, text: &str) {
        self.lines.note(text);
    }

    fn warning(&mut self, text: &str) {
        self.lines.note(text);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::{
        monitor::Config,
        report::samples::{denied, ledger},
    };

    fn sink(shared: &Arc<Shared>) -> Sink {
        let lines = Arc::new(Lines::to_nobody(None));
        let notify = Notify::from_environment();
        Sink::new(Arc::clone(shared), lines, notify, None, None)
    }

    #[test]
    fn what_ends_without_an_end_keeps_its_counters() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counters.json");
        let shared = Arc::new(Shared::new(Config {
            state: Some(path.clone()),
            ..Config::default()
        }));
        let going = || {
            let mut sink = sink(&shared);
            sink.is_going = true;
            sink
        };
        drop(sink(&shared));
        assert!(!path.exists());
        drop(going());
        assert!(path.exists());
        std::fs::remove_file(&path).unwrap();
        let mut ended = going();
        let _ = ended.finish(&ledger(), false).unwrap();
        std::fs::remove_file(&path).unwrap();
        drop(ended);
        assert!(!path.exists());
    }

    #[test]
    fn the_last_page_of_the_file_has_no_diagnosis_at_work() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dockernet.prom");
        let shared = Arc::new(Shared::new(Config {
            textfile: Some(path.clone()),
            ..Config::default()
        }));
        let mut sink = sink(&shared);
        sink.accounted(Fate::Shown, &denied("198.51.100.20", 4000), 60);
        let active = |page: &str| -> Vec<String> {
            let lines = page.lines();
            lines
                .filter(|line| line.starts_with("dockernet_diagnosis_active{"))
                .filter_map(|line| line.rsplit(' ').next().map(str::to_owned))
                .collect()
        };
        assert_eq!(active(&shared.file()), ["1"]);
        let _ = sink.finish(&ledger(), false).unwrap();
        assert_eq!(active(&std::fs::read_to_string(path).unwrap()), ["0"]);
    }
}
