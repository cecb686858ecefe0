//! What `--nat` costs: ns per run of its program by the kernel's own statistics, and UDP packets per second with and without.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use dockernet_tests::{
    Cmd, HOST_IP, Lab, LabOptions, Netns, Place, Run, Tracer, engines,
    foreign::{Foreign, program_id, time_programs},
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use serde_json::Value;

use crate::section::{machine, median};

/// Pairs of runs, one with and one without the tool.
const PAIRS: usize = 5;
/// Packets of one run.
const PACKETS: u32 = 100_000;
const PAYLOAD: usize = 64;

pub(crate) fn run() -> Result<String> {
    let machine = machine();
    let engines = engines()?;
    let engine = engines
        .iter()
        .max_by_key(|engine| engine.major())
        .context("no Docker engine")?;
    let lab = Lab::start(engine, &LabOptions::default())?;
    lab.run(&Run::new("web", "sleep 3600").publish("10053:53/udp"))?;
    let web = lab.netns(&Place::Container("web".into()))?;
    let server = Server::start(&web)?;
    let target: SocketAddr = format!("{HOST_IP}:10053").parse()?;
    let mut text = format!(
        "{machine}\nUDP, {PAYLOAD} bytes, from outside to a published port (DNAT, one pinned sender; uplink, bridge and veth are watched): {PAIRS} pairs of\n{PACKETS} packets. Cost per run by the kernel's BPF statistics; the floor is a program that adds one to a counter.\n\n| flow | packets/s with / without | ns per run | over the floor |\n|---|---|---|---|\n"
    );
    for (name, is_answered) in [("established", true), ("never answered", false)] {
        let socket = lab.outside().within(|| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(target)?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            Ok(socket)
        })?;
        if is_answered {
            establish(&socket)?;
        }
        let mut ratios = Vec::new();
        for pair in 0..PAIRS {
            let with = || -> Result<f64> {
                let tracer = Tracer::start(&lab, &["--nat"])?;
                let rate = send(&socket)?;
                tracer.stop()?;
                Ok(rate)
            };
            // Turns, so that neither always comes first.
            let (with, without) = if pair % 2 == 0 {
                let with = with()?;
                (with, send(&socket)?)
            } else {
                let without = send(&socket)?;
                (with()?, without)
            };
            ratios.push(with / without);
        }
        let (ours, floor) = cost(&lab, &socket)?;
        text.push_str(&format!(
            "| {name} | {:.3} (from {:.3} to {:.3}) | {ours:.0} | {:.0} |\n",
            median(&ratios),
            ratios.iter().copied().fold(f64::INFINITY, f64::min),
            ratios.iter().copied().fold(0.0, f64::max),
            ours - floor
        ));
    }
    drop(server);
    text.push_str("\nGoals: at least .93 with `--nat` on, established flows at most 60 ns per run over the floor.\n");
    Ok(text)
}

/// Exchanges datagrams until conntrack is assured of the flow (answers for two seconds, nf_conntrack_proto_udp.c).
fn establish(socket: &UdpSocket) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(2600) {
        socket.send(b"echo")?;
        socket.recv(&mut [0; 16]).context("no echo")?;
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Packets per second from one pinned core.
fn send(socket: &UdpSocket) -> Result<f64> {
    thread::scope(|scope| {
        let sender = scope.spawn(|| -> Result<f64> {
            let mut cpus = CpuSet::new();
            cpus.set(0)?;
            sched_setaffinity(Pid::from_raw(0), &cpus)?;
            let payload = [b'x'; PAYLOAD];
            let started = Instant::now();
            for _ in 0..PACKETS {
                // A full queue is the network's way to slow us down.
                socket.send(&payload).ok();
            }
            Ok(f64::from(PACKETS) / started.elapsed().as_secs_f64())
        });
        sender
            .join()
            .map_err(|_| anyhow::anyhow!("the sender panicked"))?
    })
}

/// Nanoseconds per run of the tool's program, and of one that does nothing, over the same packets.
fn cost(lab: &Lab, socket: &UdpSocket) -> Result<(f64, f64)> {
    let _timed = time_programs()?;
    let floor = Foreign::tcx(lab, "docker0")?;
    let tracer = Tracer::start(lab, &["--nat"])?;
    let ours = program_of(tracer.pid())?;
    let before = [statistics(ours)?, statistics(floor.id()?)?];
    send(socket)?;
    let after = [statistics(ours)?, statistics(floor.id()?)?];
    tracer.stop()?;
    let per_run = |at: usize| {
        let (time, count) = (after[at].0 - before[at].0, after[at].1 - before[at].1);
        time / count.max(1.0)
    };
    Ok((per_run(0), per_run(1)))
}

/// The tc program that a process holds.
fn program_of(pid: u32) -> Result<u32> {
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let text = std::fs::read_to_string(entry?.path()).unwrap_or_default();
        // BPF_PROG_TYPE_SCHED_CLS; links tell their program's id too, so either will do.
        let is_ours = text.lines().any(|line| line == "prog_type:\t3");
        if let Some(id) = program_id(&text).filter(|_| is_ours) {
            return Ok(id);
        }
    }
    anyhow::bail!("process {pid} holds no tc program")
}

/// Nanoseconds and runs of a program.
fn statistics(id: u32) -> Result<(f64, f64)> {
    let text = Cmd::new("bpftool")
        .args(["-j", "prog", "show", "id", &id.to_string()])
        .run()?;
    let value: Value = serde_json::from_str(&text)?;
    // What has not run yet has none.
    let number = |key: &str| value[key].as_f64().unwrap_or(0.0);
    Ok((number("run_time_ns"), number("run_cnt")))
}

/// Answers datagrams that begin with `e`, and takes all others.
struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    fn start(netns: &Netns) -> Result<Self> {
        let socket = netns.within(|| Ok(UdpSocket::bind("0.0.0.0:53")?))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 128];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer)
                    && buffer[0] == b'e'
                {
                    socket.send_to(&buffer[..length], from).ok();
                }
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
