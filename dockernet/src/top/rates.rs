//! Packets a second, for the last minute.

/// Seconds that are remembered, the current one among them.
pub(super) const SECONDS: usize = 60;
/// Whole seconds whose mean is "now": what was only counted comes once a second, not always in the second it happened.
const NOW: u64 = 3;

/// A ring of seconds. The clock is whoever calls: seconds since the start, which never go back.
#[derive(Clone, Debug)]
pub(super) struct Rates {
    ring: [u64; SECONDS],
    /// The newest second in it.
    newest: u64,
}

impl Rates {
    pub(super) fn new(second: u64) -> Self {
        Self {
            ring: [0; SECONDS],
            newest: second,
        }
    }

    /// Adds packets to the current second.
    pub(super) fn add(&mut self, second: u64, count: u64) {
        // A clock that went back counts in the newest second.
        let second = second.max(self.newest);
        let passed = usize::try_from(second - self.newest).unwrap_or(usize::MAX);
        if passed >= SECONDS {
            self.ring = [0; SECONDS];
        } else {
            for step in 1..=passed as u64 {
                self.ring[place(self.newest + step)] = 0;
            }
        }
        self.newest = second;
        let slot = &mut self.ring[place(second)];
        *slot = slot.saturating_add(count);
    }

    /// Packets of one second.
    fn at(&self, second: u64) -> u64 {
        if second > self.newest || self.newest - second >= SECONDS as u64 {
            return 0;
        }
        self.ring[place(second)]
    }

    /// Packets of the last whole seconds, newest last.
    pub(super) fn last(&self, second: u64, seconds: usize) -> Vec<u64> {
        let seconds = seconds.min(SECONDS - 1) as u64;
        (1..=seconds)
            .rev()
            .map(|ago| second.checked_sub(ago).map_or(0, |second| self.at(second)))
            .collect()
    }

    /// Packets a second now: the mean of the last whole seconds, or of as many as there were.
    pub(super) fn now(&self, second: u64) -> f64 {
        let seconds = NOW.min(second).max(1);
        let sum: u64 = self
            .last(second, usize::try_from(seconds).unwrap_or(1))
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count));
        sum as f64 / seconds as f64
    }
}

fn place(second: u64) -> usize {
    usize::try_from(second % SECONDS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_a_minute_is_forgotten() {
        let mut rates = Rates::new(0);
        rates.add(10, 6);
        assert_eq!(rates.last(12, 3), [0, 6, 0]);
        assert!((rates.now(11) - 2.0).abs() < 1e-9);
        assert!((rates.now(14) - 0.0).abs() < 1e-9);
        assert_eq!(rates.last(69, 59).first(), Some(&6));
        assert_eq!(rates.last(70, 59).iter().sum::<u64>(), 0);
        rates.add(70, 1);
        assert_eq!(rates.last(71, 59).iter().sum::<u64>(), 1);
    }

    #[test]
    fn the_first_seconds_are_no_mean_of_three() {
        let mut rates = Rates::new(0);
        rates.add(0, 5);
        assert!((rates.now(1) - 5.0).abs() < 1e-9);
    }

    proptest::proptest! {
        #[test]
        fn it_is_the_sum_by_second(events in proptest::collection::vec((0_u64..90, 0_u64..1000), 0..60)) {
            let mut rates = Rates::new(0);
            let (mut now, mut all) = (0, Vec::new());
            for (step, count) in events {
                now += step;
                rates.add(now, count);
                all.push((now, count));
            }
            let expected: u64 = all.iter().filter(|(at, _)| now - at < 59).map(|(_, count)| count).sum();
            let found: u64 = rates.last(now + 1, 59).iter().sum();
            proptest::prop_assert_eq!(expected, found);
        }
    }
}
