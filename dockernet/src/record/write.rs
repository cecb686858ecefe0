//! A report that keeps everything.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::Value;
use zstd::{bulk::Compressor, zstd_safe::CParameter};

use super::{
    catalogue_hash,
    files::Files,
    inventory::Known,
    line::{FORMAT, Header, Written, with_drop, with_parts, with_transition},
    parts::Parts,
};
use crate::{
    cause::RULES_HOLD,
    cli::options::{Options, RecordArgs},
    host::state::{self, Notebook},
    inventory::{self, Inventory},
    model::{Drop, Ledger, Ready, Transition},
    report::{Counted, Report, Stream, without_secrets},
};

/// A frame goes out when it holds so many bytes, or for so long.
const FRAME: usize = 1 << 20;
const FRAME_TIME: Duration = Duration::from_secs(1);
/// Between two `inventory` lines at least so much time passes while nothing is dropped.
const INVENTORY_TIME: Duration = Duration::from_secs(1);
/// Drops are told by who was who just then: so many times as long as the last line took, no more.
const INVENTORY_SHARE: u32 = 20;
/// Questions whose answers are remembered, not to be written again.
const ANSWERS: usize = 16_384;
/// After that the same answer is written again: `replay` takes none that is much older.
const ANSWER_TIME: Duration = Duration::from_secs(10);
const _: () = assert!(ANSWER_TIME.as_secs() + RULES_HOLD.as_secs() < state::HOLDS.as_secs());
/// zstd's own default: the quickest that is still small.
const LEVEL: i32 = 3;

/// Writes a recording.
pub struct Recorder {
    /// Tells the user how it goes.
    notes: Box<dyn Report + Send>,
    files: Files,
    header: Header,
    ready: Option<Ready>,
    compressor: Compressor<'static>,
    /// Lines of the frame that is being made, and since when it is.
    frame: Vec<u8>,
    since: Instant,
    /// Whether something has come since the last tick.
    is_fresh: bool,
    /// Who is who, as it was written last.
    known: Option<Who>,
    /// What was known later and is not written yet.
    changed: Option<Who>,
    known_at: Option<Instant>,
    /// How long the last one took to write.
    known_cost: Duration,
    parts: Parts,
    notebook: Notebook,
    /// Questions, their last answers (as hashes) and when those were written.
    answers: HashMap<u64, (u64, Instant)>,
}

/// What an `inventory` line tells.
struct Who {
    known: Known,
    made_of: inventory::Parts,
}

impl Recorder {
    /// Opens the file. `notes` tells what people want to know meanwhile.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(
        args: &RecordArgs,
        options: &Options,
        reasons: Vec<String>,
        notes: Box<dyn Report + Send>,
    ) -> Result<Self> {
        let mut compressor = Compressor::new(LEVEL).context("starting zstd")?;
        compressor
            .set_parameter(CParameter::ChecksumFlag(true))
            .context("starting zstd")?;
        Ok(Self {
            notes,
            files: Files::create(args)?,
            header: Header {
                format: FORMAT,
                version: env!("CARGO_PKG_VERSION").into(),
                started: Timestamp::now(),
                ready_after: 0.0,
                part: 1,
                catalogue: catalogue_hash(),
                drops: options.drops,
                nat: options.nat,
                reasons,
            },
            ready: None,
            compressor,
            frame: Vec::new(),
            since: Instant::now(),
            is_fresh: false,
            known: None,
            changed: None,
            known_at: None,
            known_cost: Duration::ZERO,
            parts: Parts::default(),
            notebook: Notebook::default(),
            answers: HashMap::new(),
        })
    }

    fn line(&mut self, line: &Written<'_>) -> Result<()> {
        if self.frame.is_empty() {
            self.since = Instant::now();
        }
        serde_json::to_writer(&mut self.frame, line).context("writing a JSON line")?;
        self.frame.push(b'\n');
        if self.frame.len() >= FRAME {
            self.flush()?;
        }
        Ok(())
    }

    /// Ends the frame.
    fn flush(&mut self) -> Result<()> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let bytes = self
            .compressor
            .compress(&self.frame)
            .context("compressing")?;
        self.frame.clear();
        self.files.append(&bytes)
    }

    /// What each file begins with.
    fn begin(&mut self) -> Result<()> {
        let header = self.header.clone();
        self.line(&Written::Recording(&header))?;
        if let Some(ready) = self.ready.take() {
            let written = self.line(&Written::Ready(&ready));
            self.ready = Some(ready);
            written?;
        }
        self.known_line()?;
        // Each file stands alone.
        self.answers.clear();
        Ok(())
    }

    fn known_line(&mut self) -> Result<()> {
        let Some(who) = self.known.take() else {
            return Ok(());
        };
        let written = self.line(&Written::Inventory(with_parts(&who.known, &who.made_of)));
        self.known = Some(who);
        written
    }

    /// What the host was asked since the last drop; an answer that was written a moment ago is left out.
    fn asked(&mut self) -> Result<()> {
        for asked in self.notebook.take() {
            let question = hash(&asked.question);
            let answer = if asked.is_firewall() {
                hash(&without_counters(asked.answer.clone()))
            } else {
                hash(&asked.answer)
            };
            let is_known = self
                .answers
                .get(&question)
                .is_some_and(|(known, at)| *known == answer && at.elapsed() < ANSWER_TIME);
            if is_known {
                continue;
            }
            if self.answers.len() >= ANSWERS {
                self.answers.clear();
            }
            self.answers.insert(question, (answer, Instant::now()));
            self.line(&Written::State(&asked))?;
        }
        Ok(())
    }

    fn inventory_due(&mut self, pause: Duration) -> Result<()> {
        let is_early = self.known_at.is_some_and(|at| at.elapsed() < pause);
        if is_early {
            return Ok(());
        }
        if let Some(who) = self.changed.take() {
            let now = Instant::now();
            self.known_at = Some(now);
            self.known = Some(who);
            self.known_line()?;
            self.known_cost = now.elapsed();
        }
        Ok(())
    }

    fn rotate(&mut self) -> Result<()> {
        let ledger = self.parts.end(None);
        self.line(&Written::Ledger(&ledger))?;
        self.flush()?;
        self.files.finish()?;
        self.files.rotate()?;
        self.header.part += 1;
        self.begin()?;
        self.flush()
    }
}

