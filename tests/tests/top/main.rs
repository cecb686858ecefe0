//! `top` in a real terminal: what it shows of a real fault, what its keys do, and that it leaves the terminal as it was.

mod tmux;

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use dockernet_tests::{
    Cmd, Engine, HOST_IP, Lab, LabOptions, Place, Run, Tracer, can_run, group,
    traffic::{Flood, Probe, flood},
};
use nix::sys::signal::Signal;

use tmux::Tmux;

const CAUSE: &str = "interface-forwarding-disabled";
const FIX: &str = "sysctl -w net/ipv4/conf/eth0/forwarding=1";

#[test]
fn a_screen() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let mut lab = Lab::start(&Engine::newest()?, &LabOptions::default())?;
    lab.run(
        &Run::new("web", "httpd -f -p 80 -h /www")
            .publish("10001:80")
            .wait_port("80/tcp"),
    )?;
    lab.run(&Run::new("sink", "sleep 1000").publish("10004:5000/udp"))?;
    group(
        &mut lab,
        &[
            ("a healthy host", healthy),
            ("cause, container and fix; q", names),
            ("filter, groups, detail", keys),
            ("an expression", expression),
            ("a pause", pause),
            ("signals", signals),
            ("Ctrl-Z and fg", suspended),
            ("sizes", sizes),
            ("neither colour nor UTF-8", plain),
            ("the same count as the ledger's, in a storm", storm),
            ("where there is no screen", refused),
        ],
    )
}

/// Turns forwarding off and has some connections die of it.
fn broken(lab: &mut Lab) -> Result<()> {
    lab.sysctl(&Place::Host, "net/ipv4/conf/eth0/forwarding", "0")?;
    knock(lab)
}

fn knock(lab: &Lab) -> Result<()> {
    let to: SocketAddr = format!("{HOST_IP}:10001").parse()?;
    let mut probe = Probe::tcp(to);
    probe.timeout = Duration::from_millis(200);
    for _ in 0..3 {
        probe.send(lab.outside())?;
    }
    Ok(())
}

fn healthy(lab: &mut Lab) -> Result<()> {
    let tmux = Tmux::start(lab)?;
    tmux.top(lab, "", "")?;
    tmux.wait("that nothing is dropped", |screen| {
        screen.contains("Nothing of containers or published ports was dropped since")
    })?;
    tmux.press(&["q"])?;
    let screen = tmux.ended(0)?;
    ensure!(screen.contains("= 0 shown"), "no ledger:\n{screen}");
    Ok(())
}

fn names(lab: &mut Lab) -> Result<()> {
    let tmux = Tmux::start(lab)?;
    tmux.top(lab, "", "")?;
    broken(lab)?;
    let screen = tmux.wait("the cause", |screen| screen.contains(FIX))?;
    let row = row(&screen, "web")?;
    ensure!(row.contains(CAUSE), "the row has no cause: {row}");
    ensure!(
        screen.contains("new ") && screen.contains("F10Quit"),
        "neither what is new nor keys:\n{screen}"
    );
    // What comes still (a SYN that is sent again) has come.
    thread::sleep(Duration::from_secs(3));
    let shown = total(&tmux.screen()?, "web")?;
    tmux.press(&["q"])?;
    let screen = tmux.ended(0)?;
    ensure!(
        screen.contains(&format!("= {shown} shown")) && screen.contains(CAUSE),
        "the ledger does not say {shown}:\n{screen}"
    );
    Ok(())
}

fn keys(lab: &mut Lab) -> Result<()> {
    let tmux = Tmux::start(lab)?;
    tmux.top(lab, "", "")?;
    broken(lab)?;
    tmux.wait("the cause", |screen| row(screen, "web").is_ok())?;
    tmux.press(&["/"])?;
    tmux.type_in("no-such-thing")?;
    tmux.press(&["Enter"])?;
    tmux.wait("an empty list", |screen| {
        screen.contains("Nothing here holds that text") && row(screen, "web").is_err()
    })?;
    tmux.press(&["Escape"])?;
    tmux.wait("the row again", |screen| row(screen, "web").is_ok())?;
    tmux.press(&["/"])?;
    tmux.type_in("FORWARDING")?;
    tmux.press(&["Enter"])?;
    tmux.wait("the filter", |screen| {
        screen.contains("/forwarding/ hides") && row(screen, "web").is_ok()
    })?;
    tmux.press(&["2"])?;
    tmux.wait("causes", |screen| row(screen, CAUSE).is_ok())?;
    tmux.press(&["Tab"])?;
    tmux.wait("networks", |screen| row(screen, "bridge").is_ok())?;
    tmux.press(&["4"])?;
    // The cause may be cut at the screen's edge.
    tmux.wait("flows", |screen| {
        screen
            .lines()
            .any(|line| line.contains(" → web:80/tcp ") && line.contains("interface-forwarding"))
    })?;
    tmux.press(&["Enter"])?;
    tmux.wait("everything", |screen| {
        screen.contains("Esc goes back") && screen.contains("   stack ") && screen.contains(FIX)
    })?;
    tmux.press(&["Escape", "?"])?;
    tmux.wait("help", |screen| screen.contains("Ctrl-Z"))?;
    tmux.press(&["F1", "F10"])?;
    tmux.ended(0).map(drop)
}

