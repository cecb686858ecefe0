//! The service's own limit. Over it, packets are only counted; below it again for a while, they are looked at again.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::config::Budget;

/// CPU time is a mean over so long.
const WINDOW: Duration = Duration::from_secs(60);
/// Less than this says nothing.
const LEAST: Duration = Duration::from_secs(20);
/// The share of the budget below which it is enough again.
const CALM: f64 = 0.8;

/// Who is over it so soon after it was enough is so because of looking: it is tried half as often each time.
const RELAPSE: Duration = Duration::from_secs(600);
/// Between two tries at most.
const LONGEST: Duration = Duration::from_secs(3600);

/// Watches it.
#[derive(Debug, Default)]
pub(super) struct Governor {
    /// Time and CPU seconds so far.
    samples: VecDeque<(Instant, f64)>,
    /// Since when packets are only counted, and how long at least.
    reduced: Option<(Instant, Duration)>,
    /// Whether CPU time and whether memory was the reason.
    exceeded: [bool; 2],
    /// The one that the above is about.
    budget: Option<Budget>,
    /// When they were looked at again, and how long they had only been counted at least.
    recovered: Option<(Instant, Duration)>,
}

/// What the service costs at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Use {
    /// CPU seconds of service and kernel half since the start.
    pub(super) cpu_seconds: f64,
    /// Resident memory and maps, bytes.
    pub(super) memory: u64,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Count only.
    Reduce,
    /// Look again.
    Recover,
}

impl Governor {
    /// Takes a sample.
    pub(super) fn sample(&mut self, now: Instant, used: Use, budget: &Budget) -> Option<Change> {
        self.samples.push_back((now, used.cpu_seconds));
        // One that is older than the window is needed to span it.
        while self
            .samples
            .get(1)
            .is_some_and(|(at, _)| now - *at >= WINDOW)
        {
            self.samples.pop_front();
        }
        let cpu = self.cpu()?;
        if self.budget.as_ref().is_some_and(|known| known != budget) {
            // Another one is tried as if it were the first.
            self.recovered = None;
            self.reduced = self.reduced.map(|(since, _)| (since, WINDOW));
        }
        self.budget = Some(budget.clone());
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let shares = [cpu / budget.cpu, used.memory as f64 / budget.memory as f64];
        let exceeded = shares.map(|share| share > 1.0);
        match self.reduced {
            None if exceeded.contains(&true) => {
                let relapse = self.recovered.filter(|(at, _)| now - *at < RELAPSE);
                let least = relapse.map_or(WINDOW, |(_, least)| (least * 2).min(LONGEST));
                self.reduced = Some((now, least));
                self.exceeded = exceeded;
                Some(Change::Reduce)
            }
            // What was within its budget all the time need not be far below it.
            Some((since, least))
                if now - since >= least
                    && shares
                        .iter()
                        .zip(self.exceeded)
                        .all(|(share, exceeded)| *share < if exceeded { CALM } else { 1.0 }) =>
            {
                self.reduced = None;
                self.recovered = Some((now, least));
                Some(Change::Recover)
            }
            _ => None,
        }
    }

    /// CPU time of one core over the last minute; none until there is enough to say.
    pub(super) fn cpu(&self) -> Option<f64> {
        let (from, before) = self.samples.front()?;
        let (to, after) = self.samples.back()?;
        let span = *to - *from;
        (span >= LEAST).then(|| (after - before) / span.as_secs_f64())
    }

    /// Whether packets are only counted.
    pub(super) fn is_reduced(&self) -> bool {
        self.reduced.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Budget = Budget {
        cpu: 0.01,
        memory: 64 << 20,
    };

    /// Feeds a sample each ten seconds, with the share of a core used in each; what changed, and when.
    fn run(shares: &[f64], memory: u64) -> Vec<(u64, Change)> {
        let start = Instant::now();
        let mut governor = Governor::default();
        let mut cpu_seconds = 0.0;
        let mut changes = Vec::new();
        for (second, share) in (0_u64..).step_by(10).zip(shares) {
            let used = Use {
                cpu_seconds,
                memory,
            };
            let now = start + Duration::from_secs(second);
            let change = governor.sample(now, used, &BUDGET);
            changes.extend(change.map(|change| (second, change)));
            cpu_seconds += share * 10.0;
        }
        changes
    }

    #[test]
    fn within_it_nothing_changes() {
        assert_eq!(run(&[0.009; 30], 30 << 20), []);
    }

    #[test]
    fn a_storm_reduces_and_its_end_recovers() {
        let shares: Vec<f64> = [0.5; 3].into_iter().chain([0.001; 20]).collect();
        assert_eq!(
            run(&shares, 30 << 20),
            [(20, Change::Reduce), (90, Change::Recover)]
        );
    }

    /// Looking costs too much, counting does not: it is not tried every minute for ever.
    #[test]
    fn a_relapse_is_not_tried_again_as_soon() {
        let start = Instant::now();
        let mut governor = Governor::default();
        let mut cpu_seconds = 0.0;
        let mut recovered = Vec::new();
        for second in (0_u64..4 * 3600).step_by(10) {
            let used = Use {
                cpu_seconds,
                memory: 0,
            };
            let now = start + Duration::from_secs(second);
            if governor.sample(now, used, &BUDGET) == Some(Change::Recover) {
                recovered.push(second);
            }
            cpu_seconds += if governor.is_reduced() { 0.02 } else { 0.3 };
        }
        let pauses: Vec<u64> = recovered.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(
            pauses.windows(2).all(|two| two[1] >= two[0]),
            "{recovered:?}"
        );
        assert!(pauses.first() < Some(&300) && pauses.last() > Some(&3600));
        assert!(recovered.len() < 10, "{recovered:?}");
    }

    /// Who is told to give it more room does not wait for an hour.
    #[test]
    fn another_budget_is_tried_soon() {
        let start = Instant::now();
        let mut governor = Governor::default();
        let mut cpu_seconds = 0.0;
        let mut recovered = 0;
        for second in (0_u64..9000).step_by(10) {
            let mut budget = BUDGET;
            if second >= 8000 {
                budget.cpu = 0.9;
            }
            let used = Use {
                cpu_seconds,
                memory: 0,
            };
            let change = governor.sample(start + Duration::from_secs(second), used, &budget);
            if change == Some(Change::Recover) {
                recovered = second;
            }
            cpu_seconds += if governor.is_reduced() { 0.02 } else { 0.3 };
        }
        assert!(!governor.is_reduced());
        assert!((8000..8100).contains(&recovered), "{recovered}");
    }

    #[test]
    fn memory_counts_too() {
        assert_eq!(run(&[0.0; 9], 65 << 20), [(20, Change::Reduce)]);
    }

    /// What was never over its budget keeps nothing from being looked at again.
    #[test]
    fn only_what_was_exceeded_has_to_be_far_below() {
        let shares: Vec<f64> = [0.5; 3].into_iter().chain([0.001; 20]).collect();
        let changes = [(20, Change::Reduce), (90, Change::Recover)];
        assert_eq!(run(&shares, 60 << 20), changes);
        let busy: Vec<f64> = [0.5; 3].into_iter().chain([0.009; 20]).collect();
        assert_eq!(run(&busy, 30 << 20), changes[..1]);
    }
}
