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
            if now != Timestamp::MAX && is_patient(now.duration_since(*since)) {
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

/// Whether an answer is waited for still. One that came so long after now came before the clock was set back.
fn is_patient(age: SignedDuration) -> bool {
    -PATIENCE < age && age < PATIENCE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::NatKind,
        report::samples::{inside, ip, outside},
    };

    /// To a published port, without an answer.
    fn transition() -> Transition {
        let to = |address, port| Tuple {
            src: ip("198.51.100.20"),
            src_port: Some(48084),
            dst: ip(address),
            dst_port: Some(port),
        };
        Transition {
            time: Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1000),
            flow: "7f3a0c11".into(),
            kind: NatKind::Dnat,
            masquerade: None,
            redirect: false,
            protocol: "tcp".into(),
            original: Some(to("198.51.100.10", 10001)),
            translated: to("172.17.0.2", 80),
            device: Some("docker0".into()),
            direction: "egress".into(),
            hairpin: false,
            replied: false,
            answer_ms: None,
            answered_within_ms: None,
            old: false,
            age_ms: None,
            proxy_pid: None,
            source: outside(),
            destination: inside("web", "bridge"),
            published: None,
            listed: false,
        }
    }

    /// Lines that are complete when so much time has passed.
    fn after(age: SignedDuration) -> usize {
        let mut unanswered = Unanswered::default();
        let transition = transition();
        assert!(unanswered.seen(&transition, &TimeZone::UTC).is_empty());
        let lines = unanswered.overdue(transition.time + age, &TimeZone::UTC);
        lines.len()
    }

    #[test]
    fn a_line_waits_for_its_answer_but_not_until_a_clock_that_was_set_back_is_there_again() {
        assert_eq!(after(PATIENCE / 2), 0);
        assert_eq!(after(PATIENCE), 1);
        // Clocks are read one after the other.
        assert_eq!(after(-PATIENCE / 2), 0);
        assert_eq!(after(SignedDuration::from_hours(-24)), 1);
    }
}
