//! Every counted packet finds its column, exactly once.

use std::collections::HashMap;

use dockernet_common::count::{CountKey, Totals};

use super::judge::Fate;
use crate::{
    bpf::tracer::CountedKey,
    model::{Drop, Ledger},
};

/// What is known about a key from those of its packets that came up in detail.
struct Exemplar {
    fate: Fate,
    drop: Box<Drop>,
    /// Ids of causes that its samples disagree about; empty while they agree.
    disagree: Vec<String>,
}

/// Packets of one key that were only counted.
pub(super) struct Remainder {
    /// What they stand as.
    pub drop: Drop,
    /// Their column.
    pub fate: Fate,
}

/// The books.
#[derive(Default)]
pub(super) struct Books {
    exemplars: HashMap<CountKey, Exemplar>,
    /// Unsampled packets that have found their column, by generation and key.
    settled: HashMap<(u32, CountKey), u64>,
    ledger: Ledger,
    /// Shown, and no noise: what `--expect-no-drops` asks about.
    pub found: u64,
}

impl Books {
    /// Enters one sampled drop.
    pub(super) fn sample(&mut self, key: CountKey, fate: Fate, drop: &Drop) {
        self.enter(fate, drop, 1);
        match self.exemplars.get_mut(&key) {
            None => {
                let exemplar = Exemplar {
                    fate,
                    drop: Box::new(drop.clone()),
                    disagree: Vec::new(),
                };
                self.exemplars.insert(key, exemplar);
            }
            Some(known) => {
                if known.drop.cause.id != drop.cause.id || known.fate != fate {
                    for id in [&known.drop.cause.id, &drop.cause.id] {
                        if !known.disagree.iter().any(|other| other == id) {
                            known.disagree.push(id.to_string());
                        }
                    }
                    // What may be shown is not hidden by a neighbour that is not.
                    if fate == Fate::Shown {
                        known.fate = fate;
                    }
                }
                if known.drop.destination != drop.destination {
                    known.drop.destination.container = None;
                }
                if known.drop.source != drop.source {
                    known.drop.source.container = None;
                }
            }
        }
    }

    /// Enters what was counted since the last look and did not come up in detail. `last`: keys without a sample are
    /// lost; before that their sample may still be on its way.
    pub(super) fn settle(&mut self, rows: &[CountedKey], last: bool) -> Vec<Remainder> {
        let mut remainders = Vec::new();
        for row in rows {
            let settled = self.settled.entry((row.generation, row.key)).or_default();
            let unsampled = row.count.packets.saturating_sub(row.count.sampled);
            let new = unsampled.saturating_sub(*settled);
            if new == 0 {
                continue;
            }
            let Some(exemplar) = self.exemplars.get(&row.key) else {
                if last {
                    *settled += new;
                    self.ledger.lost += new;
                }
                continue;
            };
            *settled += new;
            let mut drop = (*exemplar.drop).clone();
            drop.time = jiff::Timestamp::now();
            drop.count = new;
            if !exemplar.disagree.is_empty() {
                drop.cause =
                    crate::evidence::unexplained(drop.reason.as_deref(), drop.location.as_deref());
                drop.cause.evidence.push(format!(
                    "counted only; samples of the same kind were: {}",
                    exemplar.disagree.join(", ")
                ));
                drop.rule = None;
            }
            remainders.push(Remainder {
                drop,
                fate: exemplar.fate,
            });
        }
        for remainder in &remainders {
            self.enter(remainder.fate, &remainder.drop, remainder.drop.count);
        }
        remainders
    }

    fn enter(&mut self, fate: Fate, drop: &Drop, count: u64) {
        let column = match fate {
            Fate::Shown => {
                if drop.noise.is_none() {
                    self.found += count;
                }
                &mut self.ledger.shown
            }
            Fate::Filtered => &mut self.ledger.filtered,
            Fate::OutOfScope => &mut self.ledger.out_of_scope,
            Fate::Benign => &mut self.ledger.benign,
            Fate::Expected => &mut self.ledger.expected,
        };
        *column += count;
    }

    /// Takes a shown drop back: `--count` was reached before its line was written.
    pub(super) fn withdraw(&mut self, drop: &Drop) {
        self.ledger.shown -= drop.count;
        self.ledger.filtered += drop.count;
    }

    /// Forgets a generation whose map has been read for the last time, and exemplars that the new one does not have.
    pub(super) fn retire(&mut self, generation: u32) {
        self.settled.retain(|(of, _), _| *of != generation);
        let settled = &self.settled;
        self.exemplars
            .retain(|key, _| settled.keys().any(|(_, known)| known == key));
    }

    /// The ledger now. While the tracer runs, packets whose detail is still on its way are not in it at all.
    pub(super) fn interim(&self, totals: &Totals, seconds: f64, missed: Option<u64>) -> Ledger {
        let mut ledger = self.ledger.clone();
        ledger.seconds = seconds;
        ledger.missed = missed;
        ledger.filtered += totals.filtered;
        ledger.out_of_scope += totals.out_of_scope;
        ledger.lost += totals.other;
        ledger.observed = ledger.shown
            + ledger.filtered
            + ledger.out_of_scope
            + ledger.benign
            + ledger.expected
            + ledger.lost;
        ledger
    }

    /// The last ledger. What the kernel counted in total and the columns must be one number.
    pub(super) fn last(&self, totals: &Totals, seconds: f64, missed: Option<u64>) -> Ledger {
        let mut ledger = self.interim(totals, seconds, missed);
        ledger.is_final = true;
        if ledger.observed != totals.observed {
            log::error!(
                "the kernel half counted {} drops and user space accounts for {}",
                totals.observed,
                ledger.observed
            );
            ledger.lost += totals.observed.saturating_sub(ledger.observed);
            ledger.observed = totals.observed.max(ledger.observed);
        }
        ledger
    }
}
