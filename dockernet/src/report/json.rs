//! JSON Lines, as the contract has them.

use std::{io::Write, time::Duration};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Serialize;

use super::{Report, Stream, clean, sink::Sink};
use crate::model::{
    Drop, FlowSum, Journey, Ledger, PathEvent, ProbeEnd, Ready, Silence, Transition,
};

/// One line: `type` first, then the keys of the model's type in their order.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    Ready(&'a Ready),
    Drop(&'a Drop),
    Nat(&'a Transition),
    Journey(&'a Journey),
    Silence(&'a Silence),
    Probe(&'a ProbeEnd),
    Path(&'a FlowSum),
    Finding(&'a Drop),
    Ledger(&'a Ledger),
}

/// Writes JSON Lines.
#[derive(Debug)]
pub struct Json<W> {
    sink: Sink<W>,
    line: Vec<u8>,
}

impl<W: Write> Json<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self {
            sink: Sink::new(out),
            line: Vec::new(),
        }
    }

    fn line(&mut self, line: &Line<'_>) -> Result<Stream> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line).context("writing a JSON line")?;
        self.line.push(b'\n');
        self.sink.write(&self.line)
    }
}

impl<W: Write> Report for Json<W> {
    fn ready(&mut self, ready: &Ready, _after: Duration) -> Result<Stream> {
        let mut ready = ready.clone();
        ready.docker_host = ready.docker_host.as_deref().map(clean::without_secrets);
        let _ = self.line(&Line::Ready(&ready))?;
        self.sink.flush()
    }

    fn dropped(&mut self, drop: &Drop) -> Result<Stream> {
        self.line(&Line::Drop(drop))
    }

    fn transition(&mut self, transition: &Transition) -> Result<Stream> {
        self.line(&Line::Nat(transition))
    }

    fn path(&mut self, event: &PathEvent) -> Result<Stream> {
        self.line(&match event {
            PathEvent::Journey(journey) => Line::Journey(journey),
            PathEvent::Silence(silence) => Line::Silence(silence),
            PathEvent::Probe(probe) => Line::Probe(probe),
        })
    }

    fn flows(&mut self, sums: &[FlowSum]) -> Result<Stream> {
        for sum in sums {
            let _ = self.line(&Line::Path(sum))?;
        }
        self.sink.flush()
    }

    fn finding(&mut self, finding: &Drop) -> Result<Stream> {
        self.line(&Line::Finding(finding))
    }

    fn tick(&mut self, _now: Timestamp) -> Result<Stream> {
        self.sink.flush()
    }

    fn ledger(&mut self, ledger: &Ledger) -> Result<Stream> {
        let _ = self.line(&Line::Ledger(ledger))?;
        self.sink.flush()
    }

    fn finish(&mut self, ledger: &Ledger, _interrupted: bool) -> Result<Stream> {
        self.ledger(ledger)
    }

    fn warning(&mut self, text: &str) {
        let _ = writeln!(
            std::io::stderr(),
            "dockernet-trace: warning: {}",
            clean::line(text)
        );
    }
}
