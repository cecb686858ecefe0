//! pcapng, for Wireshark: each dropped packet's first bytes, with why it died as its comment.

mod blocks;
mod frame;
mod packets;
#[cfg(test)]
mod tests;

use std::{io::Write, time::Duration};

use anyhow::Result;
use jiff::Timestamp;

pub(crate) use self::{frame::Frame, packets::Packets};
use super::{Report, Stream};
use crate::model::{Drop, Ledger, Ready};

/// Writes pcapng. NAT transitions have no bytes: the command line refuses `--nat` with it.
pub struct Pcapng<W> {
    packets: Packets<W>,
    /// Tells the user what packets cannot.
    notes: Box<dyn Report + Send>,
    written: u64,
    /// Drops without bytes, and findings.
    counted: u64,
    findings: u64,
}

impl<W: Write> Pcapng<W> {
    /// Writes to `out`.
    pub fn new(out: W, notes: Box<dyn Report + Send>) -> Self {
        Self {
            packets: Packets::new(out),
            notes,
            written: 0,
            counted: 0,
            findings: 0,
        }
    }

    /// Begins a new section, which stands alone.
    ///
    /// # Errors
    /// Writing failed.
    pub fn restart(&mut self) -> Result<Stream> {
        self.packets.restart()
    }

    /// Where it goes; what is buffered goes there later.
    pub(crate) fn out_mut(&mut self) -> &mut W {
        self.packets.out_mut()
    }

    /// Who tells the user, and where packets go.
    pub(crate) fn parts_mut(&mut self) -> (&mut dyn Report, &mut W) {
        (&mut *self.notes, self.packets.out_mut())
    }
}

impl<W: Write> Report for Pcapng<W> {
    fn ready(&mut self, ready: &Ready, after: Duration) -> Result<Stream> {
        let _ = self.packets.begin(&ready.kernel)?;
        let _ = self.notes.ready(ready, after)?;
        self.packets.flush()
    }

    fn dropped(&mut self, drop: &Drop) -> Result<Stream> {
        match Frame::of(drop) {
            Some(frame) => {
                self.written += 1;
                self.packets.write(&frame)
            }
            None => {
                self.counted = self.counted.saturating_add(drop.count);
                Ok(Stream::Open)
            }
        }
    }

    fn finding(&mut self, _finding: &Drop) -> Result<Stream> {
        self.findings += 1;
        Ok(Stream::Open)
    }

    fn tick(&mut self, now: Timestamp) -> Result<Stream> {
        let _ = self.notes.tick(now)?;
        self.packets.flush()
    }

    fn ledger(&mut self, _ledger: &Ledger) -> Result<Stream> {
        self.packets.flush()
    }

    fn finish(&mut self, ledger: &Ledger, interrupted: bool) -> Result<Stream> {
        let stream = self.packets.flush()?;
        let _ = self.notes.finish(ledger, interrupted)?;
        if self.counted > 0 {
            self.notes.note(&format!(
                "{} packets written; {} more were only counted, and have no bytes",
                self.written, self.counted
            ));
        }
        if self.findings > 0 {
            self.notes.note(&format!(
                "{} failures that dropped nothing have no packet: see --output text or json",
                self.findings
            ));
        }
        Ok(stream)
    }

    fn note(&mut self, text: &str) {
        self.notes.note(text);
    }

    fn warning(&mut self, text: &str) {
        self.notes.warning(text);
    }
}
