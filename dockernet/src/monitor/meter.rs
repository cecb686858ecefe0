//! CPU time of the kernel half. The kernel tells it while its statistics are on, a second now and then; in between it is estimated.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::cost::{self, Kernel};

/// How long one measurement takes: all BPF programs of the machine pay for it.
const MEASURING: Duration = Duration::from_secs(1);
/// So many times as many runs, or as few, as when it was measured, and a run may cost something else: most of a storm's are counted
/// only, most of a quiet second's are looked at.
const OTHER: f64 = 10.0;
/// Fewer runs than this cost nothing worth measuring.
const FEW: u64 = 100;

/// Between two measurements it is as many runs as the drop program has counted, or with NAT's programs, which count nothing, as much
/// time as passed.
#[derive(Debug)]
pub(super) struct Meter {
    has_nat: bool,
    /// CPU time so far, seconds.
    pub(super) seconds: f64,
    /// Memory of the maps, bytes.
    pub(super) map_bytes: u64,
    /// The last two measured seconds that had runs.
    measured: [Measured; 2],
    /// Of one core, while it was measured.
    share: f64,
    /// Runs a second, while it was measured.
    rate: f64,
    /// Runs that were counted so far.
    runs: u64,
    /// Those of them that came before there was a mean.
    unpriced: u64,
    counted: Instant,
}

/// What was measured in one go.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    spent: Duration,
    runs: u64,
}

impl Meter {
    pub(super) fn new(has_nat: bool) -> Self {
        Self {
            has_nat,
            seconds: 0.0,
            map_bytes: 0,
            measured: [Measured::default(); 2],
            share: 0.0,
            rate: 0.0,
            runs: 0,
            unpriced: 0,
            counted: Instant::now(),
        }
    }

    /// Measures for a second.
    pub(super) async fn measure(&mut self) {
        // A helper is asked: that may wait.
        let statistics = tokio::task::spawn_blocking(cost::statistics).await;
        let (Ok(before), start) = (Kernel::read(), Instant::now()) else {
            return;
        };
        // Where the kernel tells no times, it tells this.
        self.map_bytes = before.map_bytes;
        let Ok(Some(statistics)) = statistics else {
            return;
        };
        sleep(MEASURING).await;
        let Ok(after) = Kernel::read() else { return };
        drop(statistics);
        let measured = Measured {
            spent: after.run_time.saturating_sub(before.run_time),
            runs: after.runs.saturating_sub(before.runs),
        };
        self.map_bytes = after.map_bytes;
        self.take(measured, start.elapsed());
    }

    fn take(&mut self, measured: Measured, time: Duration) {
        self.share = measured.spent.as_secs_f64() / time.as_secs_f64();
        self.rate = per_second(measured.runs, time);
        if measured.runs > 0 {
            let [_, last] = self.measured;
            self.measured = [last, measured];
        }
    }

    /// Mean of one run, seconds; none before a measured second had one. Of two seconds, so that the few runs of a quiet one do not
    /// price a storm's.
    pub(super) fn run(&self) -> Option<f64> {
        let spent: Duration = self.measured.iter().map(|each| each.spent).sum();
        let runs: u64 = self.measured.iter().map(|each| each.runs).sum();
        #[expect(clippy::cast_precision_loss, reason = "a mean")]
        let mean = (runs > 0).then(|| spent.as_secs_f64() / runs as f64);
        mean
    }

    /// Whether the last measured second says little about the runs since the last look, of which there are so many in all.
    pub(super) fn is_outdated(&self, runs: u64) -> bool {
        let new = runs.saturating_sub(self.runs);
        // With NAT's programs it is an estimate by time.
        !self.has_nat && is_other(new, self.counted.elapsed(), self.rate)
    }

    /// Takes note of how many runs there were in all.
    pub(super) fn count(&mut self, runs: u64) {
        self.unpriced += runs.saturating_sub(self.runs);
        if self.has_nat {
            self.seconds += self.share * self.counted.elapsed().as_secs_f64();
        } else if let Some(run) = self.run() {
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            let runs = self.unpriced as f64;
            self.seconds += run * runs;
            self.unpriced = 0;
        }
        self.runs = runs;
        self.counted = Instant::now();
    }
}

/// Whether so many runs in this time are far more, or fewer, than `rate` runs a second.
fn is_other(runs: u64, time: Duration, rate: f64) -> bool {
    let now = per_second(runs, time);
    runs >= FEW && (now > rate * OTHER || now < rate / OTHER)
}

fn per_second(runs: u64, time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let runs = runs as f64;
    runs / time.as_secs_f64()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn measured(micros: u64, runs: u64) -> Measured {
        Measured {
            spent: Duration::from_micros(micros),
            runs,
        }
    }

    /// To the microsecond.
    fn is_near(seconds: f64, micros: u32) -> bool {
        (seconds * 1e6 - f64::from(micros)).abs() < 0.5
    }

    #[test]
    fn runs_before_the_first_mean_are_priced_by_it() {
        let mut meter = Meter::new(false);
        meter.take(measured(0, 0), SECOND);
        meter.count(1_000);
        meter.count(3_000);
        assert!(meter.run().is_none() && is_near(meter.seconds, 0));
        meter.take(measured(20, 10), SECOND);
        meter.count(3_500);
        assert!(is_near(meter.seconds, 7_000), "{meter:?}");
        // Once.
        meter.count(3_500);
        assert!(is_near(meter.seconds, 7_000), "{meter:?}");
    }

    #[test]
    fn a_quiet_second_does_not_price_a_storm() {
        let mut meter = Meter::new(false);
        // Each of them is looked at.
        meter.take(measured(60, 3), SECOND);
        assert!(is_near(meter.run().unwrap(), 20));
        meter.take(measured(199_940, 999_997), SECOND);
        meter.count(10_000_000);
        assert!(is_near(meter.seconds, 2_000_000), "{meter:?}");
        // A second without runs says nothing of them.
        meter.take(measured(0, 0), SECOND);
        meter.count(20_000_000);
        assert!(is_near(meter.seconds, 4_000_000), "{meter:?}");
        // Two seconds later the storm is forgotten.
        meter.take(measured(40, 2), SECOND);
        meter.take(measured(40, 2), SECOND);
        assert!(is_near(meter.run().unwrap(), 20));
    }

    #[test]
    fn another_rate_of_runs_is_measured_at_once() {
        let time = Duration::from_secs(10);
        for (runs, rate, expected) in [
            (0, 0.0, false),
            (99, 0.0, false),
            (100, 0.0, true),
            (10_000, 100.0, false),
            (10_001, 100.0, true),
            (1_000, 1_000.0, false),
            (999, 1_000.0, true),
            // So few cost nothing, however many there were.
            (99, 1_000.0, false),
        ] {
            assert_eq!(is_other(runs, time, rate), expected, "{runs} {rate}");
        }
    }

    #[test]
    fn with_nat_it_is_as_much_time_as_passed() {
        let mut meter = Meter::new(true);
        meter.take(measured(500_000, 10), SECOND);
        meter.counted = Instant::now().checked_sub(10 * SECOND).unwrap();
        assert!(!meter.is_outdated(1_000_000));
        meter.count(1_000_000);
        assert!((5.0..6.0).contains(&meter.seconds), "{meter:?}");
    }
}
