//! `bpf_ktime_get_ns` to wall-clock time.

use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};

/// Distance between the monotonic and the wall clock, taken anew at every drain: clocks step.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall_minus_monotonic: SignedDuration,
}

/// Readings of which the quickest counts.
const TRIES: usize = 4;

fn monotonic() -> SignedDuration {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map(|time| SignedDuration::new(time.tv_sec(), i32::try_from(time.tv_nsec()).unwrap_or(0)))
        .unwrap_or_default()
}

/// `CLOCK_MONOTONIC` now, in nanoseconds: what `bpf_ktime_get_ns` reads.
#[must_use]
pub fn monotonic_ns() -> u64 {
    u64::try_from(monotonic().as_nanos()).unwrap_or(0)
}

impl Clock {
    /// Compares the two clocks now: several times, as we may be interrupted between the two readings.
    #[must_use]
    pub fn now() -> Self {
        let read = || {
            let before = monotonic();
            let wall = Timestamp::now().as_duration();
            (monotonic() - before, wall - before)
        };
        let (_, wall_minus_monotonic) = (0..TRIES)
            .map(|_| read())
            .min_by_key(|(took, _)| *took)
            .unwrap_or_default();
        Self {
            wall_minus_monotonic,
        }
    }

    /// Wall-clock time of a `CLOCK_MONOTONIC` reading in nanoseconds.
    #[must_use]
    pub fn wall(&self, ktime_ns: u64) -> Timestamp {
        let monotonic = SignedDuration::from_nanos(i64::try_from(ktime_ns).unwrap_or(i64::MAX));
        Timestamp::from_duration(self.wall_minus_monotonic + monotonic)
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }
}
