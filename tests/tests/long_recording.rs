//! A long recording is shown again whole, and what that takes of memory does not hang on how long it is.

use std::time::Duration;

use anyhow::{Result, ensure};
use dockernet_tests::{
    Cmd, Engine, Lab, LabOptions, can_run, is_full,
    long_recording::{self, timed},
    tool_path,
};

/// MiB, of an unoptimized build too (`docs/benchmarks.md` has what is measured, a quarter of it). The lines of the short run
/// have as many bytes, those of the full one thirty times as many.
const MOST: f64 = 48.0;

#[test]
fn memory_is_bounded() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let drops = if is_full() { 1_000_000 } else { 15_000 };
    let lab = Lab::start(&Engine::newest()?, &LabOptions::default())?;
    let made = long_recording::make(&lab, drops)?;
    let replay = format!(
        "'{}' replay '{}' --drops --output json",
        tool_path()?.display(),
        made.file.display()
    );
    let filters = ["", "--filter 'udp and src port 1'", "--cause forward-drop"];
    for filter in filters {
        let (seconds, most) = timed(&format!("exec {replay} {filter}"))?;
        println!("  {drops} drops {filter}: {seconds:.1} s, {most:.1} MiB");
        ensure!(most > 0.0 && most < MOST, "{filter}: {most} MiB");
    }
    // A flow's drops are told together, however many lines were recorded of it.
    let sum = "jq 'select(.type == \"drop\").count' | awk '{ sum += $1 } END { print sum }'";
    let told = Cmd::shell(format!("{replay} --all --scope all | {sum}"))
        .limit(Duration::from_secs(600))
        .run()?;
    ensure!(
        told.trim() == made.packets.to_string(),
        "{told} of {} packets are told of again",
        made.packets
    );
    Ok(())
}
