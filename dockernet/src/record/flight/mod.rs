//! The flight recorder: the packets dropped lately are kept in memory, and written when something begins to drop packets.
//!
//! A report around the one that the user sees. Its memory is bounded by time and by size, its files by size and number.

mod files;
mod headers;
mod ring;

use std::{
    collections::HashMap,
    fs::File,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Result;
use jiff::Timestamp;

use self::ring::Ring;
use crate::{
    cli::flight::Flight,
    inventory::Inventory,
    model::{Drop, Fate, FlowSum, Ledger, PathEvent, Ready, Transition},
    report::{Counted, Frame, Packets, Report, Stream, subject_name},
};

/// What one file may hold, in bytes of packets and comments.
const FILE_SIZE: usize = 16 << 20;
/// Causes and containers that are remembered as begun.
const KNOWN: usize = 4096;

/// Keeps packets beside what `inner` does with drops.
pub struct FlightRecorder {
    inner: Box<dyn Report + Send>,
    flight: Flight,
    /// A cause that was quiet for so long begins anew.
    clear_after: Duration,
    kernel: String,
    ring: Ring,
    /// When each cause and subject was last seen.
    known: HashMap<(String, String), Instant>,
    writing: Option<Writing>,
    /// A failure was told; the next file may do better, and is told if it does.
    is_failing: bool,
}

/// A file that is being written.
struct Writing {
    packets: Packets<File>,
    path: PathBuf,
    until: Instant,
    /// However much begins meanwhile, it ends then.
    limit: Instant,
    written: u64,
    size: usize,
    is_full: bool,
    /// What it is about.
    causes: Vec<String>,
}

impl FlightRecorder {
    /// Makes the directory, if it is not there, and sees that it can be written to.
    ///
    /// # Errors
    /// It cannot.
    pub fn around(
        inner: Box<dyn Report + Send>,
        flight: Flight,
        clear_after: Duration,
    ) -> Result<Self> {
        files::prepare(&flight.directory)?;
        Ok(Self {
            inner,
            ring: Ring::new(flight.time),
            flight,
            clear_after,
            kernel: String::new(),
            known: HashMap::new(),
            writing: None,
            is_failing: false,
        })
    }

    /// A packet that died, or a failure without one.
    fn seen(&mut self, drop: &Drop, is_diagnosis: bool) {
        let frame = if self.flight.payload {
            Frame::of(drop)
        } else {
            Frame::cut(drop, headers::length)
        };
        let begins = is_diagnosis && self.begins(drop);
        if begins && let Err(error) = self.begin(drop) {
            self.failed(&error);
        }
        let Some(frame) = frame else {
            return;
        };
        let Some(mut writing) = self.writing.take() else {
            self.ring.push(frame, Instant::now());
            return;
        };
        match writing.write(&frame) {
            Ok(()) => self.writing = Some(writing),
            Err(error) => self.abandon(&writing, &error),
        }
    }

    /// Whether this cause was not at work for this container lately.
    fn begins(&mut self, drop: &Drop) -> bool {
        let now = Instant::now();
        let key = (drop.cause.id.to_string(), subject_name(drop));
        let quiet = |seen: &Instant| now.saturating_duration_since(*seen) >= self.clear_after;
        if let Some(seen) = self.known.get_mut(&key) {
            let begins = quiet(seen);
            *seen = now;
            return begins;
        }
        if self.known.len() >= KNOWN {
            self.known.retain(|_, seen| !quiet(seen));
        }
        if self.known.len() >= KNOWN {
            // So much is wrong at once that files are the least problem.
            return false;
        }
        self.known.insert(key, now);
        true
    }

    fn begin(&mut self, drop: &Drop) -> Result<()> {
        let cause = format!("{} ({})", drop.cause.id, subject_name(drop));
        let now = Instant::now();
        if let Some(writing) = &mut self.writing {
            writing.until = (now + self.flight.time).min(writing.limit);
            writing.causes.push(cause);
            return Ok(());
        }
        let (file, path) = files::create(&self.flight.directory, drop)?;
        let mut writing = Writing {
            packets: Packets::new(file),
            path,
            until: now + self.flight.time,
            limit: now + self.flight.time * 6,
            written: 0,
            size: 0,
            is_full: false,
            causes: vec![cause],
        };
        let begun = writing.packets.begin(&self.kernel).map(|_| ());
        let written = begun.and_then(|()| {
            let mut frames = self.ring.take();
            frames.try_for_each(|frame| writing.write(&frame))
        });
        match written {
            Ok(()) => self.writing = Some(writing),
            Err(error) => self.abandon(&writing, &error),
        }
        Ok(())
    }

    /// Puts on the disk what is there: whatever ends this process, the file has what was known up to then.
    fn flush(&mut self) {
        if let Some(mut writing) = self.writing.take() {
            match writing.packets.flush() {
                Ok(_) => self.writing = Some(writing),
                Err(error) => self.abandon(&writing, &error),
            }
        }
    }

    fn end(&mut self) {
        self.flush();
        if let Some(writing) = self.writing.take() {
            self.is_failing = false;
            if writing.written == 0 {
                // A failure that drops nothing, in the quiet: it would take the place of a file that tells something.
                if let Err(error) = std::fs::remove_file(&writing.path) {
                    log::debug!("removing {}: {error}", writing.path.display());
                }
                return;
            }
            self.inner.note(&writing.sentence());
            // Only now: a file that could not be written is no reason to lose an old one.
            files::make_room(&self.flight.directory, self.flight.keep, &writing.path);
        }
    }

    /// Removes a file that cannot be written to its end: it would take the place of a whole one.
    fn abandon(&mut self, writing: &Writing, error: &anyhow::Error) {
        let path = writing.path.display();
        let left = match std::fs::remove_file(&writing.path) {
            Ok(()) => String::new(),
            Err(error) => format!("; removing it: {error}"),
        };
        self.failed(&anyhow::anyhow!("{path}: {error:#}{left}"));
    }

    fn failed(&mut self, error: &anyhow::Error) {
        if !self.is_failing {
            self.is_failing = true;
            self.inner.warning(&format!("flight recorder: {error:#}"));
        }
    }
}

impl Writing {
    fn write(&mut self, frame: &Frame) -> Result<()> {
        self.size = self.size.saturating_add(frame.size());
        if self.size > FILE_SIZE {
            self.is_full = true;
            return Ok(());
        }
        self.written += 1;
        // A file has no reader that goes away.
        self.packets.write(frame).map(|_| ())
    }

    /// `wrote /var/…/x.pcapng: 12 packets around forward-drop (web)`
    fn sentence(&self) -> String {
        /// Beyond these they are a number.
        const NAMED: usize = 3;
        let named: Vec<&str> = self.causes.iter().take(NAMED).map(String::as_str).collect();
        let more = match self.causes.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let full = if self.is_full { "; it is full" } else { "" };
        let packets = if self.written == 1 {
            "packet"
        } else {
            "packets"
        };
        format!(
            "wrote {}: {} {packets} around {}{more}{full}",
            self.path.display(),
            self.written,
            named.join(", "),
        )
    }
}

impl std::ops::Drop for FlightRecorder {
    /// A run whose reader has gone (`| head`) is not finished.
    fn drop(&mut self) {
        self.end();
    }
}

impl Report for FlightRecorder {
    fn ready(&mut self, ready: &Ready, after: Duration) -> Result<Stream> {
        self.kernel.clone_from(&ready.kernel);
        self.inner.ready(ready, after)
    }

    fn dropped(&mut self, drop: &Drop) -> Result<Stream> {
        self.inner.dropped(drop)
    }

    fn transition(&mut self, transition: &Transition) -> Result<Stream> {
        self.inner.transition(transition)
    }

    fn path(&mut self, event: &PathEvent) -> Result<Stream> {
        self.inner.path(event)
    }

    fn flows(&mut self, sums: &[FlowSum]) -> Result<Stream> {
        self.inner.flows(sums)
    }

    fn finding(&mut self, finding: &Drop) -> Result<Stream> {
        self.seen(finding, true);
        self.inner.finding(finding)
    }

    fn tick(&mut self, now: Timestamp) -> Result<Stream> {
        // What follows a full file is kept for the next.
        let is_over = self
            .writing
            .as_ref()
            .is_some_and(|writing| writing.is_full || Instant::now() >= writing.until);
        if is_over {
            self.end();
        } else {
            self.flush();
        }
        self.ring.forget(Instant::now());
        self.inner.tick(now)
    }

    fn ledger(&mut self, ledger: &Ledger) -> Result<Stream> {
        self.inner.ledger(ledger)
    }

    fn ending(&mut self) {
        self.inner.ending();
    }

    fn finish(&mut self, ledger: &Ledger, interrupted: bool) -> Result<Stream> {
        self.end();
        self.inner.finish(ledger, interrupted)
    }

    fn accounted(&mut self, fate: Fate, drop: &Drop, bytes: u64) {
        // What the filter leaves out is nothing that the user wants to see.
        if fate != Fate::Filtered {
            self.seen(drop, fate == Fate::Shown && drop.noise.is_none());
        }
        self.inner.accounted(fate, drop, bytes);
    }

    fn inventory(&mut self, inventory: &Inventory) {
        self.inner.inventory(inventory);
    }

    fn counted(&mut self, counted: &Counted<'_>) {
        self.inner.counted(counted);
    }

    fn note(&mut self, text: &str) {
        self.inner.note(text);
    }

    fn warning(&mut self, text: &str) {
        self.inner.warning(text);
    }
}

#[cfg(test)]
mod tests;
