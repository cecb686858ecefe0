//! Exact counts: an nft rule's counter is the ground truth for a storm of more than a million drops.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use dockernet_tests::{
    CountedDrop, Engine, Finished, HOST_IP, Lab, LabOptions, Run, Tracer, can_run, group, progress,
    traffic::{Flood, flood},
};
use nix::sys::signal::Signal;

const PACKETS: u64 = 1_200_000;
const PUBLISHED: &str = "0.0.0.0:10004->5000/udp";

#[test]
fn every_packet_of_a_storm_is_counted() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let mut lab = Lab::start(&Engine::newest()?, &LabOptions::default())?;
    lab.run(&Run::new("target", "sleep 1000").publish("10004:5000/udp"))?;
    group(
        &mut lab,
        &[("plain", plain), ("reader stopped meanwhile", starved)],
    )
}

fn plain(lab: &mut Lab) -> Result<()> {
    let rule = CountedDrop::make(lab, "forward", 5000)?;
    let tracer = Tracer::start(lab, &[])?;
    storm(lab)?;
    judge(lab, rule, &tracer.stop()?)
}

/// The tool does not run for most of the storm: detail may be lost, no count.
fn starved(lab: &mut Lab) -> Result<()> {
    let rule = CountedDrop::make(lab, "forward", 5000)?;
    let tracer = Tracer::start(lab, &[])?;
    tracer.signal(Signal::SIGSTOP)?;
    let sent = storm(lab);
    tracer.signal(Signal::SIGCONT)?;
    sent?;
    thread::sleep(Duration::from_secs(1));
    judge(lab, rule, &tracer.stop()?)
}

fn storm(lab: &Lab) -> Result<u64> {
    flood(
        lab.outside(),
        Flood {
            to: format!("{HOST_IP}:10004").parse()?,
            count: PACKETS,
            threads: 2,
            size: 22,
            limit: Duration::from_secs(90),
        },
    )
}

/// The rule's packets are told by drop lines, or lost (counted without detail), or missed (the kernel did not run our
/// program): nothing else. `lost` and `missed` are totals, so drops of other origin may be among them; there are no
/// more of those than the ledger shows.
fn judge(lab: &Lab, rule: CountedDrop, finished: &Finished) -> Result<()> {
    let truth = rule.packets(lab)?;
    let ledger = finished.ledger()?;
    ensure!(
        truth >= 1_000_000,
        "the rule dropped {truth} packets only; the storm was none"
    );
    let (mut told, mut others, mut lines) = (0, 0, 0_usize);
    for line in finished.drops() {
        let count = line["count"].as_u64().unwrap_or(0);
        if line["published"] == PUBLISHED && line["reason"] == "NETFILTER_DROP" {
            told += count;
            lines += 1;
        } else {
            others += count;
        }
    }
    for part in ["out_of_scope", "benign", "filtered", "expected"] {
        others += finished.count(part)?;
    }
    let unknown = finished.count("lost")? + finished.missed()?;
    progress(&format!(
        "nft {truth} = told {told} in {lines} lines + lost or missed {unknown}; others {others}"
    ));
    ensure!(
        told <= truth,
        "the tool tells {told} drops of a rule that dropped {truth}: {ledger}"
    );
    ensure!(
        truth <= told + unknown,
        "the rule dropped {truth} packets, the tool accounts for {told} + {unknown}: {ledger}"
    );
    ensure!(
        told + unknown - truth <= others,
        "the rule dropped {truth} packets, the tool claims {told} + {unknown}, and only {others} \
         others were dropped: {ledger}"
    );
    ensure!(
        lines <= 10_000,
        "{lines} drop lines for one storm: nobody reads that"
    );
    for line in finished.drops() {
        if line["published"] == PUBLISHED {
            ensure!(
                line["destination"]["container"]["name"] == "target",
                "a line of the storm does not name the container: {line}"
            );
        }
    }
    Ok(())
}
