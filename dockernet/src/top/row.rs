//! One row: how much, since when, and what it consists of.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::rates::Rates;
use crate::{
    model::{Confidence, Drop},
    report::{block_key, subject_name},
};

/// Causes and containers told apart within a row.
const PARTS: usize = 8;

/// What was seen last within this time goes on at once.
const TOGETHER: SignedDuration = SignedDuration::from_secs(10);

/// One cause at one container, with the newest drop that shows it.
#[derive(Clone, Debug)]
pub(super) struct Part {
    key: u64,
    pub(super) cause: String,
    pub(super) whose: String,
    /// Packets.
    pub(super) total: u64,
    /// Events that dropped no packet.
    pub(super) findings: u64,
    pub(super) last: Timestamp,
    pub(super) drop: Arc<Drop>,
}

/// A row of one grouping.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) key: String,
    pub(super) label: String,
    /// Packets.
    pub(super) total: u64,
    /// Events that dropped no packet.
    pub(super) findings: u64,
    pub(super) rates: Rates,
    pub(super) first: Timestamp,
    /// Seconds since the start, for the same two.
    pub(super) first_second: u64,
    pub(super) last_second: u64,
    /// The newest last; at most [`PARTS`].
    pub(super) parts: Vec<Part>,
    /// Packets and events of parts that found no room.
    pub(super) rest: u64,
}

impl Row {
    pub(super) fn new(key: String, label: String, first: Timestamp, second: u64) -> Self {
        Self {
            key,
            label,
            total: 0,
            findings: 0,
            rates: Rates::new(second),
            first,
            first_second: second,
            last_second: second,
            parts: Vec::new(),
            rest: 0,
        }
    }

    /// Enters a drop, or a finding that dropped nothing.
    pub(super) fn add(&mut self, drop: &Arc<Drop>, cause: &str, second: u64) {
        let (packets, findings) = amounts(drop);
        self.total = self.total.saturating_add(packets);
        self.findings = self.findings.saturating_add(findings);
        self.rates.add(second, packets);
        self.last_second = second;
        let key = block_key(drop);
        let known = self.parts.iter().position(|part| part.key == key);
        let mut part = match known {
            Some(place) => self.parts.remove(place),
            None => {
                if self.parts.len() >= PARTS {
                    let oldest = self.parts.remove(0);
                    self.rest = self.rest.saturating_add(oldest.total + oldest.findings);
                }
                Part {
                    key,
                    cause: cause.to_owned(),
                    whose: subject_name(drop),
                    total: 0,
                    findings: 0,
                    last: drop.time,
                    drop: Arc::clone(drop),
                }
            }
        };
        part.total = part.total.saturating_add(packets);
        part.findings = part.findings.saturating_add(findings);
        part.last = drop.time;
        part.drop = Arc::clone(drop);
        self.parts.push(part);
    }

    /// What it shows beside its numbers: the largest of what happens now.
    pub(super) fn main(&self) -> Option<&Part> {
        let newest = self.parts.last()?;
        self.parts
            .iter()
            .filter(|part| newest.last.duration_since(part.last) <= TOGETHER)
            .max_by_key(|part| (part.total, part.findings))
    }

    /// Whether a text that is searched for stands in it, in lower case already.
    pub(super) fn holds(&self, text: &str) -> bool {
        let holds = |of: &str| of.to_lowercase().contains(text);
        holds(&self.label)
            || self.parts.iter().any(|part| {
                holds(&part.cause)
                    || holds(&part.whose)
                    || holds(&super::group::network(&part.drop))
                    || part.drop.published.as_deref().is_some_and(holds)
            })
    }
}

impl Part {
    /// `docker-user-drop (likely)`.
    pub(super) fn why(&self) -> String {
        match (&self.drop.noise, self.drop.cause.confidence) {
            (None, Confidence::Likely) => format!("{} (likely)", self.cause),
            (Some(_), _) => format!("{} (benign)", self.cause),
            _ => self.cause.clone(),
        }
    }
}

/// Packets, and events without one.
pub(super) fn amounts(drop: &Drop) -> (u64, u64) {
    if drop.packet.is_none() && drop.location.is_none() {
        (0, drop.count)
    } else {
        (drop.count, 0)
    }
}
