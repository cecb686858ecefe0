//! A storm of drops, with nobody looking, with the tool, and with what people use otherwise.

use std::{
    fs::File,
    net::UdpSocket,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use dockernet_tests::{
    CountedDrop, Engine, Finished, Lab, LabOptions, Run, Tracer,
    foreign::{EmptyTracepoint, time_programs},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    programs::{self, Spent},
    section::{Pairs, machine},
    wire::pinned,
};

const PAIRS: usize = 11;
/// The same for peers.
const PEER_PAIRS: usize = 5;
/// How long each storm lasts.
const STORM: Duration = Duration::from_secs(1);
/// Peers say nothing when they are ready.
const WARM_UP: Duration = Duration::from_millis(2500);
/// With Ethernet, IP and UDP headers, 64 bytes.
const PAYLOAD: usize = 22;

/// What looks on: its name, and how it is started.
type Peer = (&'static str, &'static str, &'static [&'static str]);

const PEERS: &[Peer] = &[
    (
        "`perf stat -e skb:kfree_skb`",
        "perf",
        &["stat", "-a", "-e", "skb:kfree_skb"],
    ),
    (
        "`bpftrace`, counts by reason and location",
        "bpftrace",
        &[
            "-e",
            "tracepoint:skb:kfree_skb { @[args->reason, args->location] = count(); }",
        ],
    ),
    (
        "`perf record -e skb:kfree_skb`",
        "perf",
        &["record", "-a", "-e", "skb:kfree_skb", "-o", "perf.data"],
    ),
    (
        "`bpftrace`, a line per drop",
        "bpftrace",
        &[
            "-e",
            "tracepoint:skb:kfree_skb { printf(\"%d %llx\\n\", args->reason, args->location); }",
        ],
    ),
    (
        "`perf trace -e skb:kfree_skb`",
        "perf",
        &["trace", "-a", "--no-syscalls", "-e", "skb:kfree_skb"],
    ),
];

/// After its start the service has the kernel time all programs for a second, as it does once a minute from then on.
const SETTLED: Duration = Duration::from_millis(1500);

/// Ends a run: both views write a last ledger, only one of them drop lines to compare it with.
fn ended(tracer: Tracer) -> Result<Finished> {
    tracer.signal(Signal::SIGTERM)?;
    let finished = tracer.wait(Duration::from_secs(10))?;
    ensure!(
        finished.status == Some(0),
        "it ended with {:?}: {}",
        finished.status,
        finished.stderr
    );
    Ok(finished)
}

pub(crate) fn run() -> Result<String> {
    let machine = machine();
    let lab = Lab::start(&Engine::newest()?, &LabOptions::default())?;
    lab.run(&Run::new("web", "sleep 3600"))?;
    let storm = Storm::prepare(&lab)?;
    let base = storm.rage()?;
    let mut rows = vec![(
        "an empty program (the floor)".to_owned(),
        Pairs::measure(
            PAIRS,
            || {
                let _looks = EmptyTracepoint::attach("kfree_skb")?;
                storm.rage()
            },
            || storm.rage(),
        )?
        .to_string(),
    )];
    let mut exact = String::new();
    let file = lab.folder().join("storm.rec");
    let file = file.to_string_lossy();
    for (name, args) in [
        ("`dockernet-trace --drops`", &["--drops"] as &[&str]),
        (
            "`dockernet-trace --drops --filter 'tcp and port 1'`: refuses all of them",
            &["--drops", "--filter", "tcp and port 1"],
        ),
        ("`dockernet-trace monitor`", &["monitor", "--listen", "off"]),
        (
            "`dockernet-trace record FILE`: samples with their bytes, and every packet in a count",
            &["record", &file, "--drops"],
        ),
    ] {
        let ratios = Pairs::measure(
            PAIRS,
            || {
                // The last run's: `record` writes over nobody's file.
                let _gone = std::fs::remove_file(&*file);
                let tracer = Tracer::start(&lab, args)?;
                thread::sleep(SETTLED);
                let before = storm.rule.packets(&lab)?;
                let rate = storm.rage()?;
                let dropped = storm.rule.packets(&lab)? - before;
                let finished = ended(tracer)?;
                let missed = finished.ledger()?["missed"].as_u64().unwrap_or(0);
                let seen = finished.count("observed")? + missed;
                ensure!(
                    seen >= dropped,
                    "the rule dropped {dropped}, and {seen} were observed or missed"
                );
                Ok(rate)
            },
            || storm.rage(),
        )?;
        rows.push((name.to_owned(), ratios.to_string()));
        exact = "In each of the tool's runs its ledger held every packet that the rule's own counter had. The storms are outside the\none second a minute in which the service has the kernel time its programs.".to_owned();
    }
    for (name, program, args) in PEERS {
        let looked = Pairs::measure(
            PEER_PAIRS,
            || {
                let peer = Peering::start(&lab, program, args)?;
                let rate = storm.rage();
                peer.stop()?;
                rate
            },
            || storm.rage(),
        );
        let cell = match looked {
            Ok(ratios) => ratios.to_string(),
            Err(error) => format!("did not run: {error:#}"),
        };
        rows.push(((*name).to_owned(), cell));
    }
    let (ours, floor) = cost(&lab, &storm)?;
    let rows: String = rows
        .iter()
        .map(|(name, ratio)| format!("| {name} | {ratio} |\n"))
        .collect();
    Ok(format!(
        "{machine}\n64-byte UDP packets to a container, dropped by an nft rule, as fast as one pinned core sends them: {base:.0} drops/s with nobody\nlooking. {PAIRS} pairs of storms of {} s each, {PEER_PAIRS} for other tools.\n\n| looking on | drops/s with / without |\n|---|---|\n{rows}\n{exact}\nA run of its program takes {ours:.0} ns by the kernel's BPF statistics, {:.0} over an empty one's.\nGoal: at least .90 with everything named.\n",
        STORM.as_secs(),
        ours - floor
    ))
}

