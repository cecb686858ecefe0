//! A recording of a million drops, shown again: how long it takes, and what it needs, beside what people read such files with.

use anyhow::Result;
use dockernet_tests::{
    Engine, Lab, LabOptions,
    long_recording::{self, LongRecording, timed},
    tool_path,
};

use crate::section::{machine, median};

/// Drops in the file.
const EVENTS: usize = 1_000_000;
/// Repetitions of each row.
const TIMES: usize = 3;

pub(crate) fn run() -> Result<String> {
    let lab = Lab::start(&Engine::newest()?, &LabOptions::default())?;
    let LongRecording {
        file, plain, drops, ..
    } = long_recording::make(&lab, EVENTS)?;
    let tool = tool_path()?;
    let replay = |arguments: &str| {
        format!(
            "exec '{}' replay '{}' {arguments}",
            tool.display(),
            file.display()
        )
    };
    let read = format!("zstdcat '{}' | jq -c .", file.display());
    let rows = [
        (
            "`zstdcat` (the floor)",
            format!("exec zstdcat '{}'", file.display()),
        ),
        ("`replay --output json`", replay("--drops --output json")),
        ("`replay --output text`", replay("--drops")),
        (
            "`replay --output pcapng`",
            replay("--drops --output pcapng"),
        ),
        (
            "`replay --output json --filter 'udp and src port 1'` (none is)",
            replay("--drops --output json --filter 'udp and src port 1'"),
        ),
        ("`zstdcat` and `jq -c .`", read),
    ];
    let mut text = format!(
        "{}\n{drops} recorded drops, {} MB in the file, {} MB of JSON Lines; output to /dev/null. Seconds: median of {TIMES}. Memory: the most it ever was.\n\n\
         | command | seconds | of `zstdcat`'s | MiB |\n|---|---|---|---|\n",
        machine(),
        file.metadata()?.len() / 1_000_000,
        plain / 1_000_000,
    );
    let mut floor = None;
    for (name, command) in rows {
        let mut seconds = Vec::new();
        let mut most: f64 = 0.0;
        for _ in 0..TIMES {
            let (took, used) = timed(&command)?;
            seconds.push(took);
            most = most.max(used);
        }
        let seconds = median(&seconds);
        let floor = *floor.get_or_insert(seconds);
        // A pipe has more than one.
        let memory = if command.starts_with("exec ") {
            format!("{most:.1}")
        } else {
            "–".to_owned()
        };
        text.push_str(&format!(
            "| {name} | {seconds:.1} | {:.1} | {memory} |\n",
            seconds / floor
        ));
    }
    Ok(text)
}
