//! What `--nat` costs: ns per run of its program by the kernel's own statistics, and UDP packets per second with and without.

use anyhow::{Result, ensure};
use dockernet_tests::{
    Tracer,
    foreign::{Foreign, time_programs},
};

use crate::{
    programs::{self, Spent},
    section::{Pairs, machine},
    wire::{PAYLOAD, Wire},
};

/// Pairs of runs, one with and one without the tool.
const PAIRS: usize = 9;
/// Packets of one run.
const PACKETS: u32 = 100_000;

pub(crate) fn run() -> Result<String> {
    let machine = machine();
    let mut wire = Wire::bring_up()?;
    let mut text = format!(
        "{machine}\nUDP, {PAYLOAD} bytes, from outside to a published port (DNAT, one pinned sender; uplink, bridge and veth are watched): {PAIRS} pairs of\n{PACKETS} packets. Cost per run by the kernel's BPF statistics; the floor is a program that adds one to a counter.\n\n| flow | packets/s with / without | ns per run | over the floor |\n|---|---|---|---|\n"
    );
    for (name, is_answered) in [("established", true), ("never answered", false)] {
        wire.begin_anew()?;
        if is_answered {
            wire.establish()?;
        }
        let ratios = Pairs::measure(
            PAIRS,
            || {
                let tracer = Tracer::start(&wire.lab, &["--nat"])?;
                let rate = wire.send(PACKETS)?;
                tracer.stop()?;
                Ok(rate)
            },
            || wire.send(PACKETS),
        )?;
        let (ours, floor) = cost(&wire)?;
        text.push_str(&format!(
            "| {name} | {ratios} | {ours:.0} | {:.0} |\n",
            ours - floor
        ));
    }
    text.push_str("\nGoals: at least .93 with `--nat` on, established flows at most 60 ns per run over the floor.\n");
    Ok(text)
}

/// Nanoseconds per run of the tool's program, and of one that does nothing, over the same packets.
fn cost(wire: &Wire) -> Result<(f64, f64)> {
    let _timed = time_programs()?;
    let foreign = Foreign::tcx(&wire.lab, "docker0")?;
    let floor = [foreign.id()?];
    let tracer = Tracer::start(&wire.lab, &["--nat"])?;
    let ours = programs::of_process(tracer.pid())?;
    ensure!(!ours.is_empty(), "the tool holds no program");
    let before = [programs::spent(&ours)?, programs::spent(&floor)?];
    wire.send(PACKETS)?;
    let after = [programs::spent(&ours)?, programs::spent(&floor)?];
    tracer.stop()?;
    Ok((
        Spent::per_run(before[0], after[0]),
        Spent::per_run(before[1], after[1]),
    ))
}
