//! `bpf_ktime_get_ns` to wall-clock time.

use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};

/// Distance between the monotonic and the wall clock, taken anew at every drain: clocks step.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall_minus_monotonic: SignedDuration,
}

/// `CLOCK_MONOTONIC` now, in nanoseconds: what `bpf_ktime_get_ns` reads.
#[must_use]
pub fn monotonic_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
    })
}

impl Clock {
    /// Compares the two clocks now.
    #[must_use]
    pub fn now() -> Self {
        let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC)
            .map(|time| {
                SignedDuration::new(time.tv_sec(), i32::try_from(time.tv_nsec()).unwrap_or(0))
            })
            .unwrap_or_default();
        Self {
            wall_minus_monotonic: Timestamp::now().as_duration() - monotonic,
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