/// Of two published ports' packets those of one are listed; the rest is counted as filtered.
fn expression(lab: &mut Lab) -> Result<()> {
    let tmux = Tmux::start(lab)?;
    tmux.top(lab, "", "--filter 'dst port 10004'")?;
    broken(lab)?;
    let to: SocketAddr = format!("{HOST_IP}:10004").parse()?;
    let mut probe = Probe::udp(to);
    probe.timeout = Duration::from_millis(10);
    for _ in 0..4 {
        probe.send(lab.outside())?;
    }
    let screen = tmux.wait("the other container", |screen| {
        total(screen, "sink").is_ok_and(|total| total == 4)
    })?;
    ensure!(
        row(&screen, "web").is_err(),
        "what the expression refuses is listed:\n{screen}"
    );
    tmux.press(&["q"])?;
    let screen = tmux.ended(0)?;
    ensure!(
        screen.contains("= 4 shown") && screen.contains("filtered"),
        "the ledger has something else:\n{screen}"
    );
    Ok(())
}

fn pause(lab: &mut Lab) -> Result<()> {
    let tmux = Tmux::start(lab)?;
    tmux.top(lab, "", "")?;
    broken(lab)?;
    tmux.wait("the cause", |screen| row(screen, "web").is_ok())?;
    tmux.press(&["Space"])?;
    let before = tmux.wait("the pause", |screen| screen.contains("PAUSED"))?;
    knock(lab)?;
    thread::sleep(Duration::from_secs(2));
    let after = tmux.screen()?;
    ensure!(before == after, "it moved:\n{before}\n{after}");
    tmux.press(&["Space"])?;
    let paused = total(&before, "web")?;
    tmux.wait("what came meanwhile", |screen| {
        !screen.contains("PAUSED") && total(screen, "web").is_ok_and(|now| now >= paused + 3)
    })?;
    tmux.press(&["C-c"])?;
    tmux.ended(0).map(drop)
}

fn signals(lab: &mut Lab) -> Result<()> {
    let tmux = Tmux::start(lab)?;
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ] {
        tmux.top(lab, "", "")?;
        tmux.signal(signal)?;
        let screen = tmux.ended(0).with_context(|| signal.to_string())?;
        ensure!(
            screen.contains(" shown + "),
            "{signal}: no ledger:\n{screen}"
        );
    }
    tmux.top(lab, "", "--duration 1s")?;
    tmux.ended(0).map(drop)
}

fn suspended(lab: &mut Lab) -> Result<()> {
    let tmux = Tmux::start(lab)?;
    tmux.top(lab, "", "")?;
    tmux.press(&["C-z"])?;
    tmux.stopped()?;
    // What happens meanwhile is counted.
    broken(lab)?;
    tmux.shell("clear; fg")?;
    tmux.wait("the screen again", |screen| {
        screen.contains("dockernet-trace top  ") && row(screen, "web").is_ok()
    })?;
    tmux.press(&["j", "q"])?;
    tmux.ended(0).map(drop)
}

fn sizes(lab: &mut Lab) -> Result<()> {
    let tmux = Tmux::start(lab)?;
    tmux.top(lab, "", "")?;
    broken(lab)?;
    tmux.wait("the cause", |screen| screen.contains(FIX))?;
    tmux.resize(60, 15)?;
    tmux.wait("rows alone", |screen| {
        row(screen, "web").is_ok() && !screen.contains(FIX) && screen.contains("F1Help")
    })?;
    tmux.resize(30, 6)?;
    tmux.wait("a sentence", |screen| {
        screen.contains("top needs 40x10; this is 30x6")
    })?;
    tmux.resize(120, 40)?;
    tmux.wait("all of it", |screen| screen.contains(FIX))?;
    tmux.press(&["q"])?;
    tmux.ended(0).map(drop)
}

