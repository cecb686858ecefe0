//! `--trace-rules`: of rules that nothing else tells apart the one that drops is named, and the ruleset is left as it was.

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use dockernet_tests::{
    Cmd, Engine, Lab, LabOptions, Place, Run, Tracer, can_run, engines, group, kernel_since,
    patient, tool_path, traffic::Probe, wait_until,
};
use nix::sys::signal::Signal;
use serde_json::Value;

const TABLE: &str = "dockernet_trace";

/// Where the packets go. Nobody need listen there.
const GUARDED: &str = "198.51.100.20:7001";
/// Nobody sends a second packet there.
const ONCE: &str = "198.51.100.20:7005";
const REFUSED: &str = "198.51.100.20:7002";

const PUBLISHED: &str = "198.51.100.10:10001";

/// Each pair of chains drops the same packets: the first takes one, the second all others. What a `limit` does no
/// simulation can tell.
const RULES: &str = "\
set -e
nft -f - <<END
table ip guard {
    chain one { drop; }
    chain two { drop; }
    chain forwarded {
        type filter hook forward priority -50;
        tcp dport 7001 limit rate 1/day burst 1 packets jump one
        tcp dport 7001 jump two
        tcp dport 7003 limit rate 1/day burst 1 packets jump one
        tcp dport 7003 jump two
        udp dport 7005 drop
    }
}
table bridge guard {
    chain one { drop; }
    chain two { drop; }
    chain forwarded {
        type filter hook forward priority -50;
        tcp dport 7004 limit rate 1/day burst 1 packets jump one
        tcp dport 7004 jump two
    }
}
END
for chain in FIRST SECOND; do iptables-nft -N $chain; iptables-nft -A $chain -j DROP; done
iptables-nft -I DOCKER-USER -p tcp --dport 7002 -j SECOND
iptables-nft -I DOCKER-USER -p tcp --dport 7002 -m limit --limit 1/day --limit-burst 1 -j FIRST
";

#[test]
fn the_kernel_names_the_rule() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    for engine in engines()? {
        on(&engine).with_context(|| format!("engine {}", engine.name))?;
    }
    Ok(())
}

fn on(engine: &Engine) -> Result<()> {
    let mut lab = Lab::start(engine, &LabOptions::default())?;
    lab.run(&Run::new("one", "sleep 1000").publish("10001:7003"))?;
    lab.run(&Run::new("two", "sleep 1000"))?;
    shell(&lab, RULES)?;
    group(
        &mut lab,
        &[
            ("a rule of a table of one's own", native),
            ("a rule below DOCKER-USER", docker_user),
            ("a flow that NAT has changed", translated),
            ("a rule of the bridge family", bridged),
            ("SIGKILL leaves no table", sigkill),
            ("what is left of an older kernel's run is removed", leftover),
        ],
    )
}

fn shell(lab: &Lab, script: &str) -> Result<String> {
    lab.script(&Place::Host, script)
}

/// Without counters, which move.
fn ruleset(lab: &Lab) -> Result<String> {
    shell(lab, "nft -s -a list ruleset")
}

fn has_table(lab: &Lab) -> Result<bool> {
    Ok(shell(lab, "nft list tables")?.contains(TABLE))
}

fn await_table(lab: &Lab, wanted: bool) -> Result<()> {
    let what = format!("{TABLE} is there: {wanted}");
    wait_until(&what, Duration::from_secs(3), || {
        let is_there = has_table(lab).ok()?;
        (is_there == wanted).then_some(())
    })
}

fn container() -> Place {
    Place::Container("one".into())
}

/// A connection attempt, with SYNs at 0, 1 and 3 s; where the tool takes seconds for the first one's rules, with more.
fn knock(lab: &Lab, from: &Place, to: &str) -> Result<thread::JoinHandle<Result<()>>> {
    let from = lab.netns(from)?;
    let to: SocketAddr = to.parse()?;
    Ok(thread::spawn(move || {
        let mut probe = Probe::tcp(to);
        probe.timeout = patient(Duration::from_secs(4));
        probe.send(&from).map(drop)
    }))
}

/// Knocks while the tool runs; the traced line, after everything was checked that is to be so whatever the rule.
fn traced(lab: &Lab, from: &Place, to: &str) -> Result<Value> {
    let before = ruleset(lab)?;
    let mut tracer = Tracer::start(lab, &["--trace-rules"])?;
    ensure!(
        ruleset(lab)? == before,
        "rules changed before anything was dropped"
    );
    let knocking = knock(lab, from, to)?;
    let first = tracer.wait_for(Duration::from_secs(2), |line| line["type"] == "drop");
    let first = first.context("the first SYN's drop is not told")?;
    ensure!(
        first["rule"]["how"] != "traced",
        "nothing was traced yet: {first}"
    );
    // How long the table is there depends on when the next SYN comes: that it was the kernel's trace is in the line.
    let line = tracer.wait_for(Duration::from_secs(5), |line| {
        line["rule"]["how"] == "traced"
    });
    knocking
        .join()
        .map_err(|_| anyhow::anyhow!("the probe panicked"))??;
    let finished = tracer.stop()?;
    ensure!(!has_table(lab)?, "SIGINT left the table");
    let after = ruleset(lab)?;
    ensure!(
        after == before,
        "the ruleset was\n{before}\nand is\n{after}"
    );
    line.with_context(|| format!("no traced line: {:#?}\n{}", finished.lines, finished.stderr))
}

