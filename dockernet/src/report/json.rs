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
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    /// First line of tracing: what runs and what it can see.
    Ready(&'a Ready),
    /// One dropped packet, or many alike.
    Drop(&'a Drop),
    /// One NAT transition (`--nat`).
    Nat(&'a Transition),
    /// One packet's way through the host (`path`).
    Journey(&'a Journey),
    /// A packet that asks for an answer got none in time (`path`).
    Silence(&'a Silence),
    /// How a probe ended for the one who sent it (`path --probe`).
    Probe(&'a ProbeEnd),
    /// What a flow came to (`path`, at the end).
    Path(&'a FlowSum),
    /// A failure that leaves no dropped packet.
    Finding(&'a Drop),
    /// What became of every dropped packet: every 30 s, and as the last line; of `monitor` that alone.
    Ledger(&'a Ledger),
}

/// One object as a line of its own.
pub(crate) fn json_line(value: &impl Serialize) -> Result<String> {
    let mut line = serde_json::to_string(value).context("writing JSON")?;
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
pub(crate) fn schemas(generator: &mut schemars::SchemaGenerator) -> Vec<schemars::Schema> {
    vec![<Line<'_> as schemars::JsonSchema>::json_schema(generator)]
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

    fn note(&mut self, text: &str) {
        let _ = writeln!(std::io::stderr(), "dockernet-trace: {}", clean::line(text));
    }

    fn warning(&mut self, text: &str) {
        let _ = writeln!(
            std::io::stderr(),
            "dockernet-trace: warning: {}",
            clean::line(text)
        );
    }
}
