//! Transitions that wait for their answer before they become a line of text.

use std::collections::{HashMap, VecDeque};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::{nat::line, style::Line};
use crate::model::{Transition, Tuple};

/// How long a line waits for its answer.
const PATIENCE: SignedDuration = SignedDuration::from_secs(1);
/// How many may wait; beyond that the oldest goes without.
const CROWD: usize = 10_000;

/// What a flow and its answer have in common: its id, and its tuple before NAT.
type Key = (String, Option<Tuple>);

/// Transitions whose answer has not come yet.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    waiting: HashMap<Key, Transition>,
    /// By the time they came. Those that were answered since are not in `waiting` any more.
    order: VecDeque<(Timestamp, Key)>,
}

impl Unanswered {
    /// Takes a transition; gives the lines that are complete by it.
    pub(super) fn seen(&mut self, transition: &Transition, zone: &TimeZone) -> Vec<Line> {
        let key = (transition.flow.clone(), transition.original.clone());
        if transition.replied {
            self.waiting.remove(&key);
            return vec![line(transition, zone)];
        }
        self.order.push_back((transition.time, key.clone()));
        let replaced = self.waiting.insert(key, transition.clone());
        let mut lines: Vec<Line> = replaced.iter().map(|before| line(before, zone)).collect();
        if self.order.len() > CROWD {
            lines.extend(self.oldest(zone));
        }
        lines
    }

    /// Lines of those that have waited long enough.
    pub(super) fn overdue(&mut self, now: Timestamp, zone: &TimeZone) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some((since, _)) = self.order.front() {
            if now != Timestamp::MAX && now.duration_since(*since) < PATIENCE {
                break;
            }
            lines.extend(self.oldest(zone));
        }
        lines
    }

    fn oldest(&mut self, zone: &TimeZone) -> Option<Line> {
        let (since, key) = self.order.pop_front()?;
        // A later flow with the same tuple has a place of its own.
        let is_this = self
            .waiting
            .get(&key)
            .is_some_and(|transition| transition.time == since);
        is_this
            .then(|| self.waiting.remove(&key))
            .flatten()
            .map(|transition| line(&transition, zone))
    }
}
