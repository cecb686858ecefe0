//! A recording of a million drops, shown again: how long it takes, and what it needs, beside what people read such files with.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use dockernet_tests::{
    Cmd, Engine, HOST_IP, Lab, LabOptions, Place, Run, Tracer, tool_path, traffic,
};
use nix::sys::signal::Signal;

use crate::section::{machine, median, memory};

/// Drops in the file.
const EVENTS: usize = 1_000_000;
/// Drops that are recorded; the file repeats them.
const REAL: u64 = 2000;
/// Repetitions of each row.
const TIMES: usize = 3;

pub(crate) fn run() -> Result<String> {
    let lab = Lab::start(&Engine::newest()?, &LabOptions::default())?;
    let real = lab.folder().join("real.rec");
    record(&lab, &real)?;
    let file = lab.folder().join("million.rec");
    let plain = grow(&lab, &real, &file)?;
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
        "{}\n{EVENTS} recorded drops, {} MB in the file, {} MB of JSON Lines; output to /dev/null. Seconds: median of {TIMES}. Memory: the most it ever was.\n\n\
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

/// Records drops of one rule.
fn record(lab: &Lab, file: &Path) -> Result<()> {
    lab.run(&Run::new("target", "sleep 3600").publish("10004:5000/udp"))?;
    let rule = "iptables -I DOCKER-USER -p udp --dport 5000 -j DROP";
    ensure!(lab.shell(&Place::Host, rule)?.success(), "{rule}");
    let name = file.to_str().context("a path that is no UTF-8")?;
    let recorder = Tracer::start(lab, &["record", name, "--drops", "--container", "target"])?;
    traffic::flood(
        lab.outside(),
        traffic::Flood {
            to: format!("{HOST_IP}:10004").parse()?,
            count: REAL,
            threads: 1,
            size: 22,
            limit: Duration::from_secs(30),
        },
    )?;
    thread::sleep(Duration::from_secs(2));
    recorder.signal(Signal::SIGINT)?;
    recorder.wait(Duration::from_secs(20))?;
    Ok(())
}

/// Repeats the drops of a recording, in frames as the recorder makes them. Gives the bytes of its lines.
fn grow(lab: &Lab, real: &Path, file: &Path) -> Result<u64> {
    let lines = Cmd::new("zstdcat").arg(real).run()?;
    let of = |kind: &str| {
        let start = format!("{{\"type\":\"{kind}\"");
        move |line: &&str| line.starts_with(&start)
    };
    let first = lines
        .lines()
        .position(|line| of("drop")(&line))
        .context("nothing was recorded")?;
    let head: Vec<&str> = lines.lines().take(first).collect();
    let mut drops: Vec<&str> = lines.lines().filter(of("drop")).collect();
    // What a recorder puts into a frame of a MiB.
    let size: usize = drops.iter().map(|line| line.len() + 1).sum();
    drops.truncate((drops.len() << 20).div_ceil(size).min(drops.len()));
    let end = lines
        .lines()
        .rfind(of("ledger"))
        .context("the recording has no end")?;
    let block = frame(lab, &drops.join("\n"))?;
    let mut out = File::create(file)?;
    let mut whole = head.iter().map(|line| line.len() as u64 + 1).sum::<u64>();
    std::io::Write::write_all(&mut out, &frame(lab, &head.join("\n"))?)?;
    for _ in 0..EVENTS.div_ceil(drops.len()) {
        std::io::Write::write_all(&mut out, &block)?;
        whole += drops.iter().map(|line| line.len() as u64 + 1).sum::<u64>();
    }
    std::io::Write::write_all(&mut out, &frame(lab, end)?)?;
    Ok(whole)
}

fn frame(lab: &Lab, lines: &str) -> Result<Vec<u8>> {
    let (from, to) = (lab.folder().join("frame"), lab.folder().join("frame.zst"));
    fs::write(&from, format!("{lines}\n"))?;
    Cmd::new("zstd")
        .args(["-q", "-f", "-3", "--check"])
        .arg(&from)
        .arg("-o")
        .arg(&to)
        .run()?;
    fs::read(&to).with_context(|| format!("reading {}", to.display()))
}

/// Seconds that a command takes, and the most memory of its first process, MiB.
fn timed(command: &str) -> Result<(f64, f64)> {
    let start = Instant::now();
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| command.to_owned())?;
    let mut most: f64 = 0.0;
    let status = loop {
        if let Ok(now) = memory(child.id(), "VmHWM") {
            most = most.max(now);
        }
        if let Some(status) = child.try_wait()? {
            break status;
        }
        thread::sleep(Duration::from_millis(5));
    };
    ensure!(status.success(), "{command}: {status}");
    Ok((start.elapsed().as_secs_f64(), most))
}
