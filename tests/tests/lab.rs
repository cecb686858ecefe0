//! The lab keeps its own promises: several at once, nothing left behind, a flood that arrives.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use dockernet_tests::{
    Engine, HOST_IP, Lab, LabOptions, Place, Run, can_run,
    traffic::{Flood, Outcome, Probe, flood},
};

#[test]
fn labs_are_independent_and_leave_nothing() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let engine = Engine::newest()?;
    let crashed = crashed_lab()?;
    ensure!(
        crashed.folder.exists(),
        "a killed lab should leave a folder"
    );

    let labs = [start(&engine)?, start(&engine)?];
    ensure!(
        crashed.gone(),
        "a new lab should have removed what the killed one left: {crashed:?}"
    );
    for lab in &labs {
        let outcome = Probe::tcp(format!("{HOST_IP}:10001").parse()?).send(lab.outside())?;
        ensure!(outcome == Outcome::Ok, "the page did not come: {outcome}");
    }
    flood_arrives(&labs[0])?;
    let traces: Vec<Trace> = labs.iter().map(Trace::of).collect();
    drop(labs);
    for trace in traces {
        ensure!(trace.gone(), "something is left: {trace:?}");
    }
    Ok(())
}

fn start(engine: &Engine) -> Result<Lab> {
    let lab = Lab::start(engine, &LabOptions::default())?;
    lab.run(
        &Run::new("web", "httpd -f -p 80 -h /www")
            .publish("10001:80")
            .wait_port("80/tcp"),
    )?;
    Ok(lab)
}

/// An nft counter counts each datagram of a flood exactly once.
fn flood_arrives(lab: &Lab) -> Result<()> {
    let script = "nft -f - <<END
table inet storm {
    counter dropped { }
    chain in { type filter hook prerouting priority -200; udp dport 9 counter name dropped drop; }
}
END";
    ensure!(lab.shell(&Place::Host, script)?.success());
    let sent = flood(
        lab.outside(),
        Flood {
            to: format!("{HOST_IP}:9").parse()?,
            count: 100_000,
            threads: 2,
            size: 22,
            limit: Duration::from_secs(20),
        },
    )?;
    let told = lab
        .shell(&Place::Host, "nft list counter inet storm dropped")?
        .stdout;
    ensure!(
        told.contains(&format!("packets {sent} ")),
        "{sent} datagrams were sent, the rule counted {told}"
    );
    Ok(())
}

/// What a lab leaves if it leaves something.
#[derive(Debug)]
struct Trace {
    folder: PathBuf,
    namespaces: Vec<PathBuf>,
}

impl Trace {
    fn of(lab: &Lab) -> Self {
        Self {
            folder: lab.folder().to_owned(),
            namespaces: vec![lab.host().path().into(), lab.outside().path().into()],
        }
    }

    fn gone(&self) -> bool {
        let folder = self.folder.to_string_lossy();
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let running = processes
            .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
            .any(|bytes| String::from_utf8_lossy(&bytes).contains(folder.as_ref()));
        !running && !self.folder.exists() && !self.namespaces.iter().any(|path| path.exists())
    }
}

/// A lab whose owner was killed without any chance to clean up.
fn crashed_lab() -> Result<Trace> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lab"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
    let mut folder = None;
    let mut namespaces = Vec::new();
    for line in stdout.lines() {
        let line = line?;
        if let Some(socket) = line.strip_prefix("DOCKER_HOST=unix://") {
            folder = Path::new(socket).parent().map(Path::to_owned);
        } else if let Some(rest) = line.strip_prefix("nsenter --net=") {
            namespaces.extend(rest.split(' ').next().map(PathBuf::from));
        } else if line.contains("Ctrl-D") {
            break;
        }
    }
    child.kill()?;
    child.wait()?;
    Ok(Trace {
        folder: folder.context("the lab told no socket")?,
        namespaces,
    })
}
