//! What a replay counts: what its recorder had not kept, and what became of the rest.

use crate::model::{Ledger, NatLedger};

/// The books of a replay.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// What the recorder itself filtered and lost, in the files before this one.
    before: Ledger,
    /// The same, in this one so far.
    pub current: Ledger,
    /// What became of what was read.
    pub mine: Ledger,
    /// What became of transitions that were read.
    pub nat: NatLedger,
}

impl Sums {
    /// Goes on with another file.
    pub(super) fn next_file(&mut self) {
        add(&mut self.before, &self.current);
        self.current = Ledger::default();
    }

    /// What the recorder did not keep, and what became of the rest, of the views that are shown.
    pub(super) fn ledger(&self, drops: bool, nat: bool) -> Ledger {
        let mut ledger = self.before.clone();
        add(&mut ledger, &self.current);
        let recorded = ledger.nat.take();
        if drops {
            // Recorded drops are this replay's to judge.
            ledger.shown = 0;
            add(&mut ledger, &self.mine);
        } else {
            ledger = Ledger {
                seconds: ledger.seconds,
                ..Ledger::default()
            };
        }
        ledger.observed = ledger.accounted();
        ledger.nat = recorded.filter(|_| nat).map(|recorded| {
            let hidden = recorded.hidden.saturating_add(self.nat.hidden);
            NatLedger {
                seen: self
                    .nat
                    .shown
                    .saturating_add(hidden)
                    .saturating_add(recorded.lost),
                shown: self.nat.shown,
                hidden,
                lost: recorded.lost,
            }
        });
        ledger
    }
}

/// Adds the columns of another ledger.
fn add(to: &mut Ledger, other: &Ledger) {
    let add = |to: &mut u64, other: u64| *to = to.saturating_add(other);
    to.seconds += other.seconds;
    add(&mut to.shown, other.shown);
    add(&mut to.filtered, other.filtered);
    add(&mut to.out_of_scope, other.out_of_scope);
    add(&mut to.benign, other.benign);
    add(&mut to.expected, other.expected);
    add(&mut to.lost, other.lost);
    if let Some(missed) = other.missed {
        add(to.missed.get_or_insert(0), missed);
    }
    if let Some(nat) = other.nat {
        let sum = to.nat.get_or_insert_default();
        add(&mut sum.hidden, nat.hidden);
        add(&mut sum.lost, nat.lost);
    }
}
