//! From the ring to the report, on one thread; causes are looked for on another, which may wait for the host. Whoever reads
//! [`Pipeline::run`] has seen all of it.

mod account;
mod answers;
mod began;
mod command;
mod drops;
mod fates;
mod judge;
mod judging;
mod merge;
mod paths;
mod remembered;
mod scope;
mod stop;
mod transitions;
mod views;
mod waiting;
mod watch;

use std::{
    os::fd::BorrowedFd,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use nix::poll::{PollFd, PollFlags};
use tokio::sync::{Notify, watch::Receiver};

pub use command::Command;
pub(crate) use fates::asked_for;
pub use paths::Paths;
pub(crate) use remembered::Question;
pub(crate) use scope::includes;
pub use stop::{Signals, block_signals};
pub(crate) use transitions::{accepted, wanted};

use self::{
    account::Books,
    answers::wait_for,
    fates::Fates,
    judge::{Judge, Sieve},
    judging::Judging,
    merge::Merge,
    transitions::Transitions,
    waiting::Waiting,
};
use crate::{
    bpf::{
        clock::Clock, late::Awaited, nat::NatTracer, reasons::Reasons, symbols::Symbols,
        tracer::Tracer,
    },
    cli::{Exit, options::Options},
    findings::Findings,
    host::{
        changes::{self, Changes},
        netns::NetnsHandle,
        state::Notebook,
    },
    inventory::Inventory,
    model::NatLedger,
    pcap_filter::Expression,
    report::{Report, Stream},
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
/// Between two interim ledgers.
const INTERIM: Duration = Duration::from_secs(30);
/// One drop's cause is looked for that long at most.
const STUCK: Duration = Duration::from_secs(120);
/// And at so many looks in a row it is still not found.
const STUCK_LOOKS: u32 = 15;
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
    /// `--filter`: the kernel half has applied it to drops; flows of NAT are held against it here.
    pub expression: Option<Expression>,
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
    /// Modules whose types the kernel half was loaded without.
    pub awaited: Awaited,
    /// Somebody starts it again when it ends as a failure.
    pub is_restarted: bool,
}

/// What ended it.
enum By {
    /// A number of lines, a duration, a reader that reads no more.
    Itself,
    /// A signal; SIGINT is an interrupt.
    Signal { interrupt: bool },
    /// What it cannot go on without.
    Failure(String),
}

/// What changes while it runs.
struct State {
    judging: Judging,
    sieve: Sieve,
    fates: Fates,
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
    /// Somebody keeps what causes are found by, here.
    notebook: Option<Notebook>,
    /// Since when the drops' ring has not been empty: there was no room for all of it.
    behind: Option<Instant>,
    /// Looks in a row at which the thread that finds causes hung.
    stuck: u32,
    /// That nobody follows containers any more was told.
    is_left: bool,
    /// What they had last told was taken.
    took_last: bool,
}

impl Pipeline {
    /// Runs until told to stop, then detaches, settles the books and says how it ended.
    pub fn run(mut self) -> Result<Exit> {
        let notebook = self.report.notebook();
        let sieve = Sieve::new(&self.options);
        let changes = self.changes();
        let mut state = State {
            judging: self.judging(notebook.is_some(), changes.clone(), sieve.clone())?,
            sieve,
            fates: Fates::new(changes),
            books: Books::default(),
            waiting: Waiting::default(),
            transitions: self
                .nat
                .take()
                .map(|tracer| Transitions::new(tracer, &self.host, self.expression.clone())),
            merge: Merge::default(),
            findings: self.findings(),
            started: Instant::now(),
            lines_left: self.options.count.map(std::num::NonZeroU64::get),
            closed: false,
            looked: (0, Instant::now()),
            ring: 0.0,
            over: false,
            clock: Clock::now(),
            notebook,
            behind: None,
            stuck: 0,
            is_left: false,
            took_last: false,
        };
        // Whatever ends it: what was counted is told, and kept where it is to go on.
        let ended = self.watch(&mut state);
        let interrupted = matches!(ended, Ok(By::Signal { interrupt: true }));
        let finished = self.finish(state, interrupted);
        match ended? {
            By::Failure(why) => bail!(why),
            By::Itself | By::Signal { .. } => finished,
        }
    }

    /// The loop, until something ends it.
    fn watch(&mut self, state: &mut State) -> Result<By> {
        let mut settled = Instant::now();
        let mut interim = Instant::now();
        let mut retiring: Option<(Instant, u32)> = None;
        let mut busy = false;
        // Known before the first drop is read.
        self.inventory.mark_changed();
        self.follow_inventory(state)?;
        while !state.done(&self.options) {
            let wait = self.wait(state, busy);
            if let Some(interrupt) = self.sleep(state, wait)? {
                return Ok(By::Signal { interrupt });
            }
            self.follow_inventory(state)?;
            if let Some(why) = self.obey()? {
                return Ok(By::Failure(why));
            }
            let hops = self.hops();
            state.clock = Clock::now();
            let seen = hops + self.transitions(state, false)? + self.drain(state, false)?;
            self.answered(state)?;
            self.found(state)?;
            busy = self.journeys(state)?
                || seen > 0
                || !state.waiting.is_empty()
                || state.merge.is_waiting()
                || state
                    .transitions
                    .as_ref()
                    .is_some_and(Transitions::is_waiting);
            if settled.elapsed() >= SETTLE {
                settled = Instant::now();
                busy |= self.settle(state, &mut retiring)?;
                self.counted(state)?;
                let why = self.module_came().or_else(|| self.is_stuck(state));
                if let Some(why) = why.or_else(|| self.is_left(state)) {
                    return Ok(By::Failure(why));
                }
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
                self.answered_within(state, BATCH)?;
            }
        }
        Ok(By::Itself)
    }

    /// Starts the thread that finds causes.
    fn judging(&self, noting: bool, changes: Changes, sieve: Sieve) -> Result<Judging> {
        let host = self.host.clone();
        let trace = self.rule_tracer()?;
        Judging::start(move || Judge::new(host, noting, changes, sieve, trace))
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
        self.report.ending();
        std::thread::sleep(GRACE);
        // Where even this fails, the counts are good all the same.
        let looked = self.last_look(&mut state);
        let rows = self.rows()?;
        for remainder in state.books.settle(&rows, Instant::now(), |_, _| true) {
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
        if let Some(exit) = looked? {
            return Ok(exit);
        }
        let found = state.books.found > 0 || ledger.lost > 0;
        Ok(if self.options.expect_no_drops && found && !state.closed {
            Exit::Found
        } else {
            Exit::Done
        })
    }

    /// What is still in the rings, and what it came to; what followed flows say of the end.
    fn last_look(&mut self, state: &mut State) -> Result<Option<Exit>> {
        let _hops = self.hops();
        state.clock = Clock::now();
        self.follow_inventory(state)?;
        let _transitions = self.transitions(state, true)?;
        self.drain(state, true)?;
        self.last_answers(state)?;
        let followed = self.flows(state)?;
        if let Some(findings) = state.findings.take() {
            self.findings_shown(state, findings.finish())?;
        }
        Ok(followed)
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
            // One that is not emptied would wake us all the time.
            self.drops
                .as_ref()
                .filter(|_| state.judging.room() > 0)
                .map(Tracer::ring_fd),
            state.transitions.as_ref().map(|nat| nat.tracer.ring_fd()),
            self.paths.as_ref().map(|paths| paths.tracer.ring_fd()),
        ];
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(state.judging.as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(rings.into_iter().flatten().map(|ring| {
            // SAFETY: the tracers outlive this borrow.
            PollFd::new(unsafe { BorrowedFd::borrow_raw(ring) }, PollFlags::POLLIN)
        }));
        let _is_ready = wait_for(&mut fds, wait)?;
        self.signals.take()
    }

    fn follow_inventory(&mut self, state: &mut State) -> Result<()> {
        // The last that a task told that has ended is told as an error, once.
        let took_last = &mut state.took_last;
        let changed = self.inventory.has_changed();
        if changed.unwrap_or_else(|_| !std::mem::replace(took_last, true)) {
            let inventory = self.inventory.borrow_and_update().clone();
            state.fates.engine_is(inventory.engine_status());
            self.report.inventory(&inventory);
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

    /// Whether to end for a module that was not loaded when the kernel half was, and is now: why. The layout of its types is put into the
    /// programs when they are loaded, and the privileges for that are given up.
    fn module_came(&mut self) -> Option<String> {
        let names = self.awaited.arrived().join(" and ");
        if names.is_empty() {
            return None;
        }
        let now = format!("the kernel module {names} was loaded after the start");
        if self.is_restarted {
            return Some(format!(
                "{now}: systemd starts the service again, to see what it does"
            ));
        }
        self.report
            .warning(&format!("{now}: start again to see what it does"));
        None
    }

    /// Whether to end because nobody follows containers any more: why.
    fn is_left(&mut self, state: &mut State) -> Option<String> {
        if state.is_left || self.inventory.has_changed().is_ok() {
            return None;
        }
        state.is_left = true;
        let now = "the task that follows containers has ended: those that come have no names";
        if self.is_restarted {
            return Some(format!("{now}; systemd starts the service again"));
        }
        self.report.warning(&format!("{now}; start again"));
        None
    }

    /// Whether to end because no cause is found any more: why. What asks the host has its own limits (5 s a program, 10 s the
    /// helper); this is for what nobody has thought of.
    fn is_stuck(&mut self, state: &mut State) -> Option<String> {
        let is_stuck = state.judging.at_work().is_some_and(|time| time >= STUCK);
        state.stuck = if is_stuck {
            state.stuck.saturating_add(1)
        } else {
            0
        };
        // Once, and not at the first look: after a pause of the whole process or machine the thread has to have had its chance.
        if state.stuck != STUCK_LOOKS {
            return None;
        }
        let now = format!(
            "looking for a drop's cause has taken {} s and goes on; drops are counted, but not told of",
            STUCK.as_secs()
        );
        if self.is_restarted {
            return Some(format!("{now}: systemd starts the service again"));
        }
        self.report
            .warning(&format!("{now}: start again, and please report it"));
        None
    }

    /// Does what the service around it wants changed. Whether it wants the end: why.
    fn obey(&mut self) -> Result<Option<String>> {
        let Some(commands) = &self.commands else {
            return Ok(None);
        };
        while let Ok(command) = commands.try_recv() {
            match command {
                Command::Ignore(ignore) => self.options.ignore = ignore,
                Command::Detail(is_wanted) => {
                    if let Some(tracer) = &mut self.drops {
                        tracer.set_detail(is_wanted)?;
                    }
                }
                Command::End(why) => return Ok(Some(why)),
            }
        }
        Ok(None)
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
