//! A recording of every fault, its causes taken out: judged again from what was recorded, they are the same.

use anyhow::Result;
use dockernet_tests::{can_run, scenario};

/// One of so many faults in a run that is not full.
const SHARE: usize = 10;

#[test]
fn a_recording_tells_its_causes_again() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    scenario::each(
        SHARE,
        2,
        |fault| !fault.expect.finding,
        scenario::judge_again,
    )
}
