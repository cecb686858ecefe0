//! NAT records to transitions: who is who, what was asked for, how long the answer took.

mod asked;
mod build;
mod old;
mod open;
mod proxy;
mod wanted;

use std::time::{Duration, Instant};

use anyhow::Result;
use dockernet_common::{
    conntrack::status,
    nat::{NatRecord, direction, what},
};
use jiff::Timestamp;

pub(crate) use self::wanted::{accepted, wanted};
use self::{
    asked::Askable,
    build::Flow,
    old::Old,
    open::Open,
    proxy::{Carried, Carrier},
};
use super::watch;
use crate::{
    bpf::{
        clock::{Clock, monotonic_ns},
        nat::NatTracer,
    },
    cli::options::Options,
    host::{conntrack::Entry, netns::NetnsHandle},
    inventory::Inventory,
    model::{EndpointKind, NatKind, NatLedger, Transition},
    pcap_filter::Expression,
};

/// How long a transition waits for the name of a container that was just started.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many may wait; beyond that they go without.
const CROWD: usize = 4096;

/// The NAT view.
pub(super) struct Transitions {
    pub tracer: NatTracer,
    open: Open,
    old: Old,
    askable: Askable,
    carried: Carried,
    /// Transitions whose container is not known yet.
    unnamed: Vec<(Instant, Transition)>,
    /// Records that came up the ring.
    drained: u64,
    ledger: NatLedger,
    expression: Option<Expression>,
}

impl Transitions {
    pub(super) fn new(
        tracer: NatTracer,
        host: &NetnsHandle,
        expression: Option<Expression>,
    ) -> Self {
        Self {
            tracer,
            open: Open::default(),
            old: Old::read(host.clone()),
            askable: Askable::new(host.clone()),
            carried: Carried::default(),
            unnamed: Vec::new(),
            drained: 0,
            ledger: NatLedger::default(),
            expression,
        }
    }

    /// Tells the kernel half what is published.
    pub(super) fn follow(&mut self, inventory: &Inventory) -> Result<()> {
        self.tracer
            .set_published(watch::publishers(inventory), watch::published(inventory))
    }

    /// What has come since the last time, and was asked for, in the order of time. The flag: whether somebody waits for a
    /// name. `last`: nobody waits any longer.
    pub(super) fn drain(
        &mut self,
        options: &Options,
        inventory: &Inventory,
        clock: Clock,
        last: bool,
    ) -> (Vec<Transition>, bool) {
        self.sweep();
        let mut records: Vec<NatRecord> = Vec::new();
        self.tracer.drain(|record| records.push(*record));
        self.drained += records.len() as u64;
        let mut found: Vec<Transition> = Vec::new();
        if let Some(old) = self.old.arrived()
            && options.all
        {
            found.extend(old.values().filter_map(|entry| listed(entry, inventory)));
        }
        for record in &records {
            if !build::is_host(record, inventory) {
                self.ledger.hidden += 1;
                continue;
            }
            match self.take(record, inventory, clock) {
                Some(transition) => found.push(transition),
                None if matches!(record.what, what::TO_CONTAINER | what::SERVED) => {}
                None => self.ledger.hidden += 1,
            }
        }
        found.extend(self.askable.answered(&mut self.open, last));
        let found = self.named(found, inventory, last);
        let before = found.len();
        let bridge_of = |name: &str| inventory.network(name)?.bridge.clone();
        let mut shown: Vec<Transition> = found
            .into_iter()
            .filter(|transition| {
                wanted(transition, options, &bridge_of)
                    && self
                        .expression
                        .as_ref()
                        .is_none_or(|expression| accepted(transition, expression))
            })
            .collect();
        self.ledger.hidden += (before - shown.len()) as u64;
        shown.sort_by_key(|transition| transition.time);
        (shown, !self.unnamed.is_empty())
    }

    /// Forgets what nobody waits for any more.
    fn sweep(&mut self) {
        let now = monotonic_ns();
        self.open.sweep(now);
        self.old.sweep(now);
        self.carried.sweep(now);
    }

    /// A line was written, or, past `--count`, was not.
    pub(super) fn told(&mut self, is_shown: bool) {
        if is_shown {
            self.ledger.shown += 1;
        } else {
            self.ledger.hidden += 1;
        }
    }

    /// Whether something is to be done without a new packet.
    pub(super) fn is_waiting(&self) -> bool {
        !self.askable.is_empty()
            || !self.unnamed.is_empty()
            || matches!(self.old, Old::Reading { .. })
    }

    /// What became of every report so far.
    pub(super) fn ledger(&self) -> Result<NatLedger> {
        let totals = self.tracer.totals()?;
        let mut ledger = self.ledger;
        ledger.hidden += totals.refused;
        ledger.lost = totals.ring_full;
        ledger.seen = ledger.shown + ledger.hidden + ledger.lost;
        log::debug!(
            "NAT: {} reports found in the kernel = {} that came + {} without room; {} flows refused by the filter there",
            totals.found,
            self.drained,
            totals.ring_full,
            totals.refused
        );
        Ok(ledger)
    }

