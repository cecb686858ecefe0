//! What `path` costs: its programs see every packet of the machine at every device.

use anyhow::{Result, ensure};
use dockernet_tests::{Run, Tracer, foreign::time_programs};

use crate::{
    programs::{self, Spent},
    section::{Pairs, machine},
    wire::{PAYLOAD, Wire},
};

const PAIRS: usize = 5;
const PACKETS: u32 = 50_000;

pub(crate) fn run() -> Result<String> {
    let machine = machine();
    let wire = Wire::bring_up()?;
    wire.lab.run(&Run::new("other", "sleep 3600"))?;
    wire.establish()?;
    let mut text = format!(
        "{machine}\nUDP, {PAYLOAD} bytes, an established flow from outside to a published port, seen at four devices: {PAIRS} pairs of {PACKETS} packets.\nNanoseconds are those of both programs, by the kernel's BPF statistics.\n\n| followed | packets/s with / without | ns per device |\n|---|---|---|\n"
    );
    for (name, target) in [("another container", "other"), ("this flow", "web")] {
        let ratios = Pairs::measure(
            PAIRS,
            || {
                let tracer = Tracer::start(&wire.lab, &["path", "--to", target])?;
                let rate = wire.send(PACKETS)?;
                end(tracer)?;
                Ok(rate)
            },
            || wire.send(PACKETS),
        )?;
        let _timed = time_programs()?;
        let tracer = Tracer::start(&wire.lab, &["path", "--to", target])?;
        let ours = programs::of_process(tracer.pid())?;
        ensure!(!ours.is_empty(), "the tool holds no program");
        let before = programs::spent(&ours)?;
        wire.send(PACKETS)?;
        let after = programs::spent(&ours)?;
        end(tracer)?;
        text.push_str(&format!(
            "| {name} | {ratios} | {:.0} |\n",
            Spent::per_run(before, after)
        ));
    }
    Ok(text)
}

/// Its status says how the flow went, which is of no interest here.
fn end(tracer: Tracer) -> Result<()> {
    tracer.signal(nix::sys::signal::Signal::SIGINT)?;
    tracer.wait(std::time::Duration::from_secs(60))?;
    Ok(())
}
