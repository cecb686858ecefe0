//! A fault's recording, judged again.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{
    model::{Only, Scenario},
    phase,
    run::{around, to_the_fault},
};
use crate::{
    exec::Cmd,
    lab::Lab,
    schema,
    tracer::{Tracer, replay},
};

/// The fault is recorded, its causes are taken out of the recording and the catalogue is called another: `replay` has to find
/// the same causes. The lab has to be reset afterwards.
///
/// # Errors
/// What went otherwise.
pub fn judge_again(lab: &mut Lab, scenario: &Scenario) -> Result<bool> {
    let file = lab.folder().join("again.rec");
    around(lab, scenario, |lab| recorded(lab, scenario, &file))?;
    let (before, _) = causes(&file)?;
    let forgotten = file.with_extension("forgotten");
    let samples = forget(&file, &forgotten)?;
    let (after, notes) = causes(&forgotten)?;
    std::fs::remove_file(&file)?;
    std::fs::remove_file(&forgotten)?;
    ensure!(samples > 0, "nothing was recorded in detail");
    for told in [
        "with another catalogue of causes",
        "with another cause by this version's catalogue",
    ] {
        ensure!(notes.contains(told), "not told: {told}: {notes}");
    }
    let expected = &scenario.expect.cause;
    ensure!(
        expected.iter().any(|cause| before.contains(cause)),
        "none of {expected:?} was recorded, but {before:?}"
    );
    ensure!(
        before.len() == after.len(),
        "{} lines, and {} judged again",
        before.len(),
        after.len()
    );
    let differ: Vec<_> = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after)
        .collect();
    ensure!(
        differ.is_empty(),
        "of {} lines {} have another cause: {:?}",
        before.len(),
        differ.len(),
        differ.first()
    );
    Ok(true)
}

fn recorded(lab: &mut Lab, scenario: &Scenario, file: &Path) -> Result<()> {
    let _servers = to_the_fault(lab, scenario, |lab| {
        phase::traffic(lab, scenario, Only::Healthy).map(drop)
    })?;
    let name = file.to_str().context("a path that is no UTF-8")?;
    let tracer = Tracer::start(lab, &["record", name, "--drops"])?;
    phase::steps(lab, &scenario.fault).context("breaking it")?;
    phase::traffic(lab, scenario, Only::Faulty)?;
    std::thread::sleep(Duration::from_millis(400));
    tracer.signal(Signal::SIGINT)?;
    let finished = tracer.wait(Duration::from_secs(10))?;
    ensure!(finished.status == Some(0), "{finished:?}");
    Ok(())
}

/// Ids of the causes that `replay` shows, line by line, and what it says beside them.
fn causes(file: &Path) -> Result<(Vec<String>, String)> {
    let shown = replay(file, &["--drops", "--output", "json"])?.output()?;
    ensure!(shown.success(), "{shown:?}");
    let lines = schema::lines(&shown.stdout)?;
    let drops = lines.iter().filter(|line| line["type"] == "drop");
    let id = |line: &Value| line["cause"]["id"].as_str().unwrap_or_default().to_owned();
    Ok((drops.map(id).collect(), shown.stderr))
}

/// Takes the causes out of what came up in detail, and says how many lines that were.
fn forget(from: &Path, to: &Path) -> Result<usize> {
    let text = Cmd::new("zstdcat").arg(from).run()?;
    let mut samples = 0;
    let mut lines = String::new();
    for line in text.lines() {
        let mut line: Value = serde_json::from_str(line)?;
        if line["type"] == "recording" {
            line["catalogue"] = "another".into();
        }
        if line["type"] == "drop" && line["recorded"]["sample"].is_object() {
            samples += 1;
            line["rule"] = Value::Null;
            line["cause"] = json!({
                "id": "unexplained", "confidence": "unknown", "summary": "forgotten", "evidence": [], "fix": [],
            });
        }
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    let plain = to.with_extension("jsonl");
    std::fs::write(&plain, lines)?;
    Cmd::new("zstd")
        .args(["-q", "-f", "-o"])
        .arg(to)
        .arg(&plain)
        .run()?;
    std::fs::remove_file(&plain)?;
    Ok(samples)
}
