//! A storm that an nft rule drops and counts: the service's number has to be the rule's.

use std::{thread, time::Duration};

use anyhow::Result;
use dockernet_tests::{
    CountedDrop, HOST_IP, Lab,
    monitor::{Monitor, Sample, sum},
    traffic::{Flood, flood},
};

/// Packets of one.
const PACKETS: u64 = 40_000;

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
    // What is on its way comes.
    thread::sleep(Duration::from_secs(3));
    let dropped = rule.packets(lab)?;
    CountedDrop::remove(lab)?;
    sent?;
    let after = monitor.samples()?;
    let more = |metric: &str, with: &str| -> u64 {
        let number = |page: &[Sample]| sum(page, metric, with);
        whole(number(&after) - number(&before))
    };
    let told = more("dockernet_drops_total", "container=\"target\"");
    let lost = more("dockernet_unattributed_drops_total", "");
    let missed = more("dockernet_missed_drops_total", "");
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
