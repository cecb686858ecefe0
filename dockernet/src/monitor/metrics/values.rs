//! The values of all metrics, and the page made of them.

mod networks;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
};

use self::networks::Unlisted;
use super::{
    before::Sums,
    encode::{Encoder, Exemplar, Format},
    table,
};
use crate::{
    model::{Drop, Ledger},
    monitor::{cost::Process, labels::OTHER},
};

/// Labels of a series of drops: cause, container, network.
type Key = (Cow<'static, str>, String, String);

/// One series of drops.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) exemplar: Option<Exemplar>,
}

/// What the kernel half and the service cost, as last measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// CPU time of the kernel half, seconds.
    pub bpf_seconds: f64,
    /// Mean of one run, seconds.
    pub bpf_run: f64,
    /// Maps, bytes.
    pub map_bytes: u64,
    /// What the budget bounds: resident memory and maps, what is in both once.
    pub memory_bytes: u64,
    /// CPU time of both over the last minute, of one core.
    pub cpu: f64,
    /// Whether packets are only counted.
    pub is_reduced: bool,
}

/// All values.
#[derive(Debug, Default)]
pub struct Values {
    pub(super) drops: BTreeMap<Key, Series>,
    pub(super) removed: u64,
    pub(super) capped: u64,
    pub(super) benign: BTreeMap<String, u64>,
    pub(super) expected: BTreeMap<(Cow<'static, str>, String), u64>,
    pub(super) last: BTreeMap<Cow<'static, str>, f64>,
    /// What runs before this one had of what begins at 0 with it.
    pub(super) before: Sums,
    /// Networks of series that are gone.
    unlisted: Unlisted,
    /// Diagnoses that are told: whether they go on.
    pub active: BTreeMap<(Cow<'static, str>, String), bool>,
    /// Diagnoses that began, by cause.
    pub began: BTreeMap<Cow<'static, str>, u64>,
    /// Findings by cause and container.
    pub findings: BTreeMap<(Cow<'static, str>, String), u64>,
    /// NAT transitions by kind.
    pub nat: BTreeMap<Cow<'static, str>, u64>,
    /// The sums of this run.
    pub ledger: Ledger,
    /// Details that found the ring full, in this run.
    pub ring_full: u64,
    /// Packets that found the counts full, in this run.
    pub counts_full: u64,
    /// Packets by reason, in this run.
    pub reasons: BTreeMap<String, u64>,
    /// The fullest the ring was, of 1.
    pub ring: f64,
    /// Attached programs.
    pub programs: Vec<String>,
    /// Whether the engine answers.
    pub docker_up: bool,
    /// How long it has not, seconds.
    pub inventory_age: f64,
    /// Containers known.
    pub containers: usize,
    /// What it all costs.
    pub cost: Cost,
    /// Lines left out, in this run.
    pub suppressed: u64,
    /// Whether the configuration was understood.
    pub is_configured: bool,
}

impl Values {
    /// Enters drops of one cause and container; `most` bounds the series.
    pub fn dropped(&mut self, drop: &Drop, container: &str, bytes: u64, most: usize) {
        let cause = drop.cause.id.clone();
        let time = seconds(drop.time);
        // The clock may have been set back.
        self.last.insert(cause.clone(), time);
        let mut key = (cause, container.to_owned(), network(drop).to_owned());
        if self.drops.len() >= most && !self.drops.contains_key(&key) {
            key.1 = OTHER.to_owned();
            key.2 = String::new();
        }
        if key.1 == OTHER {
            self.capped += drop.count;
        }
        self.unlisted.is_used(&key.2);
        let series = self.drops.entry(key).or_default();
        series.packets += drop.count;
        series.bytes = series.bytes.saturating_add(bytes);
        // A line that stands for many has no packet of its own.
        if drop.count == 1 {
            series.exemplar = exemplar(drop, time);
        }
    }

    /// Enters noise.
    pub fn benign(&mut self, drop: &Drop) {
        *self
            .benign
            .entry(drop.noise.as_deref().unwrap_or("other").to_owned())
            .or_default() += drop.count;
    }

    /// Enters deliberate drops.
    pub fn expected(&mut self, drop: &Drop, container: &str) {
        let key = (drop.cause.id.clone(), container.to_owned());
        *self.expected.entry(key).or_default() += drop.count;
    }

    /// Nothing is diagnosed from here on. The series stay, so that who reads them last sees the end of each.
    pub fn end_diagnoses(&mut self) {
        for is_active in self.active.values_mut() {
            *is_active = false;
        }
    }

    /// Removes the series of containers that are gone.
    pub fn forget(&mut self, containers: &HashSet<String>) {
        self.remove(|container, _| containers.contains(container));
        self.expected
            .retain(|(_, container), _| !containers.contains(container));
        self.findings
            .retain(|(_, container), _| !containers.contains(container));
        self.active
            .retain(|(_, container), is_active| *is_active || !containers.contains(container));
    }

    /// Removes series of drops by their container and network, and keeps their sum.
    fn remove(&mut self, is_gone: impl Fn(&str, &str) -> bool) {
        let removed = &mut self.removed;
        self.drops.retain(|(_, container, network), series| {
            let is_kept = !is_gone(container, network);
            if !is_kept {
                *removed += series.packets;
            }
            is_kept
        });
    }

    /// The page. Without a process its `process_*` are left out.
    #[must_use]
    pub fn page(&self, format: Format, process: Option<&Process>) -> String {
        let mut page = Encoder::new(format);
        for (family, of) in [
            (
                &table::DROPS,
                (|series| series.packets) as fn(&Series) -> u64,
            ),
            (&table::DROP_BYTES, |series| series.bytes),
        ] {
            page.family(family);
            for ((cause, container, network), series) in &self.drops {
                let exemplar = series.exemplar.as_ref().filter(|_| family == &table::DROPS);
                page.sample(family, &[cause, container, network], of(series), exemplar);
            }
        }
        page.single(&table::REMOVED, self.removed);
        page.family(&table::ACTIVE);
        for ((cause, container), is_active) in &self.active {
            page.sample(
                &table::ACTIVE,
                &[cause, container],
                u8::from(*is_active),
                None,
            );
        }
        page.family(&table::DIAGNOSES);
        for (cause, number) in &self.began {
            page.sample(&table::DIAGNOSES, &[cause], number, None);
        }
        for (family, values) in [
            (&table::FINDINGS, &self.findings),
            (&table::EXPECTED, &self.expected),
        ] {
            page.family(family);
            for ((cause, container), number) in values {
                page.sample(family, &[cause, container], number, None);
            }
        }
        page.family(&table::LAST);
        for (cause, time) in &self.last {
            page.sample(&table::LAST, &[cause], time, None);
        }
        page.family(&table::BENIGN);
        for (noise, number) in &self.benign {
            page.sample(&table::BENIGN, &[noise], number, None);
        }
        self.sums(&mut page);
        self.state(&mut page);
        self.cost(&mut page, process);
        page.finish()
    }

    fn sums(&self, page: &mut Encoder) {
        let (ledger, before) = (self.before.ledger(&self.ledger), &self.before);
        page.single(&table::OUT_OF_SCOPE, ledger.out_of_scope);
        page.single(&table::FILTERED, ledger.filtered);
        page.single(&table::LOST, ledger.lost);
        page.single(&table::OBSERVED, ledger.observed);
        if let Some(missed) = ledger.missed {
            page.single(&table::MISSED, missed);
        }
        page.family(&table::REASONS);
        for (reason, number) in &before.reasons(&self.reasons) {
            page.sample(&table::REASONS, &[reason], number, None);
        }
        page.family(&table::EVENTS_LOST);
        for (buffer, number) in [
            ("ring", before.ring_full + self.ring_full),
            ("counts", before.counts_full + self.counts_full),
        ] {
            page.sample(&table::EVENTS_LOST, &[buffer], number, None);
        }
        page.family(&table::NAT);
        for (kind, number) in &self.nat {
            page.sample(&table::NAT, &[kind], number, None);
        }
        page.single(&table::SERIES, self.drops.len());
        page.single(&table::CAPPED, self.capped);
        page.single(&table::LINES, before.suppressed + self.suppressed);
    }

    fn state(&self, page: &mut Encoder) {
        page.family(&table::ATTACHED);
        for program in &self.programs {
            page.sample(&table::ATTACHED, &[program], 1, None);
        }
        page.single(&table::DOCKER_UP, u8::from(self.docker_up));
        page.single(&table::AGE, self.inventory_age);
        page.single(&table::CONTAINERS, self.containers);
        page.single(&table::RELOADED, u8::from(self.is_configured));
        page.family(&table::BUILD);
        page.sample(&table::BUILD, &[env!("CARGO_PKG_VERSION")], 1, None);
    }

    fn cost(&self, page: &mut Encoder, process: Option<&Process>) {
        let cost = &self.cost;
        page.single(&table::RING, self.ring);
        page.single(
            &table::BPF_SECONDS,
            self.before.bpf_seconds + cost.bpf_seconds,
        );
        page.single(&table::BPF_RUN, cost.bpf_run);
        page.single(&table::MAP_BYTES, cost.map_bytes);
        page.single(&table::MEMORY, cost.memory_bytes);
        page.single(&table::CPU, cost.cpu);
        page.single(&table::DETAIL, u8::from(!cost.is_reduced));
        let Some(process) = process else { return };
        page.single(&table::PROCESS_CPU, process.cpu_seconds);
        page.single(&table::PROCESS_RSS, process.resident_bytes);
        page.single(&table::PROCESS_FDS, process.open_fds);
        page.single(&table::PROCESS_MAX_FDS, process.max_fds);
        page.single(&table::PROCESS_START, process.started);
    }
}

/// The network at the end that names the container.
fn network(drop: &Drop) -> &str {
    let (destination, source) = (&drop.destination, &drop.source);
    let end = if destination.container.is_some() || source.container.is_none() {
        [destination, source]
    } else {
        [source, destination]
    };
    end.into_iter()
        .find_map(|end| end.network.as_deref())
        .unwrap_or_default()
}

fn exemplar(drop: &Drop, time: f64) -> Option<Exemplar> {
    let packet = drop.packet.as_ref()?;
    let socket = |address: Option<std::net::IpAddr>, port: Option<u16>| {
        let address = address?;
        Some(port.map_or_else(
            || address.to_string(),
            |port| std::net::SocketAddr::new(address, port).to_string(),
        ))
    };
    let labels = [
        ("flow", drop.flow.clone()),
        ("src", socket(packet.src, packet.src_port)),
        ("dst", socket(packet.dst, packet.dst_port)),
    ];
    Some(Exemplar {
        labels: labels
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect(),
        time,
    })
}

fn seconds(time: jiff::Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}
