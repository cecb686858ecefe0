//! How the tool starts and ends, with the engine in every state.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use dockernet_tests::{
    Cmd, DaemonOptions, Engine, Finished, HOST_IP, Lab, LabOptions, Place, Run, Tracer, can_run,
    group, knock, traffic::Probe, wait_until,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

#[test]
fn life_of_a_run() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    // Containers outlive dockerd here.
    let mut daemon = DaemonOptions::default();
    daemon.config.insert("live-restore".into(), true.into());
    let mut lab = Lab::start(&Engine::newest()?, &LabOptions { daemon })?;
    lab.run(
        &Run::new("web", "httpd -f -p 80 -h /www")
            .publish("10001:80")
            .wait_port("80/tcp"),
    )?;
    lab.sysctl(&Place::Host, "net/ipv4/conf/eth0/forwarding", "0")?;
    group(
        &mut lab,
        &[
            ("SIGTERM ends it with a ledger", sigterm),
            ("SIGKILL leaves no program behind", sigkill),
            ("a second instance sees the same", second_instance),
            ("a closed stdout ends it quietly", closed_stdout),
            ("--duration", duration),
            ("--count", count),
            ("--expect-no-drops", expect_no_drops),
            ("--ignore", ignore),
            ("--netns names the host from elsewhere", elsewhere),
            ("an unknown network is bad usage", unknown_network),
            ("an unknown container is waited for", unknown_container),
            (
                "a wrong socket is told, and packets still are",
                wrong_socket,
            ),
            ("who calls itself dockerd says nothing", no_dockerd),
            ("a hung dockerd", hung_dockerd),
            ("a stopped dockerd", stopped_dockerd),
            ("a restarted dockerd", restarted_dockerd),
        ],
    )
}

fn names_web(finished: &Finished) -> Result<()> {
    ensure!(
        finished.drops().any(|line| {
            line["cause"]["id"] == "interface-forwarding-disabled"
                && line["destination"]["container"]["name"] == "web"
        }),
        "no drop line names the cause and `web`: {:#?}\n{}",
        finished.lines,
        finished.stderr
    );
    Ok(())
}

fn sigterm(lab: &mut Lab) -> Result<()> {
    let tracer = Tracer::start(lab, &[])?;
    knock(lab)?;
    thread::sleep(Duration::from_millis(300));
    tracer.signal(Signal::SIGTERM)?;
    let finished = tracer.wait(Duration::from_secs(5))?;
    ensure!(finished.status == Some(0), "status {:?}", finished.status);
    finished.check_balance()?;
    names_web(&finished)
}

