//! The NAT program on devices: as they come and go, beside other people's programs, and what is left of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dockernet_tests::foreign::{self, Foreign};
use dockernet_tests::{
    Cmd, Engine, HOST_IP, Lab, LabOptions, Netns, Place, Run, Tracer, can_run, engines, group,
    schema, tool_path, wait_until,
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Goal of the design: link event to watched, milliseconds. Busy machines get more.
const SOON_MS: f64 = 250.0;

#[test]
fn devices() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let engine = engines()?.pop().context("no engine")?;
    on(&engine)
}

fn on(engine: &Engine) -> Result<()> {
    let mut lab = Lab::start(engine, &LabOptions::default())?;
    lab.run(
        &Run::new("web", "httpd -f -p 80")
            .publish("10001:80")
            .wait_port("80/tcp"),
    )?;
    group(
        &mut lab,
        &[
            ("first packets of a new container", first_packets),
            ("devices come, are renamed, move and go", come_and_go),
            ("beside others' tcx programs", beside_tcx),
            ("beside others' clsact filters", beside_clsact),
            ("clsact as the fallback", fallback),
            ("killed on clsact, cleaned at the next start", next_start),
            ("killed on clsact, cleaned by detach", detach),
            ("nothing stays attached", nothing_stays),
        ],
    )
}

fn host(lab: &Lab, script: &str) -> Result<String> {
    let output = lab.shell(&Place::Host, script)?;
    ensure!(output.success(), "{script}: {}", output.stderr);
    Ok(output.stdout)
}

/// Asks the published port from outside, and expects a line with its answer.
fn is_seen(lab: &Lab, tracer: &mut Tracer) -> Result<()> {
    let before = tracer.lines().len();
    ask(lab)?;
    let wanted = wait_until("the connection is reported", Duration::from_secs(3), || {
        tracer
            .lines()
            .into_iter()
            .skip(before)
            .find(|line| line["kind"] == "dnat" && line["replied"] == true)
    })?;
    ensure!(
        wanted["destination"]["container"]["name"] == "web",
        "{wanted}"
    );
    Ok(())
}

fn ask(lab: &Lab) -> Result<()> {
    let target = format!("{HOST_IP}:10001").parse()?;
    let outcome = dockernet_tests::traffic::Probe::tcp(target).send(lab.outside())?;
    ensure!(
        outcome == dockernet_tests::traffic::Outcome::Ok,
        "the published port answers {outcome}"
    );
    Ok(())
}

fn clsact(lab: &Lab, args: &[&str]) -> Result<Cmd> {
    Ok(Tracer::command(lab)?
        .args(args)
        .env("DOCKERNET_TC", "clsact")
        .in_netns(lab.host().path()))
}

/// A network and a container made while it runs: its very first packet and the answer to it.
fn first_packets(lab: &mut Lab) -> Result<()> {
    let tracer = Tracer::start(lab, &["--nat", "-v"])?;
    for number in 0..4 {
        let name = format!("early{number}");
        lab.docker(["network", "create", &name])?;
        lab.run(&Run::new(&name, "sh -c 'echo x | nc 203.0.113.7 80; sleep 60'").network(&name))?;
    }
    std::thread::sleep(Duration::from_millis(500));
    let finished = tracer.stop()?;
    for number in 0..4 {
        let name = format!("early{number}");
        let lines: Vec<&Value> = finished
            .of_type("nat")
            .filter(|line| {
                line["source"]["container"]["name"] == name.as_str() && line["protocol"] == "tcp"
            })
            .collect();
        ensure!(
            lines.first().is_some_and(|line| line["replied"] == false)
                && lines.get(1).is_some_and(|line| line["answer_ms"].is_f64()),
            "{name}: {lines:#?}"
        );
        lab.docker(["rm", "-f", &name])?;
        lab.docker(["network", "rm", &name])?;
    }
    let spans = finished.watched_after_ms();
    ensure!(spans.len() >= 8, "devices that came: {}", finished.stderr);
    let slowest = spans.iter().copied().fold(0.0, f64::max);
    ensure!(slowest <= SOON_MS, "watched after {spans:?} ms");
    dockernet_tests::progress(&format!("watched after at most {slowest:.1} ms"));
    Ok(())
}

/// Devices that hold a program of ours: by a filter of its name, or by tcx (where nobody else's are).
fn attached(lab: &Lab) -> Result<Vec<String>> {
    attached_in(lab.host())
}