    /// A record's transition; none for what was told before or has nothing to do with NAT.
    fn take(
        &mut self,
        record: &NatRecord,
        inventory: &Inventory,
        clock: Clock,
    ) -> Option<Transition> {
        let time = clock.wall(record.ktime_ns);
        match record.what {
            what::SERVED => {
                self.carried.served(record, inventory);
                None
            }
            what::TO_CONTAINER => {
                let carrier = self.carried.carrier(record)?;
                let mut transition = build::transition(&Flow::of(record), time, inventory)?;
                build::add_packet(&mut transition, record, inventory);
                carry(&mut transition, carrier, inventory);
                transition.age_ms = Some(0.0);
                self.open.add(record, None, false);
                self.askable.push(record, &transition);
                Some(transition)
            }
            _ => {
                let mut transition = build::transition(&Flow::of(record), time, inventory)?;
                build::add_packet(&mut transition, record, inventory);
                if transition.redirect && record.direction == direction::REPLY {
                    // Redirected to a published port, it is docker-proxy that answers.
                    self.carried.served(record, inventory);
                }
                self.complete(record, &mut transition).then_some(transition)
            }
        }
    }

    /// Remembers a flow's first packet, and adds to its answer what only that told. False if it was told before.
    fn complete(&mut self, record: &NatRecord, transition: &mut Transition) -> bool {
        let old = self.old.take(record);
        if let Some(entry) = &old {
            transition.old = true;
            transition.age_ms = age_ms(entry, transition.time);
        }
        if !transition.replied {
            if transition.age_ms.is_none() && old.is_none() {
                transition.age_ms = Some(0.0);
            }
            let is_first = self.open.add(record, transition.masquerade, old.is_some());
            if is_first && transition.source.kind == EndpointKind::Host {
                self.askable.push(record, transition);
            }
            return is_first;
        }
        let Some(opened) = self.open.take(record) else {
            return true;
        };
        if transition.masquerade.is_none() {
            transition.masquerade = opened.masquerade;
        }
        let Some(since) = opened.since_ns else {
            transition.old = true;
            return true;
        };
        let span = span_ms(since, record.ktime_ns);
        transition.age_ms = Some(span);
        if record.what == what::TRANSLATED && record.direction == direction::REPLY {
            transition.answer_ms = Some(span);
        } else {
            transition.answered_within_ms = Some(span);
        }
        true
    }

    /// Those whose containers are known, and those that have waited long enough for them.
    fn named(
        &mut self,
        found: Vec<Transition>,
        inventory: &Inventory,
        last: bool,
    ) -> Vec<Transition> {
        let mut ready = Vec::new();
        for (since, mut transition) in std::mem::take(&mut self.unnamed) {
            build::name(&mut transition, inventory);
            if last || !build::is_unnamed(&transition, inventory) || since.elapsed() >= PATIENCE {
                ready.push(transition);
            } else {
                self.unnamed.push((since, transition));
            }
        }
        for transition in found {
            if !last && build::is_unnamed(&transition, inventory) && self.unnamed.len() < CROWD {
                self.unnamed.push((Instant::now(), transition));
            } else {
                ready.push(transition);
            }
        }
        ready
    }
}

/// A connection of docker-proxy's: the client's side of it is another flow.
fn carry(transition: &mut Transition, carrier: Carrier, inventory: &Inventory) {
    transition.kind = NatKind::Proxy;
    transition.proxy_pid = Some(carrier.pid);
    let listens = carrier.proxy.listens;
    transition.published = inventory
        .published(&transition.protocol, listens.ip(), listens.port())
        .map(|(_, published)| published.to_string())
        .or_else(|| {
            Some(format!(
                "{listens}->{}/{}",
                carrier.proxy.container.port(),
                transition.protocol
            ))
        });
    transition.original = carrier.client;
    transition.source = Default::default();
    build::name(transition, inventory);
}

/// A flow that is older than this run, as the table has it.
fn listed(entry: &Entry, inventory: &Inventory) -> Option<Transition> {
    let flow = Flow {
        original: &entry.original,
        reply: &entry.reply,
        status: entry.status,
        masquerade: dockernet_common::nat::UNKNOWN,
    };
    let mut transition = build::transition(&flow, Timestamp::now(), inventory)?;
    transition.old = true;
    transition.listed = true;
    transition.replied = entry.status & status::SEEN_REPLY != 0;
    transition.age_ms = age_ms(entry, transition.time);
    Some(transition)
}

fn age_ms(entry: &Entry, now: Timestamp) -> Option<f64> {
    let started = Timestamp::from_nanosecond(entry.started_ns?.into()).ok()?;
    Some(now.duration_since(started).as_secs_f64().max(0.0) * 1e3)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a span of nanoseconds, shown as milliseconds"
)]
fn span_ms(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e6
}
