//! Writing frames: sections, interfaces and names before the packets that need them.

use std::{
    collections::{HashMap, HashSet},
    io::Write,
    net::IpAddr,
};

use anyhow::Result;

use super::{
    blocks,
    frame::{Frame, Interface},
};
use crate::report::{Stream, clean, sink::Sink};

/// Interfaces, and names, of one section; beyond that a new section begins.
const REMEMBERED: usize = 4096;

/// Writes frames to `W`.
pub(crate) struct Packets<W> {
    sink: Sink<W>,
    kernel: String,
    interfaces: HashMap<Interface, u32>,
    names: HashSet<(IpAddr, String)>,
}

impl<W: Write> Packets<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            sink: Sink::named(out, "writing packets"),
            kernel: String::new(),
            interfaces: HashMap::new(),
            names: HashSet::new(),
        }
    }

    /// Begins the first section; `kernel` is the release of the kernel that dropped the packets.
    ///
    /// # Errors
    /// Writing failed, here as in all others.
    pub(crate) fn begin(&mut self, kernel: &str) -> Result<Stream> {
        kernel.clone_into(&mut self.kernel);
        self.restart()
    }

    /// Begins a new section, which stands alone.
    pub(crate) fn restart(&mut self) -> Result<Stream> {
        self.interfaces.clear();
        self.names.clear();
        let application = concat!("dockernet-trace ", env!("CARGO_PKG_VERSION"));
        let os = format!("Linux {}", clean::line(&self.kernel));
        let section = blocks::section(
            &os,
            application,
            Some("packets that were dropped, as far as their headers were kept"),
        );
        self.sink.write(&section)
    }

    pub(crate) fn write(&mut self, frame: &Frame) -> Result<Stream> {
        if self.names.len() + frame.names.len() > REMEMBERED {
            let _ = self.restart()?;
        }
        let number = self.interface(&frame.interface)?;
        self.name(&frame.names)?;
        let block = blocks::packet(
            number,
            frame.time,
            &frame.bytes,
            frame.length,
            frame.way,
            &frame.comment,
        );
        self.sink.write(&block)
    }

    /// Sends what is buffered.
    pub(crate) fn flush(&mut self) -> Result<Stream> {
        self.sink.flush()
    }

    /// Where it goes; what is buffered goes there later.
    pub(crate) fn out_mut(&mut self) -> &mut W {
        self.sink.get_mut()
    }

    fn interface(&mut self, interface: &Interface) -> Result<u32> {
        if let Some(number) = self.interfaces.get(interface) {
            return Ok(*number);
        }
        if self.interfaces.len() >= REMEMBERED {
            let _ = self.restart()?;
        }
        let block = blocks::interface(interface.link, &interface.name, &interface.description);
        let _ = self.sink.write(&block)?;
        let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.interfaces.insert(interface.clone(), number);
        Ok(number)
    }

    /// Tells names of addresses, each once.
    fn name(&mut self, names: &[(IpAddr, String)]) -> Result<()> {
        let mut new = Vec::new();
        for named in names {
            if self.names.insert(named.clone()) {
                new.push(named.clone());
            }
        }
        if !new.is_empty() {
            let _ = self.sink.write(&blocks::names(&new))?;
        }
        Ok(())
    }
}
