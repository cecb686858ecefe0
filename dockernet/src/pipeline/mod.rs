//! From the ring to the report, on one thread. Whoever reads [`Pipeline::run`] has seen all of it.

mod account;
mod began;
mod command;
mod judge;
mod merge;
mod paths;
mod scope;
mod stop;
mod transitions;
mod waiting;
mod watch;

use std::{
    os::fd::BorrowedFd,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use dockernet_common::{count::Totals, record::DropRecord};
use jiff::Timestamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::{Notify, watch::Receiver};

pub use command::Command;
pub use paths::Paths;
pub use stop::{Signals, block_signals};

use self::{
    account::Books, judge::Judge, merge::Merge, transitions::Transitions, waiting::Waiting,
};
use crate::{
    bpf::{
        clock::Clock,
        nat::NatTracer,
        reasons::Reasons,
        symbols::Symbols,
        tracer::{CountedKey, Tracer},
    },
    cli::{Exit, options::Options},
    evidence::{Evidence, Names, evidence},
    findings::{Finding, Findings},
    host::{
        changes::{self, Changes},
        netns::NetnsHandle,
        state::LiveState,
    },
    inventory::Inventory,
    model::{Drop, Endpoint, EndpointKind, Fate, NatLedger, NetnsKey, PathEvent},
    report::{Counted, Report, Stream},
    trace_rules::RuleTracer,
};

/// Between two drains at least so much time passes: wake-ups are batched, and a storm costs twenty of them a second.
const BATCH: Duration = Duration::from_millis(50);
/// With something to do at the next look (waiting samples, a storm's line).
const SOON: Duration = Duration::from_millis(50);
/// With nothing to do.
const IDLE: Duration = Duration::from_millis(500);
/// Between two looks at the counts.
const SETTLE: Duration = Duration::from_secs(1);
/// From one look at the counts to the next at least so many times as long as the look took: a fifth of a percent of a core.
const LOOK_SHARE: u32 = 500;
/// But never longer than this: who scrapes shall not wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Between two interim ledgers.
const INTERIM: Duration = Duration::from_secs(30);
/// After a program or a map was taken out of use, nothing is at work on it any more.
const GRACE: Duration = Duration::from_millis(20);

/// Everything that a run needs.
pub struct Pipeline {
    /// The attached drop program, if drops are to be seen.
    pub drops: Option<Tracer>,
    /// The NAT program, if transitions are to be seen.
    pub nat: Option<NatTracer>,
    /// The programs that follow flows, if one is to be followed.
    pub paths: Option<Paths>,
    /// What the user asked for.
    pub options: Options,
    /// The namespace taken as the host.
    pub host: NetnsHandle,
    /// Names of reasons.
    pub reasons: Reasons,
    /// Names of functions.
    pub symbols: Symbols,
    /// Who is who, live.
    pub inventory: Receiver<Arc<Inventory>>,
    /// Asks the inventory to look again.
    pub rescan: Arc<Notify>,
    /// Where results go.
    pub report: Box<dyn Report + Send>,
    /// SIGINT and SIGTERM.
    pub signals: Signals,
    /// What the service around it wants changed while it runs; none: nobody is there.
    pub commands: Option<mpsc::Receiver<Command>>,
}

/// What changes while it runs.
struct State {
    judge: Judge,
    books: Books,
    waiting: Waiting,
    transitions: Option<Transitions>,
    merge: Merge,
    /// Watches for failures that drop nothing.
    findings: Option<Findings>,
    started: Instant,
    /// Lines still allowed by `--count`.
    lines_left: Option<u64>,
    closed: bool,
    /// Dropped packets at the last look at the counts, and when the next is due.
    looked: (u64, Instant),
    /// The fullest that the ring was since the last look, of 1.
    ring: f64,
    /// What was to be done is done.
    over: bool,
    /// Taken once per round: both rings' times are told by it.
    clock: Clock,
}

impl Pipeline {
    /// Runs until told to stop, then detaches, settles the books and says how it ended.
    pub fn run(mut self) -> Result<Exit> {
        let mut state = State {
            judge: Judge::new(
                self.host.clone(),
                Box::new(LiveState),
                &self.options,
                self.changes(),
                self.rule_tracer()?,
            ),
            books: Books::default(),
            waiting: Waiting::default(),
            transitions: self
                .nat
                .take()
                .map(|tracer| Transitions::new(tracer, &self.host)),
            merge: Merge::default(),
            findings: self.findings(),
            started: Instant::now(),
            lines_left: self.options.count.map(std::num::NonZeroU64::get),
            closed: false,
            looked: (0, Instant::now()),
            ring: 0.0,
            over: false,
            clock: Clock::now(),
        };
        let mut settled = Instant::now();
        let mut interim = Instant::now();
        let mut retiring: Option<(Instant, u32)> = None;
        let mut interrupted = false;
        let mut busy = false;
        // Known before the first drop is read.
        self.inventory.mark_changed();
        self.follow_inventory(&mut state)?;
        while !state.done(&self.options) {
            let wait = self.wait(&state, busy);
            if let Some(by_interrupt) = self.sleep(&state, wait)? {
                interrupted = by_interrupt;
                break;
            }
            self.follow_inventory(&mut state)?;
            self.obey()?;
            let hops = self.hops();
            state.clock = Clock::now();
            let seen =
                hops + self.transitions(&mut state, false)? + self.drain(&mut state, false)?;
            state.judge.tick();
            self.found(&mut state)?;
            busy = self.journeys(&mut state)?
                || seen > 0
                || !state.waiting.is_empty()
                || state
                    .transitions
                    .as_ref()
                    .is_some_and(Transitions::is_waiting);
            if settled.elapsed() >= SETTLE {
                settled = Instant::now();
                busy |= self.settle(&mut state, &mut retiring)?;
                self.counted(&mut state)?;
            }
            if interim.elapsed() >= INTERIM {
                interim = Instant::now();
                if let Some(paths) = &mut self.paths {
                    paths.tracer.tidy();
                }
                let (totals, missed) = self.totals()?;
                let mut ledger = state.books.interim(&totals, state.seconds(), missed);
                ledger.nat = state.nat_ledger()?;
                state.note(self.report.ledger(&ledger)?);
            }
            state.note(self.report.tick(Timestamp::now())?);
            if seen > 0 {
                // Samples gather in the ring meanwhile, without waking anybody.
                std::thread::sleep(BATCH);
            }
        }
        self.finish(state, interrupted)
    }

    /// Reads what was seen of followed flows. Returns how many hops came.
    fn hops(&mut self) -> usize {
        let inventory = self.inventory.borrow().clone();
        self.paths
            .as_mut()
            .map_or(0, |paths| paths.drain(&inventory))
    }

    /// Tells what is known of followed flows by now. Whether more is to come soon.
    fn journeys(&mut self, state: &mut State) -> Result<bool> {
        let Some(paths) = &mut self.paths else {
            return Ok(false);
        };
        // A drop whose names are still waited for may be the end of one.
        let held = if state.waiting.is_empty() {
            Duration::ZERO
        } else {
            waiting::PATIENCE
        };
        let inventory = self.inventory.borrow().clone();
        let Some(events) = paths.due(&inventory, held)? else {
            state.over = true;
            return Ok(false);
        };
        let busy = paths.follower.is_busy() || paths.prober.is_some();
        self.tell(state, &events)?;
        Ok(busy)
    }

    fn tell(&mut self, state: &mut State, events: &[PathEvent]) -> Result<()> {
        for event in events {
            if state.closed || state.lines_left == Some(0) {
                break;
            }
            state.note(self.report.path(event)?);
            if let Some(left) = state.lines_left.as_mut() {
                *left -= 1;
            }
        }
        Ok(())
    }

    /// Detaches first: from then on nothing changes, and every number is exact.
    fn finish(mut self, mut state: State, interrupted: bool) -> Result<Exit> {
        let seconds = state.seconds();
        if let Some(tracer) = &mut self.drops {
            tracer.detach();
        }
        if let Some(nat) = &mut state.transitions {
            nat.tracer.detach();
        }
        std::thread::sleep(GRACE);
        let _hops = self.hops();
        state.clock = Clock::now();
        let _transitions = self.transitions(&mut state, true)?;
        self.drain(&mut state, true)?;
        let followed = self.flows(&mut state)?;
        if let Some(findings) = state.findings.take() {
            self.findings_shown(&mut state, findings.finish())?;
        }
        let rows = self.rows()?;
        for remainder in state.books.settle(&rows, true) {
            self.report
                .accounted(remainder.fate, &remainder.drop, remainder.bytes);
            self.show(&mut state, remainder.fate, &remainder.drop, true)?;
        }
        let (totals, missed) = self.totals()?;
        let mut ledger = state.books.last(&totals, seconds, missed);
        ledger.nat = state.nat_ledger()?;
        self.counted(&mut state)?;
        if !state.closed {
            let _over = self.report.finish(&ledger, interrupted)?;
        }
        if let Some(exit) = followed {
            return Ok(exit);
        }
        let found = state.books.found > 0 || ledger.lost > 0;
        Ok(if self.options.expect_no_drops && found && !state.closed {
            Exit::Found
        } else {
            Exit::Done
        })
    }

    /// The watch for failures that drop nothing, where drops are shown.
    fn findings(&self) -> Option<Findings> {
        let is_wanted = self.options.drops && self.drops.is_some() && self.paths.is_none();
        let started = is_wanted.then(|| Findings::start(self.host.clone(), self.inventory.clone()));
        started?
            .inspect_err(|error| log::warn!("failures that drop nothing are not told: {error:#}"))
            .ok()
    }

    /// Shows the failures that were found meanwhile.
    fn found(&mut self, state: &mut State) -> Result<()> {
        let found: Vec<Finding> = match &state.findings {
            Some(findings) => findings.take().collect(),
            None => return Ok(()),
        };
        self.findings_shown(state, found)
    }

    /// They are no drops, and stand in no ledger.
    fn findings_shown(&mut self, state: &mut State, found: Vec<Finding>) -> Result<()> {
        let inventory = self.inventory.borrow().clone();
        for finding in found {
            let (fate, line) = state.judge.finding(&self.options, finding, &inventory);
            if fate != Fate::Shown || state.closed || state.lines_left == Some(0) {
                continue;
            }
            state.note(self.report.finding(&line)?);
            if let Some(left) = state.lines_left.as_mut() {
                *left -= 1;
            }
        }
        Ok(())
    }

    /// What followed flows came to, and the exit status that this means.
    fn flows(&mut self, state: &mut State) -> Result<Option<Exit>> {
        let inventory = self.inventory.borrow().clone();
        let Some(paths) = &mut self.paths else {
            return Ok(None);
        };
        let (events, sums, lost) = paths.finish(&inventory)?;
        let exit = paths.exit(&sums);
        self.tell(state, &events)?;
        if !state.closed {
            let _ = self.report.flows(&sums)?;
        }
        if let Some(lost) = lost {
            self.report.warning(&lost);
        }
        Ok(Some(exit))
    }

    /// The ring of what changes on the host; one that stays empty where no drop is to be explained.
    fn changes(&self) -> Changes {
        if self.drops.is_none() {
            return Changes::default();
        }
        changes::start(&self.host).unwrap_or_else(|error| {
            log::warn!("what changes on the host while tracing is not told: {error:#}");
            Changes::default()
        })
    }

    /// What asks the kernel for rules, if the user wants it.
    fn rule_tracer(&self) -> Result<Option<RuleTracer>> {
        (self.options.trace_rules && self.drops.is_some())
            .then(|| RuleTracer::start(&self.host).context("--trace-rules"))
            .transpose()
    }

    /// How long nothing need be done.
    fn wait(&self, state: &State, busy: bool) -> Duration {
        let next = if busy { SOON } else { IDLE };
        match self.options.duration {
            Some(duration) => next.min(duration.saturating_sub(state.started.elapsed())),
            None => next,
        }
    }

    /// Sleeps until a sample comes, a signal, or the time is over. A signal: whether it was SIGINT.
    fn sleep(&mut self, state: &State, wait: Duration) -> Result<Option<bool>> {
        let rings = [
            self.drops.as_ref().map(Tracer::ring_fd),
            state.transitions.as_ref().map(|nat| nat.tracer.ring_fd()),
            self.paths.as_ref().map(|paths| paths.tracer.ring_fd()),
        ];
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(rings.into_iter().flatten().map(|ring| {
            // SAFETY: the tracers outlive this borrow.
            PollFd::new(unsafe { BorrowedFd::borrow_raw(ring) }, PollFlags::POLLIN)
        }));
        let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("waiting for the ring"),
        }
        self.signals.take()
    }

    fn follow_inventory(&mut self, state: &mut State) -> Result<()> {
        if self.inventory.has_changed().unwrap_or(false) {
            let inventory = self.inventory.borrow_and_update().clone();
            state.judge.engine_is(inventory.engine_status());
            if let Some(nat) = &mut state.transitions {
                nat.follow(&inventory)?;
            }
            if let Some(paths) = &mut self.paths {
                paths.follow(&inventory)?;
            }
            if let Some(tracer) = &mut self.drops {
                watch::publish(tracer, &inventory, self.options.scope)?;
            }
        }
        Ok(())
    }

    /// Takes the NAT transitions that have come; they are shown with the drops, in the order of time. Returns how many.
    fn transitions(&mut self, state: &mut State, last: bool) -> Result<usize> {
        let Some(nat) = &mut state.transitions else {
            return Ok(0);
        };
        state.merge.begin();
        let inventory = self.inventory.borrow().clone();
        let (found, is_nameless) = nat.drain(&self.options, &inventory, state.clock, last);
        if is_nameless {
            self.rescan.notify_one();
        }
        let count = found.len();
        state.merge.add(found);
        Ok(count)
    }

    /// Shows the transitions until `time`.
    fn show_transitions(&mut self, state: &mut State, time: Timestamp) -> Result<()> {
        while let Some(transition) = state.merge.next_until(time) {
            let is_shown = !state.closed && state.lines_left != Some(0);
            if is_shown {
                state.note(self.report.transition(&transition)?);
                if let Some(left) = state.lines_left.as_mut() {
                    *left -= 1;
                }
            }
            if let Some(nat) = &mut state.transitions {
                nat.told(is_shown);
            }
        }
        Ok(())
    }

    fn rows(&self) -> Result<Vec<CountedKey>> {
        self.drops.as_ref().map_or(Ok(Vec::new()), Tracer::rows)
    }

    /// The drop program's totals and what it missed; nothing of either without one.
    fn totals(&mut self) -> Result<(Totals, Option<u64>)> {
        match &mut self.drops {
            Some(tracer) => Ok((tracer.totals()?, tracer.missed())),
            None => Ok((Totals::default(), None)),
        }
    }

    /// Reads the ring and handles what it held, and what had waited. Returns how many samples came.
    fn drain(&mut self, state: &mut State, last: bool) -> Result<usize> {
        let mut records: Vec<DropRecord> = Vec::new();
        if let Some(tracer) = &mut self.drops {
            tracer.drain(|record| records.push(*record))?;
        }
        let records = state.merge.due(records, last);
        let count = records.len();
        state.ring = state.ring.max(Tracer::ring_share(count));
        if count > 0 {
            // A packet's hops came before its drop, but perhaps after the last look at them.
            let _hops = self.hops();
        }
        let inventory = self.inventory.borrow().clone();
        let clock = state.clock;
        let mut rescan = false;
        for record in records {
            let evidence = self.evidence(&record, &inventory, clock);
            self.show_transitions(state, evidence.drop.time)?;
            if last || is_named(&evidence, &inventory) {
                self.handle(state, &evidence, &inventory)?;
                continue;
            }
            rescan = true;
            if let Some(oldest) = state.waiting.push(record) {
                let evidence = self.evidence(&oldest, &inventory, clock);
                self.handle(state, &evidence, &inventory)?;
            }
        }
        if rescan {
            self.rescan.notify_one();
        }
        if !state.waiting.is_empty() {
            let ready = state.waiting.take(last, |record| {
                is_named(&self.evidence(record, &inventory, clock), &inventory)
            });
            for record in ready {
                let evidence = self.evidence(&record, &inventory, clock);
                self.handle(state, &evidence, &inventory)?;
            }
        }
        self.show_transitions(state, Timestamp::MAX)?;
        Ok(count)
    }

    fn evidence(&self, record: &DropRecord, inventory: &Inventory, clock: Clock) -> Evidence {
        evidence(
            record,
            &Names {
                reasons: &self.reasons,
                symbols: &self.symbols,
                clock,
                inventory,
            },
        )
    }

    fn handle(
        &mut self,
        state: &mut State,
        evidence: &Evidence,
        inventory: &Inventory,
    ) -> Result<()> {
        let (mut fate, drop) = state.judge.judge(&self.options, evidence, inventory);
        if let Some(paths) = &mut self.paths {
            if !matches!(fate, Fate::Benign | Fate::OutOfScope) {
                paths.follower.dropped(&evidence.record, &drop);
            }
            // It is part of its packet's journey, and has no line of its own.
            if fate == Fate::Shown && !self.options.drops {
                fate = Fate::Filtered;
            }
        }
        state.books.sample(evidence.record.key, fate, &drop);
        self.report
            .accounted(fate, &drop, u64::from(evidence.record.len));
        self.show(state, fate, &drop, false)
    }

    /// Past `--count` lines nothing more is written but what only completes the sum (`rest`).
    fn show(&mut self, state: &mut State, fate: Fate, drop: &Drop, rest: bool) -> Result<()> {
        if fate != Fate::Shown || state.closed {
            return Ok(());
        }
        if let Some(left) = state.lines_left.as_mut() {
            if *left == 0 && !rest {
                state.books.withdraw(drop);
                return Ok(());
            }
            *left = left.saturating_sub(1);
        }
        state.note(self.report.dropped(drop)?);
        Ok(())
    }

    /// Looks at the counts: what was only counted finds its column, and full maps are retired. Looking costs two calls a
    /// row, so it is left out while nothing was dropped, and done less often the longer it takes.
    fn settle(&mut self, state: &mut State, retiring: &mut Option<(Instant, u32)>) -> Result<bool> {
        let (observed, due) = state.looked;
        let now = Instant::now();
        let total = self.totals()?.0.observed;
        let is_same = total == observed && retiring.is_none() && !state.books.is_waiting();
        if is_same || now < due {
            return Ok(false);
        }
        let rows = self.rows()?;
        let pause = (now.elapsed() * LOOK_SHARE).min(LONGEST_PAUSE);
        state.looked = (total, now + pause);
        let remainders = state.books.settle(&rows, false);
        let any = !remainders.is_empty();
        for remainder in remainders {
            self.report
                .accounted(remainder.fate, &remainder.drop, remainder.bytes);
            self.show(state, remainder.fate, &remainder.drop, false)?;
        }
        let Some(tracer) = &mut self.drops else {
            return Ok(any);
        };
        match retiring.take() {
            None if rows.len() > tracer.many_rows() => {
                let old = rows.iter().map(|row| row.generation).max().unwrap_or(0);
                tracer.next_generation()?;
                *retiring = Some((Instant::now(), old));
            }
            // Settled above, a second after the last program could have touched it.
            Some((since, old)) if since.elapsed() >= SETTLE => {
                tracer.clear_retired()?;
                state.books.retire(old, &rows);
            }
            other => *retiring = other,
        }
        Ok(any)
    }

    /// Tells the report what the kernel has counted so far.
    fn counted(&mut self, state: &mut State) -> Result<()> {
        let (totals, missed) = self.totals()?;
        let ledger = state.books.interim(&totals, state.seconds(), missed);
        let inventory = self.inventory.borrow().clone();
        self.report.counted(&Counted {
            ledger: &ledger,
            totals: &totals,
            reasons: &state.books.reasons,
            names: &self.reasons,
            ring: std::mem::take(&mut state.ring),
            inventory: &inventory,
        });
        Ok(())
    }

    /// Does what the service around it wants changed.
    fn obey(&mut self) -> Result<()> {
        let Some(commands) = &self.commands else {
            return Ok(());
        };
        while let Ok(command) = commands.try_recv() {
            match command {
                Command::Ignore(ignore) => self.options.ignore = ignore,
                Command::Detail(is_wanted) => {
                    if let Some(tracer) = &mut self.drops {
                        tracer.set_detail(is_wanted)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl State {
    fn done(&self, options: &Options) -> bool {
        self.closed
            || self.over
            || self.lines_left == Some(0)
            || options
                .duration
                .is_some_and(|duration| self.started.elapsed() >= duration)
    }

    fn nat_ledger(&self) -> Result<Option<NatLedger>> {
        self.transitions
            .as_ref()
            .map(Transitions::ledger)
            .transpose()
    }

    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn note(&mut self, stream: Stream) {
        self.closed |= stream == Stream::Closed;
    }
}

/// Whether the inventory knows where it died and whose it was.
fn is_named(evidence: &Evidence, inventory: &Inventory) -> bool {
    // The dead keep their addresses for a while, but one of them may already be a new container's.
    let is_dead = |id: &str| {
        inventory
            .container_named(id)
            .is_some_and(|container| container.ended.is_some())
    };
    let nameless = |endpoint: &Endpoint| match &endpoint.container {
        Some(container) => is_dead(&container.id),
        None => endpoint.kind == EndpointKind::Unknown && endpoint.network.is_some(),
    };
    (evidence.netns == NetnsKey(0) || inventory.near(evidence.netns).is_some())
        && !nameless(&evidence.drop.source)
        && !nameless(&evidence.drop.destination)
}
