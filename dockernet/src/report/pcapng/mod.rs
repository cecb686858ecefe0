//! pcapng, for Wireshark: each dropped packet's first bytes, with why it died as its comment.

mod blocks;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    io::Write,
    net::IpAddr,
    time::Duration,
};

use anyhow::Result;
use jiff::{Timestamp, tz::TimeZone};

use self::blocks::Way;
use super::{Look, Report, Stream, Width, block, clean, sink::Sink};
use crate::model::{Drop, EndpointKind, Ledger, LinkType, NetnsOwner, Ready};

/// Interfaces, and names, of one section; beyond that a new section begins.
const REMEMBERED: usize = 4096;

/// Devices are told apart by namespace, name, and what their packets begin with.
type Interface = (u32, String, String, LinkType);

/// Writes pcapng. NAT transitions have no bytes: the command line refuses `--nat` with it.
pub struct Pcapng<W> {
    sink: Sink<W>,
    /// Tells the user what packets cannot.
    notes: Box<dyn Report + Send>,
    kernel: String,
    interfaces: HashMap<Interface, u32>,
    names: HashSet<(IpAddr, String)>,
    packets: u64,
    /// Drops without bytes, and findings.
    counted: u64,
    findings: u64,
}

impl<W: Write> Pcapng<W> {
    /// Writes to `out`.
    pub fn new(out: W, notes: Box<dyn Report + Send>) -> Self {
        Self {
            sink: Sink::named(out, "writing packets"),
            notes,
            kernel: String::new(),
            interfaces: HashMap::new(),
            names: HashSet::new(),
            packets: 0,
            counted: 0,
            findings: 0,
        }
    }

    /// Begins a new section, which stands alone.
    ///
    /// # Errors
    /// Writing failed.
    pub fn restart(&mut self) -> Result<Stream> {
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

    /// Where it goes; what is buffered goes there later.
    pub(crate) fn out_mut(&mut self) -> &mut W {
        self.sink.get_mut()
    }

    /// Who tells the user, and where packets go.
    pub(crate) fn parts_mut(&mut self) -> (&mut dyn Report, &mut W) {
        (&mut *self.notes, self.sink.get_mut())
    }

    fn interface(&mut self, drop: &Drop, link: LinkType) -> Result<u32> {
        let device = drop
            .device
            .as_ref()
            .or(drop.ingress_device.as_ref())
            .map_or("unknown", String::as_str);
        let whose = description(drop);
        let key = (drop.netns.inum, device.to_owned(), whose, link);
        if let Some(number) = self.interfaces.get(&key) {
            return Ok(*number);
        }
        if self.interfaces.len() >= REMEMBERED {
            let _ = self.restart()?;
        }
        let block = blocks::interface(link, &clean::line(device), &key.2);
        let _ = self.sink.write(&block)?;
        let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.interfaces.insert(key, number);
        Ok(number)
    }

    /// Tells the names of a packet's ends, once.
    fn name(&mut self, drop: &Drop) -> Result<()> {
        let ends = drop.ends();
        let nat = drop.nat.as_ref();
        let host = nat
            .filter(|_| drop.published.is_some())
            .map(|nat| nat.original.dst);
        let named = [
            (&drop.source, ends.source),
            (&drop.destination, ends.destination),
        ]
        .into_iter()
        .filter_map(|(endpoint, end)| {
            let (address, _) = end?;
            match (&endpoint.container, endpoint.kind) {
                (Some(container), _) => Some((address, container.name.clone())),
                (None, EndpointKind::Host) => Some((address, "host".to_owned())),
                _ => None,
            }
        })
        .chain(host.map(|address| (address, "host".to_owned())));
        let mut new = Vec::new();
        for (address, name) in named {
            let named = (address, clean::line(&name).into_owned());
            let is_told = address.is_loopback()
                || named.1.is_empty()
                || self.names.len() >= REMEMBERED
                || self.names.contains(&named);
            if !is_told {
                self.names.insert(named.clone());
                new.push(named);
            }
        }
        if !new.is_empty() {
            let _ = self.sink.write(&blocks::names(&new))?;
        }
        Ok(())
    }
}

impl<W: Write> Report for Pcapng<W> {
    fn ready(&mut self, ready: &Ready, after: Duration) -> Result<Stream> {
        self.kernel.clone_from(&ready.kernel);
        let _ = self.restart()?;
        let _ = self.notes.ready(ready, after)?;
        self.sink.flush()
    }