fn attached_in(netns: &Netns) -> Result<Vec<String>> {
    netns.within(|| {
        let mut found = Vec::new();
        for link in &nix::net::if_::if_nameindex()? {
            let name = link.name().to_string_lossy().into_owned();
            let filters = Cmd::new("tc")
                .args(["filter", "show", "dev", &name, "egress"])
                .output()?;
            let is_held = filters.stdout.contains("dockernet_nat")
                || foreign::tcx_programs(link.index()).unwrap_or(0) > 0;
            found.extend(is_held.then_some(name));
        }
        Ok(found)
    })
}

fn come_and_go(lab: &mut Lab) -> Result<()> {
    let tracer = Tracer::start(lab, &["--nat", "-v"])?;
    let holds =
        |name: &str| -> Result<bool> { Ok(attached(lab)?.iter().any(|device| device == name)) };
    let soon = |what: &str, is_true: &dyn Fn() -> Result<bool>| {
        wait_until(what, Duration::from_secs(2), || {
            is_true().ok().filter(|is| *is)
        })
    };
    for device in ["eth0", "docker0", "lo"] {
        ensure!(
            holds(device)?,
            "{device} is not watched: {:?}",
            attached(lab)?
        );
    }
    host(lab, "ip link add cg0 type veth peer name cg1")?;
    soon("both ends are watched", &|| {
        Ok(holds("cg0")? && holds("cg1")?)
    })?;
    host(lab, "ip link set cg0 name cg9")?;
    std::thread::sleep(Duration::from_millis(200));
    ensure!(
        holds("cg9")?,
        "the renamed device is let go of: {:?}",
        attached(lab)?
    );
    let pid = lab.container_pid("web")?;
    host(lab, &format!("ip link set cg1 netns {pid}"))?;
    let web = lab.netns(&Place::Container("web".into()))?;
    soon("the end that moved is let go of", &|| {
        Ok(attached_in(&web)?.is_empty())
    })?;
    host(
        lab,
        "ip link add br77 type bridge; ip link add vx7 type vxlan id 7 remote 198.51.100.20 dstport 4789 dev eth0 2>/dev/null; ip link add mv7 link eth0 type macvlan",
    )?;
    soon("a bridge and a macvlan are watched", &|| {
        Ok(holds("br77")? && holds("mv7")?)
    })?;
    host(
        lab,
        "ip link del cg9; ip link del br77; ip link del mv7; ip link del vx7 2>/dev/null; true",
    )?;
    tracer.stop().map(drop)
}

fn beside_tcx(lab: &mut Lab) -> Result<()> {
    let before = Foreign::tcx(lab, "docker0")?;
    let mut tracer = Tracer::start(lab, &["--nat"])?;
    let after = Foreign::tcx(lab, "docker0")?;
    is_seen(lab, &mut tracer)?;
    let counted = [before.packets()?, after.packets()?];
    ensure!(
        counted[0] >= 3 && counted[1] >= 3,
        "the others' programs count {counted:?}"
    );
    tracer.stop()?;
    ask(lab)?;
    let later = [before.packets()?, after.packets()?];
    ensure!(
        later[0] > counted[0] && later[1] > counted[1],
        "they stop with us: {later:?}"
    );
    Ok(())
}

fn beside_clsact(lab: &mut Lab) -> Result<()> {
    for with in ["tcx", "clsact"] {
        host(lab, "tc qdisc add dev docker0 clsact")?;
        let other = Foreign::filter(lab, "docker0", 10)?;
        let cmd = Tracer::command(lab)?
            .args(["--nat"])
            .env("DOCKERNET_TC", with)
            .in_netns(lab.host().path());
        let mut tracer = Tracer::spawn(&cmd)?;
        let another = Foreign::filter(lab, "docker0", 60000)?;
        is_seen(lab, &mut tracer)?;
        let counted = [other.packets()?, another.packets()?];
        ensure!(
            counted[0] >= 3 && counted[1] >= 3,
            "{with}: the others' filters count {counted:?}"
        );
        tracer.stop()?;
        let filters = host(lab, "tc filter show dev docker0 egress")?;
        ensure!(!filters.contains("dockernet"), "{with}: {filters}");
        ensure!(
            filters.contains("foreign"),
            "{with}: the others' filters are gone: {filters}"
        );
        ask(lab)?;
        ensure!(other.packets()? > counted[0], "{with}: they stop with us");
        host(lab, "tc qdisc del dev docker0 clsact")?;
    }
    Ok(())
}