fn native(lab: &mut Lab) -> Result<()> {
    let line = traced(lab, &container(), GUARDED)?;
    let rule = &line["rule"];
    ensure!(
        rule["table"] == "ip guard"
            && rule["chain"] == "two"
            && rule["backend"] == "nft"
            && rule["owner"] == "user"
            && line["cause"]["confidence"] == "confirmed",
        "{line:#}"
    );
    Ok(())
}

fn docker_user(lab: &mut Lab) -> Result<()> {
    let line = traced(lab, &container(), REFUSED)?;
    let rule = &line["rule"];
    ensure!(
        rule["table"] == "ip filter"
            && rule["chain"] == "SECOND"
            && rule["backend"] == "iptables-nft"
            && line["cause"]["id"] == "docker-user-drop"
            && line["cause"]["confidence"] == "confirmed",
        "{line:#}"
    );
    Ok(())
}

/// The table sees it before DNAT, the rule after.
fn translated(lab: &mut Lab) -> Result<()> {
    let line = traced(lab, &Place::Outside, PUBLISHED)?;
    let rule = &line["rule"];
    ensure!(
        rule["table"] == "ip guard"
            && rule["chain"] == "two"
            && line["packet"]["dst_port"] == 7003
            && line["nat"]["original"]["dst_port"] == 10001,
        "{line:#}"
    );
    Ok(())
}

fn bridged(lab: &mut Lab) -> Result<()> {
    let to = format!("{}:7004", lab.container_ip("two", None)?);
    let line = traced(lab, &container(), &to)?;
    let rule = &line["rule"];
    ensure!(
        rule["table"] == "bridge guard"
            && rule["chain"] == "two"
            && line["cause"]["id"] == "bridge-filter-drop",
        "{line:#}"
    );
    Ok(())
}

/// A killed run leaves the ruleset as it was: the table goes with its owner, or where tables have none (before 5.12) it is
/// removed by whoever comes next.
fn sigkill(lab: &mut Lab) -> Result<()> {
    if kernel_since(5, 12)? {
        return killed(lab, |_| Ok(()));
    }
    killed(lab, |lab| {
        ensure!(has_table(lab)?, "nobody can have removed it");
        detach(lab).map(drop)
    })?;
    killed(lab, |lab| {
        ensure!(has_table(lab)?, "nobody can have removed it");
        let tracer = Tracer::start(lab, &["--trace-rules"])?;
        await_table(lab, false)?;
        tracer.stop().map(drop)
    })
}

fn killed(lab: &mut Lab, next: impl Fn(&Lab) -> Result<()>) -> Result<()> {
    let before = ruleset(lab)?;
    let tracer = Tracer::start(lab, &["--trace-rules"])?;
    // Without a second packet the table stays for as long as one is waited for.
    let mut probe = Probe::udp(ONCE.parse()?);
    probe.timeout = Duration::from_millis(100);
    probe.send(&lab.netns(&container())?)?;
    await_table(lab, true)?;
    // Before, no table has an owner.
    if kernel_since(5, 12)? {
        // Only its owner can write it.
        let theirs = lab.shell(&Place::Host, &format!("nft delete table inet {TABLE}"))?;
        ensure!(!theirs.success(), "the table has no owner: {theirs:?}");
    }
    tracer.signal(Signal::SIGKILL)?;
    let killed = tracer.wait(Duration::from_secs(3))?;
    ensure!(killed.status.is_none(), "{killed:?}");
    next(lab)?;
    await_table(lab, false)?;
    ensure!(ruleset(lab)? == before, "the ruleset changed");
    Ok(())
}

fn detach(lab: &Lab) -> Result<String> {
    Cmd::new(tool_path()?)
        .args(["detach", "--netns"])
        .arg(lab.host().path())
        .run()
}

fn leftover(lab: &mut Lab) -> Result<()> {
    let make = format!("nft add table inet {TABLE} && nft add table bridge {TABLE}");
    shell(lab, &make)?;
    let said = detach(lab)?;
    for family in ["inet", "bridge"] {
        let line = format!("nftables: removed the table {family} {TABLE}\n");
        ensure!(said.contains(&line), "{said}");
    }
    ensure!(!has_table(lab)?, "detach left a table");
    shell(lab, &make)?;
    let tracer = Tracer::start(lab, &["--trace-rules"])?;
    await_table(lab, false)?;
    tracer.stop().map(drop)
}
