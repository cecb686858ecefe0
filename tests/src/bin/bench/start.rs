//! Beside a hundred containers: how soon the tool is ready, how soon a new device is watched, what it needs while nothing happens.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use dockernet_tests::{
    Engine, Finished, Lab, LabOptions, Place, Run, Tracer, family, long_recording::memory, traffic,
};

use crate::section::{machine, median};

const CONTAINERS: usize = 100;
const STARTS: usize = 7;
/// Over which idle CPU time is measured.
const IDLE: Duration = Duration::from_secs(60);
/// What it does at the start is over by then.
const SETTLED: Duration = Duration::from_secs(5);
/// Networks made to see how soon their devices are watched.
const NETWORKS: usize = 8;
const STORM: u64 = 500_000;

pub(crate) fn run() -> Result<String> {
    let machine = machine();
    let lab = Lab::start(&Engine::newest()?, &LabOptions::default())?;
    // As on a host that has been up for long: each device's router solicitations, which containers drop, have become rare by then.
    let quiet = "sysctl -qw net.ipv6.conf.default.router_solicitations=0";
    ensure!(lab.shell(&Place::Host, quiet)?.success(), "{quiet}");
    lab.run(&Run::new("target", "sleep 3600").publish("10004:5000/udp"))?;
    for number in 1..CONTAINERS {
        lab.run(&Run::new(&format!("many{number}"), "sleep 3600"))?;
    }
    let mut text = format!(
        "{machine}\n{CONTAINERS} containers. Milliseconds from the start of the process to its `ready` line (median of {STARTS}, and the longest); CPU over {} s without a\ndrop of the lab's (devices solicit no routers), of one core; memory: resident, and the most it ever was (start included);\n`monitor` with its helper, pages that both share counted twice.\n\n| views | ready, ms | CPU | drops meanwhile | RSS, MiB | after a storm | most |\n|---|---|---|---|---|---|---|\n",
        IDLE.as_secs()
    );
    for args in [
        &["--drops"] as &[&str],
        &["--drops", "--nat"],
        &["path", "--to", "target"],
        &["monitor", "--listen", "off"],
    ] {
        text.push_str(&row(&lab, args)?);
    }
    let spans = attach(&lab)?;
    text.push_str(&format!(
        "\nLink event to watched, {} devices of new containers: median {:.1} ms, longest {:.1} ms.\nGoals: ready within 200 ms, 0.1 % of a core, 25 MiB, 20 ms.\n",
        spans.len(),
        median(&spans),
        spans.iter().copied().fold(0.0, f64::max)
    ));
    Ok(text)
}

fn row(lab: &Lab, args: &[&str]) -> Result<String> {
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let tracer = Tracer::start(lab, args)?;
        starts.push(tracer.ready_after.as_secs_f64() * 1e3);
        let finished = end(tracer)?;
        // Being ready before there are names would be no gain.
        let ready = finished.of_type("ready").next().context("no ready line")?;
        ensure!(
            ready["docker"].is_string(),
            "ready without the engine: {ready}"
        );
    }
    let tracer = Tracer::start(lab, args)?;
    thread::sleep(SETTLED);
    let pids = family(tracer.pid())?;
    let before = cpu_of(&pids)?;
    thread::sleep(IDLE);
    let cpu = (cpu_of(&pids)? - before) / IDLE.as_secs_f64() * 100.0;
    let quiet = memory_of(&pids, "VmRSS")?;
    // Nothing of the lab's sends, but other namespaces and the kernel itself do.
    let drops = match end(tracer)?.ledger() {
        Ok(ledger) => ledger["observed"].to_string(),
        Err(_) => "–".to_owned(),
    };
    let tracer = Tracer::start(lab, args)?;
    let rule = "iptables -I DOCKER-USER -p udp --dport 5000 -j DROP";
    ensure!(lab.shell(&Place::Host, rule)?.success(), "{rule}");
    traffic::flood(
        lab.outside(),
        traffic::Flood {
            to: format!("{}:10004", dockernet_tests::HOST_IP).parse()?,
            count: STORM,
            threads: 2,
            size: 22,
            limit: Duration::from_secs(60),
        },
    )?;
    let mend = "iptables -D DOCKER-USER -p udp --dport 5000 -j DROP";
    ensure!(lab.shell(&Place::Host, mend)?.success(), "{mend}");
    thread::sleep(Duration::from_secs(1));
    let pids = family(tracer.pid())?;
    let stormed = memory_of(&pids, "VmRSS")?;
    let most = memory_of(&pids, "VmHWM")?;
    end(tracer)?;
    Ok(format!(
        "| `{}` | {:.0} ({:.0}) | {cpu:.2} % | {drops} | {quiet:.1} | {stormed:.1} | {most:.1} |\n",
        args.join(" "),
        median(&starts),
        starts.iter().copied().fold(0.0, f64::max)
    ))
}

fn end(tracer: Tracer) -> Result<Finished> {
    tracer.signal(nix::sys::signal::Signal::SIGINT)?;
    tracer.wait(Duration::from_secs(20))
}

/// MiB of all of them.
fn memory_of(pids: &[u32], field: &str) -> Result<f64> {
    pids.iter().map(|pid| memory(*pid, field)).sum()
}

/// Seconds of CPU that the threads of some processes have used, to the nanosecond (sched-stats(4), `CONFIG_SCHED_INFO`). Those that
/// ended are not among them.
fn cpu_of(pids: &[u32]) -> Result<f64> {
    pids.iter().map(|pid| cpu_seconds(*pid)).sum()
}

fn cpu_seconds(pid: u32) -> Result<f64> {
    let mut sum = 0.0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let file = task?.path().join("schedstat");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let nanoseconds: f64 = match text.split(' ').next() {
            Some(word) if !word.is_empty() => word.parse().context("schedstat")?,
            // Its thread has just ended.
            _ => 0.0,
        };
        sum += nanoseconds / 1e9;
    }
    Ok(sum)
}

/// Milliseconds from each new device's link event until it is watched.
fn attach(lab: &Lab) -> Result<Vec<f64>> {
    let tracer = Tracer::start(lab, &["--nat", "-v"])?;
    for number in 0..NETWORKS {
        let name = format!("late{number}");
        lab.docker(["network", "create", &name])?;
        lab.run(&Run::new(&name, "sleep 60").network(&name))?;
    }
    thread::sleep(Duration::from_millis(500));
    let finished = tracer.stop()?;
    for number in 0..NETWORKS {
        let name = format!("late{number}");
        lab.docker(["rm", "-f", &name])?;
        lab.docker(["network", "rm", &name])?;
    }
    let spans = finished.watched_after_ms();
    ensure!(
        spans.len() >= NETWORKS,
        "no devices came: {}",
        finished.stderr
    );
    Ok(spans)
}
