//! Containers that come and go while the tool runs: each one's drop carries its name.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow, ensure};
use dockernet_tests::{Engine, INTERNET_IP, Lab, LabOptions, Place, Tracer, can_run};

const CONTAINERS: u64 = 50;
const WORKERS: usize = 4;
const FIRST_PORT: u64 = 9000;

/// Container N sends to port 9000 + N: the packet itself says whose it is, while addresses are used again and again.
#[test]
fn every_drop_of_a_short_lived_container_is_named() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let lab = Lab::start(&Engine::newest()?, &LabOptions::default())?;
    let rule = "iptables -I DOCKER-USER -p tcp --dport 9000:9999 -j DROP";
    ensure!(lab.shell(&Place::Host, rule)?.success(), "`{rule}` failed");
    let tracer = Tracer::start(&lab, &[])?;
    churn(&lab)?;
    thread::sleep(Duration::from_millis(500));
    let finished = tracer.stop()?;

    let mut named: BTreeMap<u64, u64> = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in finished.drops() {
        let Some(port) = line["packet"]["dst_port"].as_u64() else {
            continue;
        };
        let Some(number) = port.checked_sub(FIRST_PORT).filter(|n| *n < CONTAINERS) else {
            continue;
        };
        let source = &line["source"];
        if source["kind"] == "container"
            && source["container"]["name"] == format!("churn{number}")
            && line["cause"]["id"] == "docker-user-drop"
        {
            *named.entry(number).or_default() += line["count"].as_u64().unwrap_or(0);
        } else {
            wrong.push(format!(
                "port {port}: {} {} of {source}",
                line["cause"]["id"], line["reason"]
            ));
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} lines are named wrongly:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let missing: Vec<u64> = (0..CONTAINERS).filter(|n| !named.contains_key(n)).collect();
    ensure!(
        missing.is_empty(),
        "containers {missing:?} had a packet dropped that no line tells: {}",
        finished.ledger()?
    );
    Ok(())
}

fn churn(lab: &Lab) -> Result<()> {
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= CONTAINERS {
                            return Ok(());
                        }
                        one(lab, number)?;
                    }
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a worker panicked")))
        })
    })
}

/// Starts, has its first SYN dropped at once, and is gone.
fn one(lab: &Lab, number: u64) -> Result<()> {
    let name = format!("churn{number}");
    let port = FIRST_PORT + number;
    // A shell in front: signals that end a program by default do nothing to process 1.
    let script = format!("nc -w 1 {INTERNET_IP} {port}; true");
    let output = lab
        .docker_cmd(["run", "--name", &name, "busybox:lab", "sh", "-c", &script])
        .output()?;
    ensure!(
        output.success(),
        "container {name} did not run: {}",
        output.stderr
    );
    lab.docker(["rm", "-f", &name]).map(drop)
}
