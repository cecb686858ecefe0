//! What the screen shows: bounded, without a clock and without a terminal.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    group::Grouping,
    rates::Rates,
    row::{Row, amounts},
    table::Table,
};
use crate::{
    model::{Drop, Ledger, Ready},
    report::{cause_name, subject_name},
};

/// Sentences that are kept: what a kernel does not give, warnings.
const NOTES: usize = 32;
/// Causes at a container that are remembered for telling what is new.
const REMEMBERED: usize = 4096;

/// The newest cause at a container that was not there before.
#[derive(Clone, Debug)]
pub(super) struct Newest {
    pub(super) cause: String,
    pub(super) whose: String,
    pub(super) time: Timestamp,
    pub(super) second: u64,
}

/// Everything.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) ready: Ready,
    /// When it began, and what time it is.
    pub(super) since: Timestamp,
    pub(super) now: Timestamp,
    /// Seconds since then.
    pub(super) second: u64,
    tables: [Table; 4],
    pub(super) rates: Rates,
    /// Packets of all rows.
    pub(super) total: u64,
    /// Events that dropped no packet.
    pub(super) findings: u64,
    ledger: Ledger,
    pub(super) newest: Option<Newest>,
    known: std::collections::HashSet<(String, String)>,
    pub(super) notes: Vec<String>,
}

impl State {
    pub(super) fn new(ready: Ready, now: Timestamp) -> Self {
        Self {
            notes: ready.degraded.clone(),
            ready,
            since: now,
            now,
            second: 0,
            tables: Default::default(),
            rates: Rates::new(0),
            total: 0,
            findings: 0,
            ledger: Ledger::default(),
            newest: None,
            known: std::collections::HashSet::new(),
        }
    }

    /// The time: wall clock for showing, seconds since the start for counting.
    pub(super) fn advance(&mut self, now: Timestamp, second: u64) {
        self.now = now;
        self.second = self.second.max(second);
    }

    /// Enters a drop that is shown, or a finding.
    pub(super) fn add(&mut self, drop: &Drop) {
        let (_, cause) = cause_name(drop);
        let drop = Arc::new(drop.clone());
        let (packets, findings) = amounts(&drop);
        self.total = self.total.saturating_add(packets);
        self.findings = self.findings.saturating_add(findings);
        self.rates.add(self.second, packets);
        for grouping in Grouping::ALL {
            let row = grouping.row(&drop, &cause);
            self.tables[grouping.place()].add(row, &drop, &cause, self.second);
        }
        let whose = subject_name(&drop);
        let pair = (cause, whose);
        if self.known.len() < REMEMBERED && !self.known.contains(&pair) {
            let (cause, whose) = pair.clone();
            self.newest = Some(Newest {
                cause,
                whose,
                time: drop.time,
                second: self.second,
            });
            self.known.insert(pair);
        }
    }

    /// What the kernel has counted.
    pub(super) fn counted(&mut self, ledger: &Ledger) {
        self.ledger = ledger.clone();
    }

    /// The ledger with what has come since it was drawn up: the rows' sum is `shown`.
    pub(super) fn ledger(&self) -> Ledger {
        let mut ledger = self.ledger.clone();
        let shown = ledger.shown.max(self.total);
        ledger.observed += shown - ledger.shown;
        ledger.shown = shown;
        ledger
    }

    /// A sentence that the user should know.
    pub(super) fn note(&mut self, text: &str) {
        if self.notes.len() < NOTES && !self.notes.iter().any(|known| known == text) {
            self.notes.push(text.to_owned());
        }
    }

    pub(super) fn table(&self, grouping: Grouping) -> &Table {
        &self.tables[grouping.place()]
    }

    /// Whether a row has come in the last seconds.
    pub(super) fn is_new(&self, row: &Row) -> bool {
        const NEW: u64 = 10;
        self.second - row.first_second < NEW
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::{report::samples, top::table::ROWS};

    fn begun() -> State {
        State::new(samples::ready(), samples::incident().time)
    }

    #[test]
    fn one_drop_is_a_row_in_each_grouping() {
        let mut state = begun();
        state.add(&samples::incident());
        let labels: Vec<String> = Grouping::ALL
            .iter()
            .map(|grouping| state.table(*grouping).rows().next().unwrap().label.clone())
            .collect();
        assert_eq!(
            labels,
            [
                "web",
                "interface-forwarding-disabled",
                "bridge",
                "198.51.100.20:48084 → web:80/tcp"
            ]
        );
        assert_eq!(state.newest.unwrap().whose, "web");
    }

    #[test]
    fn what_was_only_counted_belongs_to_no_flow_that_was_seen() {
        let mut state = begun();
        state.add(&samples::denied("198.51.100.20", 4000));
        let mut counted = samples::denied("198.51.100.20", 4000);
        counted.count = 1000;
        state.add(&counted);
        let mut rows: Vec<(u64, String)> = state
            .table(Grouping::Flow)
            .rows()
            .map(|row| (row.total, row.label.clone()))
            .collect();
        rows.sort();
        assert_eq!(
            rows,
            [
                (1, "198.51.100.20:4000 → api:53/udp".to_owned()),
                (1000, "(flows not told apart) → api:53/udp".to_owned())
            ]
        );
    }

    #[test]
    fn the_ledger_is_never_behind_the_rows() {
        let mut state = begun();
        state.counted(&samples::ledger());
        for _ in 0..5 {
            state.add(&samples::incident());
        }
        let ledger = state.ledger();
        assert_eq!((ledger.shown, ledger.observed), (5, 44));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
        #[test]
        fn rows_and_what_is_gone_are_the_total(
            events in proptest::collection::vec((0_u16..2000, 0_u64..5, 1_u64..3), 0..2000),
        ) {
            let mut state = begun();
            let (mut second, mut expected) = (0, 0);
            for (number, step, count) in events {
                second += step;
                state.advance(state.now, second);
                let mut drop = samples::denied("198.51.100.20", 4000);
                drop.flow = Some(format!("{number:x}"));
                drop.count = count;
                drop.destination = samples::inside(&format!("c{}", number % 700), &format!("n{}", number % 20));
                drop.destination.container.as_mut().unwrap().id = number.to_string();
                state.add(&drop);
                expected += count;
            }
            proptest::prop_assert_eq!(state.total, expected);
            for grouping in Grouping::ALL {
                let table = state.table(grouping);
                let sum: u64 = table.rows().map(|row| row.total).sum();
                proptest::prop_assert_eq!(sum + table.gone_packets, expected);
                proptest::prop_assert!(table.rows().count() <= ROWS);
                for row in table.rows() {
                    let parts: u64 = row.parts.iter().map(|part| part.total).sum();
                    proptest::prop_assert_eq!(parts + row.rest, row.total);
                }
            }
        }
    }
}
