//! `path` on every fault: a failing packet's journey ends with the drop, where it happened.

use anyhow::Result;
use dockernet_tests::{can_run, scenario};

/// One of so many faults is followed in a run that is not full.
const SHARE: usize = 10;

#[test]
fn journeys_end_where_packets_die() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    scenario::each(
        SHARE,
        1,
        |fault| fault.unfollowed.is_none() && !fault.expect.finding,
        scenario::follow,
    )
}
