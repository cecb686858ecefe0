//! A storm that an nft rule drops and counts: the service's number has to be the rule's.

use std::time::Duration;

use anyhow::Result;
use dockernet_tests::{
    CountedDrop, HOST_IP, Lab,
    monitor::{Monitor, Sample, sum},
    traffic::{Flood, flood},
};

/// Packets of one.
const PACKETS: u64 = 40_000;
/// It is told within this time.
const TOLD: Duration = Duration::from_secs(20);

/// Sums over all storms.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Storms {
    pub(crate) number: u64,
    /// By nft.
    pub(crate) dropped: u64,
    /// By the service, with their cause.
    pub(crate) told: u64,
    /// Counted, never seen in detail.
    pub(crate) lost: u64,
    /// Never seen at all: `recursion_misses`.
    pub(crate) missed: u64,
}

/// Lets one rage; gives what does not add up.
pub(crate) fn rage(lab: &Lab, monitor: &Monitor, storms: &mut Storms) -> Result<Option<String>> {
    let before = monitor.samples()?;
    let rule = CountedDrop::make(lab, "forward", 5000)?;
    let sent = flood(
        lab.outside(),
        Flood {
            to: format!("{HOST_IP}:17004").parse()?,
            count: PACKETS,
            threads: 1,
            size: 22,
            limit: Duration::from_secs(30),
        },
    );
    let dropped = rule.packets(lab)?;
    CountedDrop::remove(lab)?;
    sent?;
    let more = |after: &[Sample], metric: &str, with: &str| -> u64 {
        whole(sum(after, metric, with) - sum(&before, metric, with))
    };
    let of = |after: &[Sample]| {
        (
            more(after, "dockernet_drops_total", "container=\"target\""),
            more(after, "dockernet_unattributed_drops_total", ""),
            more(after, "dockernet_missed_drops_total", ""),
        )
    };
    // What is on its way comes: within two seconds, or later on a busy machine.
    monitor
        .wait("the storm is told", TOLD, |page| {
            let (told, lost, missed) = of(page);
            told + lost + missed >= dropped
        })
        .ok();
    let after = monitor.samples()?;
    let (told, lost, missed) = of(&after);
    storms.number += 1;
    storms.dropped += dropped;
    storms.told += told;
    storms.lost += lost;
    storms.missed += missed;
    let adds_up = dropped > 0 && told <= dropped && dropped <= told + lost + missed;
    Ok((!adds_up).then(|| {
        format!("a storm: nft dropped {dropped}, {told} are told, {lost} without detail, {missed} missed")
    }))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a difference of counters below 2^53"
)]
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}
