//! Failures that drop nothing, as lines: how often, how many, for whom, and what they leave alone.

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use dockernet_tests::{
    Cmd, Finished, INTERNET_IP, Lab, LabOptions, Place, Run, Tracer, can_run, engines, tool_path,
    traffic::Probe,
};

const CAUSE: &str = "container-no-default-route";

/// A container on a network of its own, whose default route is gone.
fn broken_lab() -> Result<Lab> {
    let engine = engines()?.pop().context("no engine")?;
    let lab = Lab::start(&engine, &LabOptions::default())?;
    lab.docker(["network", "create", "shop"])?;
    lab.run(&Run::new("till", "sleep 1000").network("shop"))?;
    lab.run(&Run::new("bystander", "sleep 1000").network("shop"))?;
    let output = lab.shell(&till(), "ip route del default")?;
    ensure!(output.success(), "{output:?}");
    Ok(lab)
}

fn till() -> Place {
    Place::Container("till".into())
}

/// Asks the outside `times` times, `pause` apart: each time the kernel counts one packet without a route.
fn ask(lab: &Lab, times: u32, pause: Duration) -> Result<()> {
    let from = lab.netns(&till())?;
    let to: SocketAddr = format!("{INTERNET_IP}:80").parse()?;
    for _ in 0..times {
        let outcome = Probe::tcp(to).send(&from)?;
        ensure!(outcome.fits("unreachable"), "{outcome}");
        thread::sleep(pause);
    }
    Ok(())
}

/// `IpOutNoRoutes` in the container.
fn counted(lab: &Lab) -> Result<u64> {
    let text = lab.shell(&till(), "cat /proc/self/net/snmp")?.stdout;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Ip: "));
    let (names, values) = (lines.next(), lines.next());
    names
        .zip(values)
        .and_then(|(names, values)| {
            let place = names.split(' ').position(|name| name == "OutNoRoutes")?;
            values.split(' ').nth(place)?.parse().ok()
        })
        .with_context(|| format!("no OutNoRoutes in {text}"))
}

fn findings(finished: &Finished) -> Vec<(&str, u64)> {
    finished
        .of_type("finding")
        .map(|line| {
            (
                line["cause"]["id"].as_str().unwrap_or_default(),
                line["count"].as_u64().unwrap_or_default(),
            )
        })
        .collect()
}

#[test]
fn every_event_is_told_of_in_few_lines_and_none_is_in_the_ledger() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let lab = broken_lab()?;
    let before = counted(&lab)?;
    let mut tracer = Tracer::start(&lab, &[])?;
    // The first reading of the counters is what later ones are compared with.
    thread::sleep(Duration::from_millis(1500));
    ask(&lab, 3, Duration::ZERO)?;
    let first = tracer
        .wait_for(Duration::from_secs(5), |line| line["type"] == "finding")
        .context("no finding while it runs")?;
    ask(&lab, 8, Duration::from_millis(500))?;
    let finished = tracer.stop()?;
    let told = findings(&finished);
    ensure!(
        told.len() <= 2 && told.iter().all(|(id, _)| *id == CAUSE),
        "{told:?}"
    );
    let sum: u64 = told.iter().map(|(_, count)| count).sum();
    ensure!(sum == counted(&lab)? - before, "{told:?}");
    let null = [
        "packet", "flow", "reason", "location", "hook", "stack", "nat", "device", "rule", "noise",
    ];
    for key in null {
        ensure!(
            first.get(key).is_some_and(serde_json::Value::is_null),
            "{key} in {first}"
        );
    }
    // The keys are those of a drop.
    for key in [
        "time",
        "netns",
        "source",
        "destination",
        "published",
        "cause",
        "expected",
    ] {
        ensure!(first.get(key).is_some(), "no {key} in {first}");
    }
    ensure!(finished.count("shown")? == 0, "{:?}", finished.ledger()?);
    Ok(())
}

