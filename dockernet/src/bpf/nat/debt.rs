//! What the thread that watches devices has to make up for: a look at what there is, after notices were lost or something failed.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::follow::Problem;

/// From a failure to the next look; twice as long each time that this fails too.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// When to look again, and what has been said of it.
#[derive(Debug)]
pub(super) struct Debt {
    due: Option<Instant>,
    pause: Duration,
    /// The last look failed, and a warning has said so.
    is_failing: bool,
    /// Devices that a warning has told of, by index.
    told: HashSet<u32>,
}

impl Default for Debt {
    fn default() -> Self {
        Self {
            due: None,
            pause: FIRST_PAUSE,
            is_failing: false,
            told: HashSet::new(),
        }
    }
}

impl Debt {
    /// How long it is until the next look; none if there is to be none.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        Some(self.due?.saturating_duration_since(now))
    }

    /// Notices were lost: a look is due at once, but for one that is waited for because the last one failed.
    pub(super) fn lost(&mut self, now: Instant) {
        if !self.is_failing {
            self.due = Some(now);
        }
    }

    /// A device could not be attached to. One that a warning has told of is tried with its next notice only.
    pub(super) fn refused(&mut self, index: u32, now: Instant) {
        if !self.told.contains(&index) && self.due.is_none() {
            self.due = Some(now + FIRST_PAUSE);
        }
    }

    /// A look, or reading notices, failed: there is another one after a pause.
    pub(super) fn failed(&mut self, error: &anyhow::Error, now: Instant) {
        if self.is_failing {
            log::debug!("looking at the devices failed again: {error:#}");
        } else {
            log::warn!(
                "looking at the devices failed; until it succeeds new ones may not be watched for NAT: {error:#}"
            );
        }
        self.is_failing = true;
        self.due = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// A look succeeded. Gives what is to be told of the devices that could not be watched.
    pub(super) fn paid(&mut self, problems: Vec<Problem>) -> Vec<String> {
        if std::mem::take(&mut self.is_failing) {
            log::warn!("devices are watched for NAT again as they come");
        }
        self.due = None;
        self.pause = FIRST_PAUSE;
        self.untold(problems)
    }

    /// What has not been told of these devices yet. Others are forgotten: they are watched, or gone.
    pub(super) fn untold(&mut self, problems: Vec<Problem>) -> Vec<String> {
        let there: HashSet<u32> = problems.iter().map(|(index, _)| *index).collect();
        self.told.retain(|index| there.contains(index));
        problems
            .into_iter()
            .filter(|(index, _)| self.told.insert(*index))
            .map(|(_, what)| what)
            .collect()
    }

    /// A device is gone: what comes with its index is another one.
    pub(super) fn gone(&mut self, index: u32) {
        self.told.remove(&index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(index: u32) -> Problem {
        (index, format!("veth{index}: refused"))
    }

    #[test]
    fn a_look_that_fails_is_tried_again_ever_more_seldom() {
        let now = Instant::now();
        let mut debt = Debt::default();
        assert_eq!(debt.rest(now), None);
        debt.lost(now);
        assert_eq!(debt.rest(now), Some(Duration::ZERO));
        let error = anyhow::anyhow!("no buffer");
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            debt.failed(&error, now);
            // More lost notices bring it on no sooner.
            debt.lost(now);
            assert_eq!(debt.rest(now), Some(Duration::from_secs(seconds)));
        }
        assert!(debt.paid(Vec::new()).is_empty());
        assert_eq!(debt.rest(now), None);
        debt.lost(now);
        assert_eq!(debt.rest(now), Some(Duration::ZERO));
    }

    #[test]
    fn a_device_is_told_of_once_while_it_is_there() {
        let now = Instant::now();
        let mut debt = Debt::default();
        debt.refused(7, now);
        assert_eq!(debt.rest(now), Some(FIRST_PAUSE));
        assert_eq!(
            debt.paid(vec![problem(7), problem(8)]),
            ["veth7: refused", "veth8: refused"]
        );
        // Its notices make no further looks.
        debt.refused(7, now);
        assert_eq!(debt.rest(now), None);
        assert!(debt.paid(vec![problem(7)]).is_empty());
        // The look that had no problem with it has watched it, or found it gone.
        assert_eq!(debt.paid(vec![problem(7), problem(8)]), ["veth8: refused"]);
        debt.gone(7);
        assert_eq!(debt.paid(vec![problem(7), problem(8)]), ["veth7: refused"]);
    }
}
