//! Two rings, one order: drops and transitions by the time they happened.

use std::collections::VecDeque;

use dockernet_common::record::DropRecord;
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

use crate::model::Transition;

/// What one ring has given and the other has not come to yet.
#[derive(Default)]
pub(super) struct Merge {
    transitions: VecDeque<Transition>,
    /// Drops from after the time at which the other ring was read.
    later: Vec<DropRecord>,
    /// `CLOCK_MONOTONIC`, ns; none without the NAT view.
    read_at: Option<u64>,
}

impl Merge {
    /// The NAT ring is about to be read: what happens from now on may come with the next reading.
    pub(super) fn begin(&mut self) {
        self.read_at = clock_gettime(ClockId::CLOCK_MONOTONIC).ok().map(|time| {
            let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
            seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
        });
    }

    /// Takes what the NAT ring held, in the order of time.
    pub(super) fn add(&mut self, transitions: Vec<Transition>) {
        if transitions.is_empty() {
            return;
        }
        self.transitions.extend(transitions);
        // One that waited for its name comes late.
        let all = self.transitions.make_contiguous();
        all.sort_by_key(|transition| transition.time);
    }

    /// Whether transitions wait for what happened before them.
    pub(super) fn is_waiting(&self) -> bool {
        !self.transitions.is_empty()
    }

    /// Drops that no transition of the next reading can come before: the new ones are kept. `last`: all of them.
    pub(super) fn due(&mut self, drops: Vec<DropRecord>, last: bool) -> Vec<DropRecord> {
        let Some(read_at) = self.read_at else {
            return drops;
        };
        let mut due = std::mem::take(&mut self.later);
        due.extend(drops);
        if !last {
            let is_due = |drop: &DropRecord| drop.ktime_ns <= read_at;
            (due, self.later) = due.into_iter().partition(is_due);
        }
        due.sort_by_key(|drop| drop.ktime_ns);
        due
    }

    /// The next transition that is not after `time`.
    pub(super) fn next_until(&mut self, time: Timestamp) -> Option<Transition> {
        let is_next = self.transitions.front()?.time <= time;
        let next = is_next.then(|| self.transitions.pop_front()).flatten();
        if self.transitions.is_empty() {
            // What a flood of new flows took is given back.
            self.transitions = VecDeque::new();
        }
        next
    }
}
