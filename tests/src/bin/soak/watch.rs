//! The service from outside, each five seconds: its memory, what it holds open, its CPU time, and a scrape.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use dockernet_tests::{
    Lab, Place,
    foreign::{Object, is_there},
    monitor::{Monitor, sum},
    wait_until,
};

use crate::life::Life;

const EVERY: Duration = Duration::from_secs(5);

/// One look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// Since the start.
    pub(crate) at: Duration,
    /// Resident memory, KiB.
    pub(crate) rss: u64,
    /// What of it is its own: heap and stacks. The rest are pages of its program and its rings, KiB.
    pub(crate) own: u64,
    /// Memory of its maps, KiB.
    pub(crate) maps: u64,
    /// What it holds: descriptors by kind, threads.
    pub(crate) held: BTreeMap<&'static str, u64>,
    /// CPU seconds of the process.
    pub(crate) cpu: f64,
    /// CPU seconds of the kernel half, by its own account.
    pub(crate) kernel: f64,
    /// How long the scrape took.
    pub(crate) scrape: Duration,
    /// Samples on the page.
    pub(crate) series: usize,
    /// Containers that had come and gone.
    pub(crate) churned: u64,
    objects: BTreeSet<(Object, u32)>,
}

/// Until the end.
pub(crate) fn run(monitor: &Monitor, life: &Life, started: Instant) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    while !life.is_over() {
        samples.push(look(monitor, life, started)?);
        life.sleep(EVERY);
    }
    Ok(samples)
}

fn look(monitor: &Monitor, life: &Life, started: Instant) -> Result<Sample> {
    let pid = monitor.tracer.pid();
    let asked = Instant::now();
    let page = monitor.samples().context("a scrape")?;
    let mut sample = Sample {
        at: started.elapsed(),
        scrape: asked.elapsed(),
        series: page.len(),
        kernel: sum(&page, "dockernet_bpf_run_seconds_total", ""),
        cpu: sum(&page, "process_cpu_seconds_total", ""),
        churned: life.churned.load(std::sync::atomic::Ordering::Relaxed),
        ..Sample::default()
    };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("it is gone")?;
    sample.rss = number(&status, "VmRSS").context("no VmRSS")?;
    sample.own = number(&status, "RssAnon").context("no RssAnon")?;
    sample
        .held
        .insert("threads", number(&status, "Threads").context("no Threads")?);
    descriptors(pid, &mut sample)?;
    Ok(sample)
}

fn descriptors(pid: u32, sample: &mut Sample) -> Result<()> {
    let mut maps = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        let Ok(target) = fs::read_link(entry.path()) else {
            continue;
        };
        *sample.held.entry("descriptors").or_default() += 1;
        let (kind, object, field) = match target.to_string_lossy().as_ref() {
            "anon_inode:bpf-prog" => ("programs", Object::Program, "prog_id"),
            "anon_inode:bpf-map" => ("maps", Object::Map, "map_id"),
            "anon_inode:bpf_link" => ("links", Object::Link, "link_id"),
            _ => continue,
        };
        *sample.held.entry(kind).or_default() += 1;
        let info = format!("/proc/{pid}/fdinfo/{}", entry.file_name().to_string_lossy());
        let info = fs::read_to_string(info).unwrap_or_default();
        let Some(id) = number(&info, field).and_then(|id| u32::try_from(id).ok()) else {
            continue;
        };
        sample.objects.insert((object, id));
        if object == Object::Map {
            maps.insert(id, number(&info, "memlock").unwrap_or(0));
        }
    }
    sample.maps = maps.values().sum::<u64>() / 1024;
    Ok(())
}

/// The number behind `NAME:` in a file of /proc.
fn number(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// What of all that it ever held is still in the kernel now that it has ended, and what it left at the lab's devices.
pub(crate) fn left_behind(lab: &Lab, samples: &[Sample]) -> Result<(usize, Vec<String>)> {
    let all: BTreeSet<(Object, u32)> = samples
        .iter()
        .flat_map(|sample| sample.objects.iter().copied())
        .collect();
    ensure!(!all.is_empty(), "it held nothing of the kernel's");
    let left = || -> Vec<String> {
        all.iter()
            .filter(|(object, id)| is_there(*object, *id).unwrap_or(true))
            .map(|(object, id)| format!("{object:?} {id}"))
            .collect()
    };
    // The kernel frees programs when nobody runs them any more.
    wait_until("its programs are gone", Duration::from_secs(10), || {
        left().is_empty().then_some(())
    })
    .ok();
    let mut left = left();
    let output = lab.shell(
        &Place::Host,
        "tc qdisc show | grep clsact; for d in $(ls /sys/class/net); do tc filter show dev $d ingress; tc filter show dev $d egress; done | grep dockernet; true",
    )?;
    left.extend(output.stdout.lines().map(str::to_owned));
    Ok((all.len(), left))
}