/// Nanoseconds per run of the tool's program, and of one that does nothing, in the same storm.
fn cost(lab: &Lab, storm: &Storm) -> Result<(f64, f64)> {
    let _timed = time_programs()?;
    let empty = EmptyTracepoint::attach("kfree_skb")?;
    let tracer = Tracer::start(lab, &["--drops"])?;
    let programs = [programs::of_process(tracer.pid())?, vec![empty.id()?]];
    let look = || -> Result<Vec<Spent>> {
        let all = programs.iter();
        all.map(|each| programs::spent(each)).collect()
    };
    let before = look()?;
    storm.rage()?;
    let after = look()?;
    ended(tracer)?;
    let spent: Vec<f64> = before
        .into_iter()
        .zip(after)
        .map(|(before, after)| Spent::per_run(before, after))
        .collect();
    match spent[..] {
        [ours, floor] if ours > 0.0 => Ok((ours, floor)),
        _ => bail!("the kernel's statistics say nothing of the programs"),
    }
}

/// A rule that drops, and a socket whose packets it drops.
struct Storm {
    rule: CountedDrop,
    socket: UdpSocket,
}

impl Storm {
    fn prepare(lab: &Lab) -> Result<Self> {
        let rule = CountedDrop::make(lab, "output", 5000)?;
        let target = (lab.container_ip("web", None)?, 5000);
        let socket = lab.host().within(|| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(target)?;
            Ok(socket)
        })?;
        Ok(Self { rule, socket })
    }

    /// Drops per second.
    fn rage(&self) -> Result<f64> {
        pinned(|| {
            let payload = [b'x'; PAYLOAD];
            let started = Instant::now();
            let mut sent = 0.0;
            while started.elapsed() < STORM {
                for _ in 0..1000 {
                    // The rule's refusal comes back as an error.
                    self.socket.send(&payload).ok();
                }
                sent += 1000.0;
            }
            Ok(sent / started.elapsed().as_secs_f64())
        })
    }
}

/// Another tool that looks on, its output in a file.
struct Peering(Child);

impl Peering {
    fn start(lab: &Lab, program: &str, args: &[&str]) -> Result<Self> {
        let output = File::create(lab.folder().join("peer.out"))?;
        let mut child = Command::new(program)
            .args(args)
            .current_dir(lab.folder())
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output)
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        thread::sleep(WARM_UP);
        if let Some(status) = child.try_wait()? {
            let said = std::fs::read_to_string(lab.folder().join("peer.out")).unwrap_or_default();
            anyhow::bail!("{program} ended with {status}: {}", said.trim());
        }
        Ok(Self(child))
    }

    fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.0.id().try_into()?), Signal::SIGINT)?;
        self.0.wait()?;
        Ok(())
    }
}