/// Counters of rules move with every packet.
fn without_counters(mut rules: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.remove("counter");
                map.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut rules);
    rules
}

fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Report for Recorder {
    fn notebook(&self) -> Option<Notebook> {
        Some(self.notebook.clone())
    }

    fn ready(&mut self, ready: &Ready, after: Duration) -> Result<Stream> {
        self.header.started = Timestamp::now();
        self.header.ready_after = after.as_secs_f64();
        self.ready = Some(Ready {
            docker_host: ready.docker_host.as_deref().map(without_secrets),
            ..ready.clone()
        });
        self.begin()?;
        self.flush()?;
        self.notes.ready(ready, after)
    }

    fn dropped(&mut self, drop: &Drop) -> Result<Stream> {
        self.is_fresh = true;
        self.inventory_due(self.known_cost * INVENTORY_SHARE)?;
        self.asked()?;
        self.parts.drops += drop.count;
        self.line(&Written::Drop(with_drop(drop)))?;
        Ok(Stream::Open)
    }

    fn transition(&mut self, transition: &Transition) -> Result<Stream> {
        self.is_fresh = true;
        self.parts.transitions += 1;
        self.line(&Written::Nat(with_transition(transition)))?;
        Ok(Stream::Open)
    }

    fn finding(&mut self, finding: &Drop) -> Result<Stream> {
        self.is_fresh = true;
        self.line(&Written::Finding(with_drop(finding)))?;
        Ok(Stream::Open)
    }

    fn tick(&mut self, now: Timestamp) -> Result<Stream> {
        self.inventory_due(INVENTORY_TIME)?;
        // Of drops that are not recorded, too.
        self.asked()?;
        if std::mem::take(&mut self.is_fresh) {
            self.line(&Written::Tick { time: now })?;
        }
        if !self.frame.is_empty() && self.since.elapsed() >= FRAME_TIME {
            self.flush()?;
        }
        if self.files.is_due() {
            self.rotate()?;
        }
        self.notes.tick(now)
    }

    fn ledger(&mut self, ledger: &Ledger) -> Result<Stream> {
        self.parts.latest = ledger.clone();
        let part = self.parts.so_far();
        self.line(&Written::Ledger(&part))?;
        Ok(Stream::Open)
    }

    fn finish(&mut self, ledger: &Ledger, interrupted: bool) -> Result<Stream> {
        let part = self.parts.end(Some(ledger));
        self.line(&Written::Ledger(&part))?;
        self.flush()?;
        self.files.finish()?;
        let stream = self.notes.finish(ledger, interrupted)?;
        super::wrote(&mut *self.notes, &self.files, self.header.part);
        Ok(stream)
    }

    fn inventory(&mut self, inventory: &Inventory) {
        let made_of = inventory.parts();
        let is_same = |who: &Who| who.made_of == made_of;
        self.changed = (!self.known.as_ref().is_some_and(is_same)).then(|| Who {
            known: Known::of(inventory, Timestamp::now()),
            made_of,
        });
        // A failure to write shows with the next line, or at the next tick.
        let _ = self.inventory_due(INVENTORY_TIME);
    }

    fn counted(&mut self, counted: &Counted<'_>) {
        self.parts.latest = counted.ledger.clone();
    }

    fn warning(&mut self, text: &str) {
        self.notes.warning(text);
    }
}