fn qdiscs(lab: &Lab) -> Result<usize> {
    Ok(host(lab, "tc qdisc show")?.matches("clsact").count())
}

fn fallback(lab: &mut Lab) -> Result<()> {
    host(lab, "tc qdisc add dev docker0 clsact")?;
    let mut tracer = Tracer::spawn(&clsact(lab, &["--nat"])?)?;
    let ready = tracer.lines().into_iter().next().unwrap_or_default();
    ensure!(ready["programs"][0] == "nat:clsact", "{ready}");
    ensure!(qdiscs(lab)? >= 3, "no clsact qdiscs");
    is_seen(lab, &mut tracer)?;
    tracer.stop()?;
    let left = host(lab, "tc qdisc show")?;
    ensure!(
        left.matches("clsact").count() == 1 && left.contains("clsact ffff: dev docker0"),
        "only the one that was there before stays: {left}"
    );
    host(lab, "tc qdisc del dev docker0 clsact").map(drop)
}

/// A run that is killed leaves its filters.
fn kill(lab: &Lab) -> Result<usize> {
    let tracer = Tracer::spawn(&clsact(lab, &["--nat"])?)?;
    let found = attached(lab)?.len();
    ensure!(found >= 4, "{found} devices");
    tracer.signal(Signal::SIGKILL)?;
    tracer.wait(Duration::from_secs(3))?;
    let left = attached(lab)?.len();
    ensure!(left == found, "of {found} filters {left} are left");
    Ok(left)
}

fn next_start(lab: &mut Lab) -> Result<()> {
    host(lab, "tc qdisc add dev docker0 clsact")?;
    let left = kill(lab)?;
    let mut tracer = Tracer::start(lab, &["--nat"])?;
    is_seen(lab, &mut tracer)?;
    let finished = tracer.stop()?;
    ensure!(
        finished
            .stderr
            .matches("an earlier run had left dockernet_nat on")
            .count()
            == left,
        "{}",
        finished.stderr
    );
    ensure!(attached(lab)?.is_empty(), "{:?}", attached(lab)?);
    ensure!(
        qdiscs(lab)? == 1,
        "the qdisc that we found stays, the others go"
    );
    host(lab, "tc qdisc del dev docker0 clsact").map(drop)
}

fn detach(lab: &mut Lab) -> Result<()> {
    let run = |args: &[&str]| -> Result<String> {
        Cmd::new(tool_path()?)
            .arg("detach")
            .args(args)
            .in_netns(lab.host().path())
            .run()
    };
    ensure!(run(&[])?.trim() == "nothing of ours is attached");
    let left = kill(lab)?;
    let other = {
        host(lab, "tc qdisc add dev docker0 clsact 2>/dev/null; true")?;
        Foreign::filter(lab, "docker0", 10)?
    };
    // Another run of ours that goes on is left alone.
    let mut running = Tracer::start(lab, &["--nat"])?;
    ensure!(attached(lab)?.len() >= left, "{:?}", attached(lab)?);
    let said = run(&[])?;
    ensure!(said.contains("runs as process"), "{said}");
    is_seen(lab, &mut running)?;
    running.stop()?;
    kill(lab)?;
    let value = schema::line(&run(&["--output", "json"])?)?;
    ensure!(
        value["type"] == "detach"
            && value["removed"]
                .as_array()
                .is_some_and(|all| all.len() >= 4),
        "{value}"
    );
    ensure!(attached(lab)?.is_empty(), "{:?}", attached(lab)?);
    let filters = host(lab, "tc filter show dev docker0 egress")?;
    ensure!(
        filters.contains("foreign"),
        "somebody else's filter is gone: {filters}"
    );
    ask(lab)?;
    ensure!(other.packets()? > 0, "somebody else's filter stands still");
    host(lab, "tc qdisc del dev docker0 clsact")?;
    ensure!(qdiscs(lab)? == 0, "{}", host(lab, "tc qdisc show")?);
    Ok(())
}

/// tcx links go with the process, also when it is killed.
fn nothing_stays(lab: &mut Lab) -> Result<()> {
    let tracer = Tracer::start(lab, &["--nat"])?;
    ensure!(
        !attached(lab)?.is_empty(),
        "nothing is attached while it runs"
    );
    tracer.signal(Signal::SIGKILL)?;
    tracer.wait(Duration::from_secs(3))?;
    wait_until("tcx links go", Duration::from_secs(2), || {
        attached(lab).ok().filter(Vec::is_empty)
    })?;
    Ok(())
}
