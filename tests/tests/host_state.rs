//! What is read of the host for a verdict: nothing waits for it but the verdict, and it is of after the latest change.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, time::Duration};

use anyhow::{Context, Result, ensure};
use dockernet_tests::{
    Finished, HOST_IP, Lab, LabOptions, Place, Run, Tracer, can_run, engines, group, patient,
    traffic::Probe, wait_until,
};
use nix::sys::signal::Signal;
use serde_json::Value;

const PUBLISHED: &str = "198.51.100.10:10001";
/// Where rules drop.
const GUARDED: &str = "198.51.100.20:7001";
const GUARD: &str = "\
nft -f - <<END
table ip guard {
    chain one { drop; }
    chain two { drop; }
    chain forwarded {
        type filter hook forward priority -50;
        udp dport 7001 jump one
    }
}
END";
/// In one transaction.
const SWAPPED: &str = "\
nft -f - <<END
flush chain ip guard forwarded
add rule ip guard forwarded udp dport 7001 jump two
END";

#[test]
fn of_the_host() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let engine = engines()?.pop().context("no engine")?;
    let mut lab = Lab::start(&engine, &LabOptions::default())?;
    lab.run(&Run::new("one", "httpd -f -p 80").publish("10001:80"))?;
    lab.run(&Run::new("two", "sleep 1000"))?;
    group(
        &mut lab,
        &[
            ("a program that hangs holds up nothing else", hangs),
            ("a second signal ends the wait for it", impatient),
            ("a change is in the next verdict", changed),
            ("a rule that comes again is one that counts", again),
        ],
    )
}

fn container() -> Place {
    Place::Container("two".into())
}

/// A datagram that the rules drop.
fn lose(lab: &Lab) -> Result<()> {
    let to: SocketAddr = GUARDED.parse()?;
    let mut probe = Probe::udp(to);
    probe.timeout = Duration::from_millis(100);
    let outcome = probe.send(&lab.netns(&container())?)?;
    ensure!(outcome.fits("timeout"), "{outcome}");
    Ok(())
}

fn connect(lab: &Lab) -> Result<()> {
    let to: SocketAddr = PUBLISHED.parse()?;
    let outcome = Probe::tcp(to).send(lab.outside())?;
    ensure!(outcome.fits("ok"), "{outcome}");
    Ok(())
}

fn is_lost(line: &Value) -> bool {
    line["type"] == "drop" && line["packet"]["dst_port"] == 7001
}

fn is_nat(line: &Value) -> bool {
    line["type"] == "nat" && line["original"]["dst_port"] == 10001
}

/// The tool with a `nft` that never answers, which has seen a datagram lost and then a connection.
fn beside_a_hanging_nft(lab: &Lab) -> Result<Tracer> {
    lab.script(&Place::Host, GUARD)?;
    let folder = lab.folder().join("hangs");
    fs::create_dir_all(&folder)?;
    let nft = folder.join("nft");
    fs::write(&nft, "#!/bin/sh\nexec sleep 1000\n")?;
    fs::set_permissions(&nft, fs::Permissions::from_mode(0o755))?;
    let path = std::env::var("PATH").unwrap_or_default();
    let cmd = Tracer::command(lab)?
        .args(["--drops", "--nat"])
        .env("PATH", format!("{}:{path}", folder.display()))
        .in_netns(lab.host().path());
    let tracer = Tracer::spawn(&cmd)?;
    lose(lab)?;
    connect(lab)?;
    Ok(tracer)
}

fn lost(finished: &Finished) -> Result<&Value> {
    let lost = finished.lines.iter().find(|line| is_lost(line));
    lost.with_context(|| format!("{:#?}\n{}", finished.lines, finished.stderr))
}

fn hangs(lab: &mut Lab) -> Result<()> {
    let mut tracer = beside_a_hanging_nft(lab)?;
    let told = tracer.wait_for(patient(Duration::from_secs(20)), is_lost);
    let finished = tracer.stop()?;
    ensure!(told.is_some(), "{:#?}\n{}", finished.lines, finished.stderr);
    let place = |fits: fn(&Value) -> bool| finished.lines.iter().position(fits);
    let (nat, drop) = (place(is_nat), place(is_lost));
    ensure!(
        nat.is_some() && nat < drop,
        "the connection waited for the verdict: {:#?}",
        finished.lines
    );
    // No rule is named that was not read.
    let line = lost(&finished)?;
    ensure!(
        line["rule"].is_null() && line["cause"]["id"] == "unexplained",
        "{line:#}"
    );
    finished.check_balance()
}

fn impatient(lab: &mut Lab) -> Result<()> {
    let mut tracer = beside_a_hanging_nft(lab)?;
    // Where it has come to the hanging program the connection is told before the drop.
    let nat = tracer.wait_for(patient(Duration::from_secs(20)), is_nat);
    tracer.signal(Signal::SIGINT)?;
    tracer.signal(Signal::SIGTERM)?;
    let finished = tracer.stop()?;
    ensure!(nat.is_some(), "{:#?}\n{}", finished.lines, finished.stderr);
    let line = lost(&finished)?;
    let evidence = line["cause"]["evidence"].to_string();
    ensure!(evidence.contains("still being asked"), "{line:#}");
    finished.check_balance()
}

fn changed(lab: &mut Lab) -> Result<()> {
    lab.script(&Place::Host, GUARD)?;
    let tracer = Tracer::start(lab, &["--drops"])?;
    let chain = |nth: usize| -> Result<Value> {
        lose(lab)?;
        let line = wait_until("the drop's line", patient(Duration::from_secs(10)), || {
            tracer.lines().into_iter().filter(is_lost).nth(nth)
        })?;
        Ok(line["rule"]["chain"].clone())
    };
    let before = chain(0)?;
    lab.script(&Place::Host, SWAPPED)?;
    let after = chain(1)?;
    let finished = tracer.stop()?;
    ensure!(
        before == "one" && after == "two",
        "{before}, then {after}: {:#?}",
        finished.lines
    );
    finished.check_balance()
}

/// A rule is inserted, deleted and inserted again while the tool runs: what it drops first is told each time, beside a counter that
/// stood elsewhere in an earlier read.
fn again(lab: &mut Lab) -> Result<()> {
    const RULE: &str = "DOCKER-USER -p tcp --dport 80 -j DROP";
    let tracer = Tracer::start(lab, &["--drops"])?;
    let told = || {
        let lines = tracer.lines();
        lines.iter().filter(|line| line["type"] == "drop").count()
    };
    for round in 0..3_usize {
        let before = told();
        lab.script(&Place::Host, &format!("iptables -I {RULE}"))?;
        for _ in 0..=round {
            let mut probe = Probe::tcp(format!("{HOST_IP}:10001").parse()?);
            probe.timeout = Duration::from_millis(100);
            probe.send(lab.outside())?;
        }
        // The rule has to be there yet when the host is asked.
        wait_until("the drops' lines", patient(Duration::from_secs(10)), || {
            (told() > before + round).then_some(())
        })?;
        lab.script(&Place::Host, &format!("iptables -D {RULE}"))?;
        // A verdict is remembered for a second.
        std::thread::sleep(Duration::from_millis(1500));
    }
    let finished = tracer.stop()?;
    let told: Vec<&Value> = finished.drops().map(|line| &line["cause"]["id"]).collect();
    ensure!(
        told.len() >= 3 && told.iter().all(|id| *id == "docker-user-drop"),
        "{told:?}: {:#?}",
        finished.lines
    );
    finished.check_balance()
}