fn plain(lab: &mut Lab) -> Result<()> {
    let tmux = Tmux::start(lab)?;
    tmux.top(lab, "LC_ALL=C NO_COLOR=1", "")?;
    broken(lab)?;
    let screen = tmux.wait("the cause", |screen| screen.contains(FIX))?;
    ensure!(screen.is_ascii(), "not ASCII:\n{screen}");
    ensure!(!has_colour(&tmux.coloured()?), "colours with NO_COLOR");
    tmux.press(&["q"])?;
    tmux.ended(0)?;
    // The same picture has colours where they are wanted.
    tmux.top(lab, "NO_COLOR=1", "--color always")?;
    knock(lab)?;
    tmux.wait("the cause", |screen| screen.contains(FIX))?;
    ensure!(
        has_colour(&tmux.coloured()?),
        "no colours with --color always"
    );
    tmux.press(&["q"])?;
    tmux.ended(0).map(drop)
}

/// Every packet of a flood is in the row, in the ledger, and seen by a second tool that writes JSON.
fn storm(lab: &mut Lab) -> Result<()> {
    lab.sysctl(&Place::Host, "net/ipv4/conf/eth0/forwarding", "0")?;
    let tmux = Tmux::start(lab)?;
    tmux.top(lab, "", "--container sink")?;
    let other = Tracer::start(lab, &["--container", "sink"])?;
    flood(
        lab.outside(),
        Flood {
            to: format!("{HOST_IP}:10004").parse()?,
            count: 200_000,
            threads: 1,
            size: 22,
            limit: Duration::from_secs(60),
        },
    )?;
    thread::sleep(Duration::from_secs(3));
    let shown = total(&tmux.screen()?, "sink")?;
    let other = other.stop()?.count("shown")?;
    ensure!(
        shown == other && shown > 100_000,
        "top shows {shown} packets, --drops {other}"
    );
    tmux.press(&["q"])?;
    let screen = tmux.ended(0)?;
    ensure!(
        screen
            .replace(',', "")
            .contains(&format!("= {shown} shown")),
        "the ledger does not say {shown}:\n{screen}"
    );
    Ok(())
}

fn refused(lab: &mut Lab) -> Result<()> {
    let top = || -> Result<Cmd> {
        Ok(Cmd::new(dockernet_tests::tool_path()?)
            .args(["top", "-H"])
            .arg(lab.docker_host()))
    };
    for (cmd, why) in [
        (top()?, "standard output is none"),
        (top()?.args(["--output", "json"]), "has no JSON"),
        (top()?.arg("--nat"), "--nat without top"),
    ] {
        let told = cmd.in_netns(lab.host().path()).output()?;
        ensure!(
            told.status == Some(2) && told.stderr.contains(why) && told.stdout.is_empty(),
            "{told:?}"
        );
    }
    let tmux = Tmux::start(lab)?;
    let tool = dockernet_tests::tool_path()?;
    tmux.shell(&format!("clear; TERM=dumb {} top", tool.display()))?;
    tmux.wait("a refusal", |screen| {
        screen.contains("TERM is dumb") && screen.contains("--drops")
    })?;
    Ok(())
}

/// The row that begins with this label.
fn row<'a>(screen: &'a str, label: &str) -> Result<&'a str> {
    screen
        .lines()
        .find(|line| {
            let line = line.get(1..).unwrap_or_default();
            line.strip_prefix(label)
                .is_some_and(|rest| rest.starts_with(' '))
        })
        .with_context(|| format!("no row {label}:\n{screen}"))
}

/// Its packets: the second number after the label.
fn total(screen: &str, label: &str) -> Result<u64> {
    let row = row(screen, label)?;
    let number = row.split_whitespace().filter(|word| *word != "+").nth(2);
    let number = number.map(|word| word.replace(',', ""));
    number
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("no total in: {row}"))
}

/// Whether a foreground colour is set anywhere (SGR 30 to 38).
fn has_colour(text: &str) -> bool {
    text.split("\u{1b}[").skip(1).any(|sequence| {
        sequence
            .split('m')
            .next()
            .unwrap_or_default()
            .split(';')
            .any(|code| code.len() == 2 && code.starts_with('3') && code != "39")
    })
}
