//! `record --pcapng`: the same files, for Wireshark.

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::Result;
use jiff::Timestamp;

use super::files::Files;
use crate::{
    cli::options::RecordArgs,
    model::{Drop, Ledger, Ready},
    report::{Pcapng, Report, Stream},
};

/// Writes pcapng into files that are rotated.
pub struct PcapngRecorder {
    pcapng: Pcapng<Whole>,
    parts: u32,
}

/// Bytes that go to the file together.
struct Whole(Files);

impl Write for Whole {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PcapngRecorder {
    /// Opens the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(args: &RecordArgs, notes: Box<dyn Report + Send>) -> Result<Self> {
        Ok(Self {
            pcapng: Pcapng::new(Whole(Files::create(args)?), notes),
            parts: 1,
        })
    }
}

impl Report for PcapngRecorder {
    fn ready(&mut self, ready: &Ready, after: Duration) -> Result<Stream> {
        self.pcapng.ready(ready, after)
    }

    fn dropped(&mut self, drop: &Drop) -> Result<Stream> {
        self.pcapng.dropped(drop)
    }

    fn finding(&mut self, finding: &Drop) -> Result<Stream> {
        self.pcapng.finding(finding)
    }

    fn tick(&mut self, now: Timestamp) -> Result<Stream> {
        let stream = self.pcapng.tick(now)?;
        let files = &mut self.pcapng.out_mut().0;
        if files.is_due() {
            files.finish()?;
            files.rotate()?;
            self.parts += 1;
            let _ = self.pcapng.restart()?;
        }
        Ok(stream)
    }

    fn ledger(&mut self, ledger: &Ledger) -> Result<Stream> {
        self.pcapng.ledger(ledger)
    }

    fn finish(&mut self, ledger: &Ledger, interrupted: bool) -> Result<Stream> {
        let stream = self.pcapng.finish(ledger, interrupted)?;
        self.pcapng.out_mut().0.finish()?;
        let (notes, out) = self.pcapng.parts_mut();
        super::wrote(notes, &out.0, self.parts);
        Ok(stream)
    }

    fn warning(&mut self, text: &str) {
        self.pcapng.warning(text);
    }
}