/// More than are read at each look, and the one that suffers sends nothing through its cable.
#[test]
fn an_idle_container_among_many_has_its_turn() -> Result<()> {
    const IDLE: usize = 40;
    if !can_run()? {
        return Ok(());
    }
    let lab = broken_lab()?;
    for number in 0..IDLE {
        lab.run(&Run::new(&format!("idle{number}"), "sleep 1000"))?;
    }
    let before = counted(&lab)?;
    let mut tracer = Tracer::start(&lab, &[])?;
    thread::sleep(Duration::from_millis(1500));
    ask(&lab, 3, Duration::ZERO)?;
    tracer
        .wait_for(Duration::from_secs(60), |line| line["type"] == "finding")
        .context("no finding within a minute")?;
    ask(&lab, 2, Duration::ZERO)?;
    // At the end all are read.
    let finished = tracer.stop()?;
    let told = findings(&finished);
    let sum: u64 = told.iter().map(|(_, count)| count).sum();
    ensure!(
        sum == counted(&lab)? - before && told.iter().all(|(id, _)| *id == CAUSE),
        "{told:?}"
    );
    Ok(())
}

#[test]
fn filters_and_declared_denials_hold_for_findings() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let lab = broken_lab()?;
    let runs: [(&[&str], bool); 8] = [
        (&["--container", "till"], true),
        (&["--container", "bystander"], false),
        (&["--network", "shop"], true),
        (&["--network", "bridge"], false),
        (&["--cause", CAUSE], true),
        (&["--cause", "no-listener"], false),
        (&["--ignore", "cause=container-*,container=till"], false),
        (&["--scope", "all", "--ignore", "container=bystander"], true),
    ];
    let tracers = runs
        .iter()
        .map(|(args, _)| Tracer::start(&lab, args))
        .collect::<Result<Vec<_>>>()?;
    thread::sleep(Duration::from_millis(1500));
    ask(&lab, 2, Duration::ZERO)?;
    for ((args, wanted), tracer) in runs.iter().zip(tracers) {
        let finished = tracer.stop()?;
        let told = findings(&finished);
        ensure!(
            told.iter().map(|(_, count)| count).sum::<u64>() == if *wanted { 2 } else { 0 },
            "{args:?}: {told:?}"
        );
    }
    Ok(())
}

#[test]
fn findings_are_lines_for_count_and_no_drops_for_expect_no_drops() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let lab = broken_lab()?;
    let counting = Tracer::start(&lab, &["--count", "1"])?;
    let expecting = Tracer::start(&lab, &["--expect-no-drops"])?;
    let text = Cmd::new(tool_path()?)
        .arg("-H")
        .arg(lab.docker_host())
        .args(["--duration", "4s"])
        .env("LC_ALL", "C.UTF-8")
        .in_netns(lab.host().path());
    let text = thread::spawn(move || text.output());
    thread::sleep(Duration::from_millis(1500));
    // One event: two might fall on both sides of a reading.
    ask(&lab, 1, Duration::ZERO)?;
    let finished = counting.wait(Duration::from_secs(8))?;
    ensure!(finished.status == Some(0), "{finished:?}");
    ensure!(findings(&finished) == [(CAUSE, 1)], "{finished:?}");
    // Nothing was dropped: status 0, which `stop` demands.
    ensure!(findings(&expecting.stop()?) == [(CAUSE, 1)]);
    let text = text
        .join()
        .map_err(|_| anyhow::anyhow!("the thread panicked"))??;
    let wanted = [
        &format!("✗ {CAUSE} (confirmed)"),
        "till → external",
        "IpOutNoRoutes rose by 1",
        "ip route add default via",
    ];
    for part in wanted {
        ensure!(text.stdout.contains(part), "no `{part}` in {text:?}");
    }
    ensure!(
        text.stderr.contains("1 finding without a dropped packet"),
        "{text:?}"
    );
    Ok(())
}
