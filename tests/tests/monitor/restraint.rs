//! What it does not do.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use dockernet_tests::{
    Cmd, Lab, Run, knock,
    monitor::{Monitor, sum},
};

use super::{CAUSE, with_fault};

/// What was said to the engine.
type Said = Arc<Mutex<Vec<u8>>>;

/// Passes everything on between a socket of its own and the engine's, and keeps what is said to the engine.
fn eavesdrop(lab: &Lab) -> Result<(PathBuf, Said)> {
    let path = lab.folder().join("overheard.sock");
    let listener = UnixListener::bind(&path)?;
    let engine = lab.socket();
    let said = Said::default();
    let kept = Arc::clone(&said);
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = UnixStream::connect(&engine) else {
                continue;
            };
            let (Ok(answers), Ok(back)) = (server.try_clone(), client.try_clone()) else {
                continue;
            };
            let kept = Arc::clone(&kept);
            thread::spawn(move || pass(client, server, Some(&kept)));
            thread::spawn(move || pass(answers, back, None));
        }
    });
    Ok((path, said))
}

fn pass(mut from: UnixStream, mut to: UnixStream, kept: Option<&Said>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let Some(bytes) = buffer.get(..length) else {
            return;
        };
        if let Some(kept) = kept {
            kept.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(bytes);
        }
        if to.write_all(bytes).is_err() {
            return;
        }
    }
    to.shutdown(std::net::Shutdown::Both).ok();
}

/// It asks the engine, and asks it for nothing to be done: while it starts, while containers come and go, and for a drop.
pub(crate) fn asks_only(lab: &mut Lab) -> Result<()> {
    let (socket, said) = eavesdrop(lab)?;
    let cmd =
        Monitor::command_for(&format!("unix://{}", socket.display()))?.in_netns(lab.host().path());
    let monitor = Monitor::spawn(&cmd, Some(lab.host().clone()))?;
    lab.run(&Run::new("passing", "sleep 1000"))?;
    with_fault(lab, knock)?;
    monitor.wait("the drop is named", Duration::from_secs(5), |samples| {
        sum(samples, "dockernet_drops_total", CAUSE) >= 1.0
    })?;
    lab.docker(["rm", "-f", "passing"])?;
    monitor.stop()?;
    let said = said.lock().unwrap_or_else(PoisonError::into_inner);
    let text = String::from_utf8_lossy(&said);
    let requests: Vec<&str> = text
        .lines()
        .filter(|line| line.ends_with(" HTTP/1.1"))
        .collect();
    ensure!(
        requests.iter().any(|line| line.contains("/events"))
            && requests.iter().any(|line| line.contains("/containers/")),
        "what it asks was not overheard: {requests:?}"
    );
    let other: Vec<&&str> = requests
        .iter()
        .filter(|line| !line.starts_with("GET ") && !line.starts_with("HEAD "))
        .collect();
    ensure!(other.is_empty(), "it does more than ask: {other:?}");
    Ok(())
}

/// No tc program is attached unless NAT is asked for.
pub(crate) fn no_tc(lab: &mut Lab) -> Result<()> {
    for (arguments, wanted) in [(&[][..], false), (&["--nat"][..], true)] {
        let monitor = Monitor::start(lab, arguments)?;
        let links = links_of(monitor.tracer.pid())?;
        let clsact = Cmd::new("tc")
            .args(["qdisc", "show"])
            .in_netns(lab.host().path())
            .run()?
            .contains("clsact");
        let has_tc = clsact || links.iter().any(|kind| kind == "tcx");
        monitor.stop()?;
        ensure!(
            has_tc == wanted,
            "{arguments:?}: clsact {clsact}, links {links:?}"
        );
    }
    Ok(())
}

/// The kinds of BPF links that a process holds (proc(5), fdinfo).
fn links_of(pid: u32) -> Result<Vec<String>> {
    let mut kinds = Vec::new();
    for file in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let text = std::fs::read_to_string(file?.path()).unwrap_or_default();
        let kind = text
            .lines()
            .find_map(|line| line.strip_prefix("link_type:"));
        kinds.extend(kind.map(|kind| kind.trim().to_owned()));
    }
    Ok(kinds)
}
