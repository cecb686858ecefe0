//! A recording of many drops, made of a short real one: what a busy host leaves in a day.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::{
    container::Run, exec::Cmd, lab::Lab, netns::Place, tracer::Tracer, traffic, wires::HOST_IP,
};

/// Drops that are recorded; the file repeats them.
const REAL: u64 = 2000;

/// It.
#[derive(Clone, Debug)]
pub struct LongRecording {
    /// Where it is.
    pub file: PathBuf,
    /// Bytes of its lines.
    pub plain: u64,
    /// Lines about drops in it: those asked for, and what fills the last frame.
    pub drops: usize,
    /// Packets that they stand for.
    pub packets: u64,
}

/// Makes one in the lab's folder. A container `target` runs in the lab from then on, and a rule drops what comes to it.
///
/// # Errors
/// Nothing was recorded, or the disk is full.
pub fn make(lab: &Lab, drops: usize) -> Result<LongRecording> {
    let real = lab.folder().join("real.rec");
    record(lab, &real)?;
    grow(lab, &real, drops)
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

/// Repeats the drops of a recording, in frames as the recorder makes them.
fn grow(lab: &Lab, real: &Path, wanted: usize) -> Result<LongRecording> {
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
    let mut packets = 0;
    for line in &drops {
        let line: serde_json::Value = serde_json::from_str(line)?;
        packets += line["count"].as_u64().context("a drop without a count")?;
    }
    let file = lab.folder().join("long.rec");
    let mut out = File::create(&file)?;
    let bytes = |lines: &[&str]| lines.iter().map(|line| line.len() as u64 + 1).sum::<u64>();
    let mut plain = bytes(&head);
    out.write_all(&frame(lab, &head.join("\n"))?)?;
    let frames = wanted.div_ceil(drops.len());
    for _ in 0..frames {
        out.write_all(&block)?;
        plain += bytes(&drops);
    }
    out.write_all(&frame(lab, end)?)?;
    Ok(LongRecording {
        file,
        plain,
        drops: frames * drops.len(),
        packets: frames as u64 * packets,
    })
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
///
/// # Errors
/// It fails.
pub fn timed(command: &str) -> Result<(f64, f64)> {
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

/// Memory of a process, MiB: `VmRSS`, or `VmHWM`, the most it ever was.
///
/// # Errors
/// It is gone.
pub fn memory(pid: u32, which: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(which)?.strip_prefix(':'))
        .and_then(|value| value.split_whitespace().next()?.parse::<f64>().ok())
        .map(|kib| kib / 1024.0)
        .with_context(|| format!("{which} of process {pid}"))
}