/// Ids of all loaded programs that are ours by name.
fn programs() -> Result<BTreeSet<u64>> {
    let text = Cmd::new("bpftool").args(["-j", "prog", "show"]).run()?;
    let list: serde_json::Value = serde_json::from_str(&text)?;
    Ok(list
        .as_array()
        .context("bpftool told no list")?
        .iter()
        .filter(|program| {
            program["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("dockernet_"))
        })
        .filter_map(|program| program["id"].as_u64())
        .collect())
}

fn sigkill(lab: &mut Lab) -> Result<()> {
    let before = programs()?;
    let tracer = Tracer::start(lab, &[])?;
    let running: Vec<u64> = programs()?.difference(&before).copied().collect();
    ensure!(!running.is_empty(), "no program is called dockernet_*");
    tracer.signal(Signal::SIGKILL)?;
    tracer.wait(Duration::from_secs(5))?;
    wait_until("its programs are gone", Duration::from_secs(3), || {
        let now = programs().ok()?;
        running.iter().all(|id| !now.contains(id)).then_some(())
    })
}

fn second_instance(lab: &mut Lab) -> Result<()> {
    let mut first = Tracer::start(lab, &[])?;
    let mut second = Tracer::start(lab, &[])?;
    knock(lab)?;
    for tracer in [&mut first, &mut second] {
        tracer.wait_for(Duration::from_secs(3), |line| line["type"] == "drop");
    }
    let (first, second) = (first.stop()?, second.stop()?);
    names_web(&first)?;
    names_web(&second)
}

fn closed_stdout(lab: &mut Lab) -> Result<()> {
    let mut child = Tracer::command(lab)?
        .in_netns(lab.host().path())
        .to_command()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdout = BufReader::new(child.stdout.take().context("no stdout")?);
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    drop(stdout);
    let ended = wait_until("it ends", Duration::from_secs(5), || {
        knock(lab).ok();
        child.try_wait().ok().flatten()
    });
    if ended.is_err() {
        child.kill().ok();
    }
    let output = child.wait_with_output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let status = ended?;
    ensure!(
        status.success() && !stderr.contains("panicked") && !stderr.contains("roken pipe"),
        "{status}: {stderr}"
    );
    Ok(())
}

/// Runs to its own end.
fn finish(lab: &Lab, args: &[&str], knocks: u32) -> Result<(Finished, Duration)> {
    let started = Instant::now();
    let tracer = Tracer::start(lab, args)?;
    for _ in 0..knocks {
        knock(lab)?;
    }
    let finished = tracer.wait(Duration::from_secs(10))?;
    finished.check_balance()?;
    Ok((finished, started.elapsed()))
}

fn duration(lab: &mut Lab) -> Result<()> {
    let (finished, took) = finish(lab, &["--duration", "1s"], 0)?;
    ensure!(finished.status == Some(0), "status {:?}", finished.status);
    ensure!(
        (1.0..4.0).contains(&took.as_secs_f64()),
        "1 s took {took:?}"
    );
    Ok(())
}

fn count(lab: &mut Lab) -> Result<()> {
    let (finished, _) = finish(lab, &["--count", "1", "--duration", "8s"], 2)?;
    ensure!(
        finished.status == Some(0) && finished.drops().count() == 1,
        "status {:?}, {} lines",
        finished.status,
        finished.drops().count()
    );
    Ok(())
}

fn expect_no_drops(lab: &mut Lab) -> Result<()> {
    let args = ["--expect-no-drops", "--duration", "2s"];
    let (found, _) = finish(lab, &args, 1)?;
    ensure!(found.status == Some(3), "with a drop: {:?}", found.status);
    let (none, _) = finish(lab, &args, 0)?;
    ensure!(
        none.status == Some(0),
        "without: {:?} {:?}",
        none.status,
        none.lines
    );
    Ok(())
}

fn ignore(lab: &mut Lab) -> Result<()> {
    let rule = "cause=interface-forwarding-disabled,source=external";
    let args = ["--ignore", rule, "--expect-no-drops", "--duration", "2s"];
    let (finished, _) = finish(lab, &args, 1)?;
    ensure!(
        finished.status == Some(0) && finished.count("expected")? > 0,
        "status {:?}: {:?}",
        finished.status,
        finished.ledger()
    );
    Ok(())
}

fn elsewhere(lab: &mut Lab) -> Result<()> {
    let tracer = Tracer::start_elsewhere(lab, &[])?;
    knock(lab)?;
    names_web(&tracer.stop()?)
}

fn unknown_network(lab: &mut Lab) -> Result<()> {
    let output = Tracer::command(lab)?
        .args(["--network", "brigde"])
        .in_netns(lab.host().path())
        .output()?;
    ensure!(
        output.status == Some(2) && output.stderr.contains("bridge"),
        "{output:?}"
    );
    Ok(())
}

fn unknown_container(lab: &mut Lab) -> Result<()> {
    let tracer = Tracer::start(lab, &["--container", "wbe"])?;
    lab.docker(["rename", "web", "wbe"])?;
    let renamed = wait_until("the name is known", Duration::from_secs(5), || {
        knock(lab).ok()?;
        thread::sleep(Duration::from_millis(300));
        let lines = tracer.lines();
        lines
            .iter()
            .any(|line| line["type"] == "drop")
            .then_some(())
    });
    lab.docker(["rename", "wbe", "web"])?;
    let finished = tracer.stop()?;
    ensure!(
        finished.stderr.contains("web"),
        "no nearest name is told: {}",
        finished.stderr
    );
    renamed
}

fn wrong_socket(lab: &mut Lab) -> Result<()> {
    let wrong = lab.folder().join("nobody.sock");
    let host = format!("unix://{}", wrong.display());
    // The last -H counts where an option is given twice, so build the line here.
    let cmd = Cmd::new(dockernet_tests::tool_path()?)
        .args(["--output", "json", "-H", &host])
        .in_netns(lab.host().path());
    let tracer = Tracer::spawn(&cmd)?;
    knock(lab)?;
    let finished = tracer.stop()?;
    let told = finished.lines[0]["degraded"].to_string() + &finished.stderr;
    ensure!(
        told.contains("nobody.sock"),
        "nothing says that the socket is wrong: {told}"
    );
    ensure!(finished.drops().count() > 0, "{:#?}", finished.lines);
    Ok(())
}

/// `ready` comes in time, and names come from cgroups and the engine's own files.
fn without_engine(lab: &Lab) -> Result<()> {
    let tracer = Tracer::start(lab, &[])?;
    knock(lab)?;
    let finished = tracer.stop()?;
    ensure!(
        finished.ready_after < Duration::from_secs(3),
        "ready came after {:?}",
        finished.ready_after
    );
    names_web(&finished)
}

/// Anybody may call a program so, with a configuration file that has no end, or that nobody writes to.
fn no_dockerd(lab: &mut Lab) -> Result<()> {
    let make = |at: &str| {
        format!(r##"printf "#!/bin/sh\nsleep 600\n" > {at}/dockerd; chmod +x {at}/dockerd"##)
    };
    let script = format!("{}; exec /dockerd --config-file=/dev/zero", make(""));
    lab.run(&Run::new("fake", &format!("sh -c '{script}'")))?;
    let folder = lab.folder().join("fake");
    let at = folder.display();
    let start = format!(
        "mkdir {at}; mkfifo {at}/pipe; {}; {at}/dockerd --config-file={at}/pipe > /dev/null 2>&1 & echo $!",
        make(&at.to_string())
    );
    let output = lab.shell(&Place::Host, &start)?;
    ensure!(output.success(), "{output:?}");
    let pid: i32 = output.stdout.trim().parse().context("no pid")?;
    let told = finish(lab, &["--duration", "3s"], 2);
    // Its own sleep ends with its time.
    kill(Pid::from_raw(pid), Signal::SIGTERM)?;
    lab.docker(["rm", "-f", "fake"])?;
    names_web(&told?.0)
}

fn hung_dockerd(lab: &mut Lab) -> Result<()> {
    lab.signal_dockerd(Signal::SIGSTOP)?;
    let result = without_engine(lab);
    lab.signal_dockerd(Signal::SIGCONT)?;
    result
}

fn stopped_dockerd(lab: &mut Lab) -> Result<()> {
    lab.stop_dockerd();
    let result = without_engine(lab);
    lab.start_dockerd()?;
    result
}

fn restarted_dockerd(lab: &mut Lab) -> Result<()> {
    let tracer = Tracer::start(lab, &[])?;
    lab.stop_dockerd();
    lab.start_dockerd()?;
    // dockerd switches forwarding on again when it starts, on every interface.
    lab.sysctl(&Place::Host, "net/ipv4/conf/eth0/forwarding", "0")?;
    lab.run(
        &Run::new("later", "httpd -f -p 80 -h /www")
            .publish("10002:80")
            .wait_port("80/tcp"),
    )?;
    let mut probe = Probe::tcp(format!("{HOST_IP}:10002").parse()?);
    probe.timeout = Duration::from_millis(300);
    // The tool backs off between attempts to reach the engine.
    thread::sleep(Duration::from_secs(3));
    probe.send(lab.outside())?;
    let finished = tracer.stop()?;
    ensure!(
        finished
            .drops()
            .any(|line| line["destination"]["container"]["name"] == "later"),
        "the container that came after the restart is not named: {:#?}",
        finished.lines
    );
    Ok(())
}

/// Without live-restore containers end with the engine.
#[test]
fn what_goes_with_the_engine() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let mut lab = Lab::start(&Engine::newest()?, &LabOptions::default())?;
    let web = Run::new("web", "httpd -f -p 80 -h /www").publish("10001:80");
    lab.run(&web.wait_port("80/tcp"))?;
    let tracer = Tracer::start(&lab, &[])?;
    let outside = lab.outside().clone();
    let mut probe = Probe::tcp(format!("{HOST_IP}:10001").parse()?);
    probe.timeout = Duration::from_millis(300);
    let end = AtomicBool::new(false);
    thread::scope(|scope| -> Result<()> {
        // From before the engine ends until it knows its containers again.
        let client = scope.spawn(|| -> Result<()> {
            while !end.load(Ordering::Relaxed) {
                probe.send(&outside)?;
                thread::sleep(Duration::from_millis(100));
            }
            Ok(())
        });
        lab.stop_dockerd();
        let started = lab.start_dockerd();
        thread::sleep(Duration::from_secs(4));
        end.store(true, Ordering::Relaxed);
        started?;
        client
            .join()
            .unwrap_or_else(|_| Err(anyhow::anyhow!("the client panicked")))
    })?;
    let finished = tracer.stop()?;
    for line in finished.drops() {
        let id = line["cause"]["id"].as_str().unwrap_or_default();
        ensure!(
            matches!(id, "container-stopped" | "no-listener" | "unexplained"),
            "while the engine was restarted: {line}"
        );
    }
    let is_told = finished.drops().any(|line| {
        let facts = line["cause"]["evidence"].to_string();
        line["cause"]["id"] == "container-stopped"
            && (facts.contains("s after Docker stopped answering")
                || facts.contains("s after Docker answered again"))
    });
    ensure!(
        is_told,
        "that web went with the engine is not told: {:#?}",
        finished.lines
    );
    Ok(())
}