    fn dropped(&mut self, drop: &Drop) -> Result<Stream> {
        let Some(capture) = &drop.capture else {
            self.counted = self.counted.saturating_add(drop.count);
            return Ok(Stream::Open);
        };
        self.packets += 1;
        let number = self.interface(drop, capture.link)?;
        self.name(drop)?;
        let pkt_type = drop
            .packet
            .as_ref()
            .map_or("", |packet| packet.pkt_type.as_ref());
        let way = match pkt_type {
            "outgoing" => Way::Out,
            _ if drop.ingress_device.is_some() => Way::In,
            _ => Way::Unknown,
        };
        let comment = comment(drop);
        let block = match capture.link {
            LinkType::Other => {
                let ethertype = drop
                    .packet
                    .as_ref()
                    .and_then(|packet| packet.ethertype.strip_prefix("0x"))
                    .and_then(|digits| u16::from_str_radix(digits, 16).ok())
                    .unwrap_or(0);
                let mut bytes = blocks::cooked(pkt_type, ethertype).to_vec();
                let length = capture.length.saturating_add(16);
                bytes.extend_from_slice(&capture.bytes);
                blocks::packet(number, drop.time, &bytes, length, way, &comment)
            }
            LinkType::Ethernet | LinkType::Ip => blocks::packet(
                number,
                drop.time,
                &capture.bytes,
                capture.length,
                way,
                &comment,
            ),
        };
        self.sink.write(&block)
    }

    fn finding(&mut self, _finding: &Drop) -> Result<Stream> {
        self.findings += 1;
        Ok(Stream::Open)
    }

    fn tick(&mut self, now: Timestamp) -> Result<Stream> {
        let _ = self.notes.tick(now)?;
        self.sink.flush()
    }

    fn ledger(&mut self, _ledger: &Ledger) -> Result<Stream> {
        self.sink.flush()
    }

    fn finish(&mut self, ledger: &Ledger, interrupted: bool) -> Result<Stream> {
        let stream = self.sink.flush()?;
        let _ = self.notes.finish(ledger, interrupted)?;
        if self.counted > 0 {
            self.notes.note(&format!(
                "{} packets written; {} more were only counted, and have no bytes",
                self.packets, self.counted
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

    fn warning(&mut self, text: &str) {
        self.notes.warning(text);
    }
}

/// Whose device it is: `container web`, `host`.
fn description(drop: &Drop) -> String {
    let text = match (&drop.netns.container, drop.netns.owner, &drop.netns.name) {
        (Some(container), ..) => format!("container {}", container.name),
        (None, NetnsOwner::Host, _) => "host".to_owned(),
        (None, _, Some(name)) => format!("namespace {name}"),
        (None, _, None) => format!("namespace {}", drop.netns.inum),
    };
    clean::line(&text).into_owned()
}

/// What text output would say, without the time.
fn comment(drop: &Drop) -> String {
    let look = Look {
        color: false,
        ascii: false,
        width: Width::Unlimited,
    };
    let (_, cause) = block::cause_name(drop);
    let mut text = clean::line(&format!(
        "{cause} ({})",
        match (&drop.noise, drop.cause.confidence) {
            (Some(_), _) => "benign",
            (None, crate::model::Confidence::Confirmed) => "confirmed",
            (None, crate::model::Confidence::Likely) => "likely",
            (None, crate::model::Confidence::Unknown) => "no cause found",
        }
    ))
    .into_owned();
    if let Some(kernel) = block::kernel(drop) {
        text.push_str("\nkernel ");
        text.push_str(&clean::line(&kernel));
    }
    for line in block::full(drop, &TimeZone::UTC, false).iter().skip(1) {
        text.push('\n');
        text.push_str(line.render(&look).trim());
    }
    text
}
