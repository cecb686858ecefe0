//! Drops whose causes have been looked for: into the books, and to the report.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use dockernet_common::count::CountKey;
use jiff::Timestamp;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{Pipeline, State, account, judge::Opinion, waiting};
use crate::{bpf::clock::monotonic_ns, evidence::Evidence, inventory::Inventory, model::Fate};

/// At the end, so long is waited for the next answer of the host: a little longer than for a program of its firewall.
const LAST_ANSWER: Duration = Duration::from_secs(6);
/// And so long for all of them.
const LAST_ANSWERS: Duration = Duration::from_secs(15);
/// Where lines are not written any more, what is found is only counted.
const UNWRITTEN: Duration = Duration::from_millis(200);

impl Pipeline {
    /// Shows the drops whose causes have been looked for, and the transitions before, between and after them.
    pub(super) fn answered(&mut self, state: &mut State) -> Result<()> {
        let inventory = self.inventory.borrow().clone();
        for opinion in state.judging.answered()? {
            self.show_transitions(state, opinion.drop.time)?;
            self.handle(state, opinion, &inventory)?;
        }
        // In the order of time, unless the host takes too long to answer.
        let oldest = state.judging.open().next();
        let until = match oldest {
            Some((since, evidence)) if since.elapsed() < waiting::PATIENCE => evidence.drop.time,
            _ => Timestamp::MAX,
        };
        self.show_transitions(state, until)
    }

    /// Shows what is answered within a time.
    pub(super) fn answered_within(&mut self, state: &mut State, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let mut fds = [PollFd::new(state.judging.as_fd(), PollFlags::POLLIN)];
            wait_for(&mut fds, left)?;
            self.answered(state)?;
        }
    }

    /// Shows all that was asked about: without its cause where the host does not answer, or the user does not wait for it.
    pub(super) fn last_answers(&mut self, state: &mut State) -> Result<()> {
        let is_written = !state.closed && state.lines_left != Some(0);
        let patience = if is_written { LAST_ANSWERS } else { UNWRITTEN };
        let end = Instant::now() + patience;
        loop {
            self.answered(state)?;
            let left = end.saturating_duration_since(Instant::now());
            if state.judging.open().next().is_none() || left.is_zero() {
                break;
            }
            let mut fds = [
                PollFd::new(state.judging.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            let is_answered = wait_for(&mut fds, left.min(LAST_ANSWER))?;
            if !is_answered || self.signals.take()?.is_some() {
                self.answered(state)?;
                break;
            }
        }
        let inventory = self.inventory.borrow().clone();
        for evidence in state.judging.give_up() {
            let key = evidence.record.key;
            let mut opinion = state.sieve.unanswered(evidence, &inventory, &self.host);
            if opinion.fate.is_none()
                && let Some((fate, known)) = state.books.agreed(&key)
            {
                // Others of its kind were all told as one thing.
                opinion.drop.cause.clone_from(&known.cause);
                opinion.drop.rule.clone_from(&known.rule);
                opinion.drop.noise.clone_from(&known.noise);
                opinion.fate = Some(fate);
            }
            self.show_transitions(state, opinion.drop.time)?;
            self.handle(state, opinion, &inventory)?;
        }
        self.show_transitions(state, Timestamp::MAX)
    }

    fn handle(
        &mut self,
        state: &mut State,
        mut opinion: Opinion,
        inventory: &Inventory,
    ) -> Result<()> {
        if let Some(notebook) = &state.notebook {
            notebook.put(std::mem::take(&mut opinion.notes));
        }
        let evidence = opinion.evidence.clone();
        let (mut fate, mut drop) = state.fates.of(&self.options, opinion, inventory);
        if let Some(paths) = &mut self.paths {
            if !matches!(fate, Fate::Benign | Fate::OutOfScope) {
                paths.follower.dropped(&evidence.record, &drop);
            }
            // It is part of its packet's journey, and has no line of its own.
            if fate == Fate::Shown && !self.options.drops {
                fate = Fate::Filtered;
            }
        }
        state
            .books
            .sample(evidence.record.key, fate, &drop, Instant::now());
        self.report
            .accounted(fate, &drop, u64::from(evidence.record.len));
        // After the books, which keep lines for what is only counted.
        if state.notebook.is_some() && fate == Fate::Shown {
            drop.sample = Some(Box::new((&evidence.record).into()));
        }
        self.show(state, fate, &drop, false)
    }
}

impl State {
    /// How long ago the oldest drop is at most that has not been told: journeys that began before may end with it.
    pub(super) fn held(&self) -> Duration {
        let named = (!self.waiting.is_empty()).then_some(waiting::PATIENCE);
        let unread = self.behind.map(|since| waiting::PATIENCE + since.elapsed());
        let now = monotonic_ns();
        let age = |evidence: &Evidence| {
            let age = now.saturating_sub(evidence.record.ktime_ns);
            waiting::PATIENCE + Duration::from_nanos(age)
        };
        let asked = self.judging.open().map(|(_, evidence)| age(evidence)).max();
        [named, unread, asked]
            .into_iter()
            .flatten()
            .max()
            .unwrap_or_default()
    }

    /// Which keys may still come up in detail.
    pub(super) fn due(&self, now: Instant) -> Due {
        let asked = self.judging.open().map(|(_, evidence)| evidence.record.key);
        let named = self.waiting.records().map(|record| record.key);
        Due {
            now,
            keys: asked.chain(named).collect(),
            is_behind: self.behind.is_some(),
        }
    }
}

/// What is on its way.
pub(super) struct Due {
    now: Instant,
    keys: HashSet<CountKey>,
    /// The ring has more.
    is_behind: bool,
}

impl Due {
    /// Whether a key that has been waited for since then will not come up any more.
    pub(super) fn is_lost(&self, key: &CountKey, since: Instant) -> bool {
        self.now.saturating_duration_since(since) >= account::PATIENCE
            && !self.is_behind
            && !self.keys.contains(key)
    }
}

/// Waits until there is something to read, a while at most. Whether there is.
pub(super) fn wait_for(fds: &mut [PollFd<'_>], time: Duration) -> Result<bool> {
    // Rounded up: what is left of a millisecond is no reason to look again and again.
    let time = Duration::from_millis(1).max(time);
    match poll(fds, PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(true),
        Err(error) => Err(error).context("waiting for the rings and for causes"),
    }
}
