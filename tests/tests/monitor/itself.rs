//! What it costs and what it opens, by the kernel's own account.

use std::{collections::BTreeMap, fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dockernet_tests::{
    CountedDrop, Lab, children_of, family,
    long_recording::memory,
    monitor::{Monitor, sum},
    progress,
};

use super::numbers::send;

/// Packets of the storm whose cost is told.
const STORM: u64 = 400_000;

/// The page's figures of its own cost against /proc's.
pub(crate) fn cost(lab: &mut Lab) -> Result<()> {
    let rule = CountedDrop::make(lab, "forward", 5000)?;
    let monitor = Monitor::start(lab, &[])?;
    let pid = monitor.tracer.pid();
    let before = monitor.sum("dockernet_bpf_run_seconds_total", "")?;
    send(lab, STORM)?;
    let dropped = f64::from(u32::try_from(rule.packets(lab)?)?);
    CountedDrop::remove(lab)?;
    // A storm that was over before a second was measured is priced by its runs, at the price of the next second's.
    monitor.wait(
        "its runs have a price",
        Duration::from_secs(75),
        |samples| {
            sum(samples, "dockernet_bpf_run_seconds_total", "") > before
                && sum(samples, "dockernet_cpu_usage_ratio", "") > 0.0
                && sum(samples, "dockernet_drops_total", "container=\"target\"") >= dropped
        },
    )?;
    let samples = monitor.samples()?;
    let of = |name: &str| sum(&samples, name, "");
    let run = (of("dockernet_bpf_run_seconds_total") - before) / dropped;
    let maps: u64 = fdinfo(pid)?
        .iter()
        .filter_map(|file| number(file, "memlock"))
        .sum();
    progress(&format!(
        "{:.0} ns a drop; {} B of maps; {:.4} of a core",
        run * 1e9,
        of("dockernet_map_memory_bytes"),
        of("dockernet_cpu_usage_ratio")
    ));
    // A run is some hundred nanoseconds, in an emulated machine some ten thousand.
    ensure!(
        (20e-9..100e-6).contains(&run),
        "{run} s a drop: {samples:?}"
    );
    let told = of("dockernet_map_memory_bytes");
    ensure!(
        maps > 1 << 20 && told == to_f64(maps)?,
        "the kernel says {maps} bytes of maps, the page {told}"
    );
    // The rings are mapped.
    let (all, both) = (
        of("dockernet_memory_bytes"),
        told + of("process_resident_memory_bytes"),
    );
    ensure!(
        all > told && all < both,
        "{all} bytes in all, {both} if the rings count twice"
    );
    // The helper is the same program: what is the file's is counted once.
    let helpers = children_of(pid)?.into_iter();
    let helper: f64 = helpers
        .map(|pid| memory(pid, "RssAnon"))
        .sum::<Result<_>>()?;
    let rss = (memory(pid, "VmRSS")? + helper) * 1024.0 * 1024.0;
    let told = of("process_resident_memory_bytes");
    ensure!(
        (told / rss - 1.0).abs() < 0.25,
        "/proc says {rss} bytes resident, the page {told}"
    );
    let processes = family(pid)?.into_iter();
    let seconds = processes.map(cpu_seconds).sum::<Result<f64>>()?;
    let told = of("process_cpu_seconds_total");
    ensure!(
        told > 0.0 && told <= seconds + 0.02 && seconds - told < 2.0,
        "/proc says {seconds} s of CPU, the page {told}"
    );
    let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    let told = of("process_open_fds");
    ensure!(
        (told - to_f64(u64::try_from(files)?)?).abs() <= 4.0,
        "/proc says {files} open files, the page {told}"
    );
    monitor.stop()?;
    Ok(())
}

fn to_f64(number: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(number)?))
}

fn fdinfo(pid: u32) -> Result<Vec<String>> {
    let mut seen = BTreeMap::new();
    for file in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // One that is closed meanwhile.
        let text = fs::read_to_string(file?.path()).unwrap_or_default();
        // A map may be held by two descriptors.
        if let Some(id) = number(&text, "map_id") {
            seen.insert(id, text);
        }
    }
    Ok(seen.into_values().collect())
}

fn number(fdinfo: &str, key: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

/// User and system time, its waited-for children's included (proc(5), stat; a tick is 10 ms on every Linux that Docker runs on).
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks: u32 = rest
        .split_whitespace()
        .skip(11)
        .take(4)
        .map(str::parse::<u32>)
        .sum::<Result<u32, std::num::ParseIntError>>()?;
    Ok(f64::from(ticks) / 100.0)
}

/// Nothing is open to the network but its page, on loopback.
pub(crate) fn sockets(lab: &mut Lab) -> Result<()> {
    let monitor = Monitor::start(lab, &["--nat"])?;
    let pid = monitor.tracer.pid();
    // A lookup or two are made at the start.
    thread::sleep(Duration::from_millis(500));
    let mut open = Vec::new();
    for process in family(pid)? {
        open.append(&mut of_network(process)?);
    }
    let port = monitor.address.port();
    let own = format!("tcp 0100007F:{port:04X} listens");
    monitor.stop()?;
    ensure!(open == [own.clone()], "{open:?}, not {own} alone");
    Ok(())
}

/// Sockets of a process that a packet can reach, or leave by.
fn of_network(pid: u32) -> Result<Vec<String>> {
    let mut inodes = Vec::new();
    for file in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let Ok(target) = fs::read_link(file?.path()) else {
            continue;
        };
        let target = target.to_string_lossy().into_owned();
        let inode = target
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'));
        inodes.extend(inode.map(str::to_owned));
    }
    ensure!(
        !inodes.is_empty(),
        "{pid} has no socket at all, not even netlink's"
    );
    let mut open = Vec::new();
    for kind in [
        "tcp", "tcp6", "udp", "udp6", "udplite", "raw", "raw6", "icmp", "packet",
    ] {
        // Not every kernel has UDP-Lite or AF_PACKET.
        let table = fs::read_to_string(format!("/proc/{pid}/net/{kind}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let inode = if kind == "packet" {
                words.get(8)
            } else {
                words.get(9)
            };
            if inode.is_some_and(|inode| inodes.iter().any(|own| own == inode)) {
                let [_, local, _, state, ..] = words.as_slice() else {
                    continue;
                };
                // include/net/tcp_states.h: TCP_LISTEN
                let state = if *state == "0A" { "listens" } else { state };
                open.push(format!("{kind} {local} {state}"));
            }
        }
    }
    Ok(open)
}
