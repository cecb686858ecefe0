//! The incident that this project was born from, from beginning to end, in a lab that leaves nothing behind.

use std::{
    io::{IsTerminal, Write},
    net::SocketAddr,
    process::{Child, ExitCode, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use dockernet_tests::{
    Cmd, HOST_IP, Lab, LabOptions, Place, Run, engines, tool_path,
    traffic::{Outcome, Probe},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const KEY: &str = "net/ipv4/conf/eth0/forwarding";

fn main() -> ExitCode {
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) {
    println!("\n── {text}");
    std::io::stdout().flush().ok();
}

fn demo() -> Result<()> {
    let tool = tool_path()?;
    let engines = engines()?;
    let engine = engines
        .iter()
        .max_by_key(|engine| engine.major())
        .context("no Docker engine")?;
    say(&format!(
        "bringing up a Docker host in a network namespace (dockerd {}; some seconds)",
        engine.version
    ));
    let mut lab = Lab::start(engine, &LabOptions::default())?;
    say("starting container `web`, published as 10001→80");
    lab.run(
        &Run::new("web", "httpd -f -p 80 -h /www")
            .publish("10001:80")
            .wait_port("80/tcp"),
    )?;
    visit(&lab, true)?;

    say(&format!(
        "breaking it: sysctl -w {KEY}=0 (ip_forward still reads 1)"
    ));
    lab.sysctl(&Place::Host, KEY, "0")?;
    say("dockernet-trace --drops");
    let color = if std::io::stdout().is_terminal() {
        "always"
    } else {
        "auto"
    };
    let cmd = Cmd::new(&tool)
        .args(["--drops", "--color", color, "-H"])
        .arg(lab.docker_host())
        .env_remove("DOCKER_HOST");
    let mut child = Shown::start(&cmd.clone().in_netns(lab.host().path()))?;
    thread::sleep(Duration::from_secs(1));
    visit(&lab, false)?;
    thread::sleep(Duration::from_millis(500));
    child.stop()?;

    let fix = printed_fix(&lab, &tool)?;
    say(&format!("mending it with what it printed: {fix}"));
    let output = lab.shell(&Place::Host, &fix)?;
    ensure!(output.success(), "`{fix}` failed: {}", output.stderr);

    say("dockernet-trace --drops again: it has nothing to say");
    let mut child = Shown::start(&cmd.in_netns(lab.host().path()))?;
    thread::sleep(Duration::from_secs(1));
    visit(&lab, true)?;
    thread::sleep(Duration::from_millis(500));
    child.stop()?;

    say("removing the lab");
    drop(lab);
    say("done; nothing is left behind");
    Ok(())
}

/// A client outside asks for the page.
fn visit(lab: &Lab, wanted: bool) -> Result<()> {
    let to: SocketAddr = format!("{HOST_IP}:10001").parse()?;
    say(&format!("a client at 198.51.100.20 opens http://{to}/"));
    let outcome = Probe::tcp(to).send(lab.outside())?;
    println!("   {outcome}");
    if (outcome == Outcome::Ok) != wanted {
        bail!("the client's result should have been the other one");
    }
    Ok(())
}

/// The command that the tool itself prints: read from its JSON, as a script would.
fn printed_fix(lab: &Lab, tool: &std::path::Path) -> Result<String> {
    let tracer = dockernet_tests::Tracer::spawn(
        &Cmd::new(tool)
            .args(["--output", "json", "-H"])
            .arg(lab.docker_host())
            .in_netns(lab.host().path()),
    )?;
    Probe::tcp(format!("{HOST_IP}:10001").parse()?).send(lab.outside())?;
    let finished = tracer.stop()?;
    let fix = finished
        .drops()
        .find_map(|line| line["cause"]["fix"][0]["run"].as_str().map(str::to_owned));
    fix.with_context(|| format!("no drop line has a fix: {:?}", finished.lines))
}

/// The tool with its output on this terminal.
struct Shown(Child);

impl Shown {
    fn start(cmd: &Cmd) -> Result<Self> {
        let mut command = cmd.to_command();
        command.stdin(Stdio::null());
        Ok(Self(command.spawn().context("starting dockernet-trace")?))
    }

    fn stop(&mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.0.id())?), Signal::SIGINT)?;
        for _ in 0..500 {
            if let Some(status) = self.0.try_wait()? {
                ensure!(status.success(), "dockernet-trace ended with {status}");
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("dockernet-trace did not end within 5 s of SIGINT")
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }
}
