//! Each file of a rotated recording has a ledger of its own; together they are the run's.

use crate::model::{Ledger, NatLedger};

/// What the files before this one held, and this one so far.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Packets of this file's drop lines.
    pub drops: u64,
    /// NAT lines of this file.
    pub transitions: u64,
    /// The run's ledger when it was last heard of.
    pub latest: Ledger,
    /// What the files before this one accounted for.
    before: Ledger,
}

impl Parts {
    /// This file's ledger so far.
    pub(super) fn so_far(&self) -> Ledger {
        let (run, before) = (&self.latest, &self.before);
        let mut part = Ledger {
            is_final: false,
            seconds: (run.seconds - before.seconds).max(0.0),
            observed: 0,
            shown: self.drops,
            filtered: run.filtered.saturating_sub(before.filtered),
            out_of_scope: run.out_of_scope.saturating_sub(before.out_of_scope),
            benign: run.benign.saturating_sub(before.benign),
            expected: run.expected.saturating_sub(before.expected),
            lost: run.lost.saturating_sub(before.lost),
            missed: run
                .missed
                .map(|missed| missed.saturating_sub(before.missed.unwrap_or(0))),
            nat: run.nat.map(|nat| {
                let before = before.nat.unwrap_or_default();
                let hidden = nat.hidden.saturating_sub(before.hidden);
                let lost = nat.lost.saturating_sub(before.lost);
                NatLedger {
                    seen: self.transitions + hidden + lost,
                    shown: self.transitions,
                    hidden,
                    lost,
                }
            }),
        };
        part.observed = part.accounted();
        part
    }

    /// Ends this file, with the run's last ledger if the run is over.
    pub(super) fn end(&mut self, run: Option<&Ledger>) -> Ledger {
        if let Some(run) = run {
            self.latest = run.clone();
        } else {
            // Interim counts come without it.
            self.latest.nat = self.latest.nat.or(self.before.nat);
        }
        let mut part = self.so_far();
        part.is_final = true;
        self.before = self.latest.clone();
        (self.drops, self.transitions) = (0, 0);
        part
    }
}
