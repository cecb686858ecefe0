//! What systemd and journald see of it, and what it may still do.

use std::{
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use dockernet_tests::{
    Cmd, HOST_IP, Lab, Netns, Place, Run, children_of, knock,
    monitor::{Monitor, sum},
    progress,
    prometheus::shipped,
    traffic::Probe,
    wait_until,
};
use nix::{sys::signal::Signal, unistd::Pid};

use super::{CAUSE, with_fault};

/// Everything that came within a time.
fn heard(socket: &UnixDatagram, time: Duration) -> Vec<String> {
    let end = Instant::now() + time;
    let mut messages = Vec::new();
    let mut buffer = [0; 4096];
    while let Some(left) = end
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        socket.set_read_timeout(Some(left)).ok();
        if let Ok(length) = socket.recv(&mut buffer) {
            messages.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
    }
    messages
}

/// We are systemd: its protocol is datagrams.
pub(crate) fn notify(lab: &mut Lab) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    let cmd = Monitor::command(lab)?
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "1000000")
        .in_netns(lab.host().path());
    let monitor = Monitor::spawn(&cmd, Some(Netns::at(lab.host().path())))?;
    let messages = heard(&socket, Duration::from_secs(3));
    let watchdog = messages.iter().filter(|text| *text == "WATCHDOG=1").count();
    ensure!(
        messages.iter().any(|text| text == "READY=1"),
        "{messages:?}"
    );
    ensure!(
        messages.iter().any(|text| text.starts_with("STATUS=")),
        "{messages:?}"
    );
    ensure!((3..=8).contains(&watchdog), "{messages:?}");
    monitor.tracer.signal(Signal::SIGHUP)?;
    let messages = heard(&socket, Duration::from_secs(1));
    let at = |what: &str| messages.iter().position(|text| text.starts_with(what));
    ensure!(
        at("RELOADING=1\nMONOTONIC_USEC=").is_some() && at("RELOADING") < at("READY=1"),
        "{messages:?}"
    );
    // A loop that does not come round feeds no watchdog.
    monitor.tracer.signal(Signal::SIGSTOP)?;
    heard(&socket, Duration::from_millis(200));
    let messages = heard(&socket, Duration::from_secs(2));
    monitor.tracer.signal(Signal::SIGCONT)?;
    ensure!(messages.is_empty(), "{messages:?}");
    monitor.stop()?;
    let messages = heard(&socket, Duration::from_millis(200));
    ensure!(
        messages.iter().any(|text| text == "STOPPING=1"),
        "{messages:?}"
    );
    Ok(())
}

/// A real journald, in a mount namespace of its own with a /run of its own.
pub(crate) fn journal(lab: &mut Lab) -> Result<()> {
    const JOURNALD: &str = "/lib/systemd/systemd-journald";
    if !std::path::Path::new(JOURNALD).exists() {
        ensure!(
            std::env::var_os("CI").is_none(),
            "there is no systemd-journald"
        );
        progress("NOT RUN: there is no systemd-journald");
        return Ok(());
    }
    let script = format!(
        "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal /run/log/journal /etc/systemd \
         && mount --bind /dev/null /dev/kmsg && exec {JOURNALD}"
    );
    let mut journald = Cmd::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .to_command()
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()?;
    let judged = journal_within(lab, journald.id());
    journald.kill().ok();
    journald.wait().ok();
    judged
}

fn journal_within(lab: &mut Lab, journald: u32) -> Result<()> {
    let inside = |program: &str| {
        Cmd::new("nsenter").args([&format!("--mount=/proc/{journald}/ns/mnt"), "--", program])
    };
    wait_until("journald listens", Duration::from_secs(10), || {
        inside("test")
            .args(["-S", "/run/systemd/journal/socket"])
            .output()
            .is_ok_and(|output| output.success())
            .then_some(())
    })?;
    let command = Monitor::command(lab)?.args(["--journal", "always"]);
    let cmd = Cmd::new("nsenter")
        .arg(format!("--mount=/proc/{journald}/ns/mnt"))
        .arg(format!("--net={}", lab.host().path().display()))
        .args(["--", "sh", "-c", &format!("exec {}", command.line())])
        .env_remove("DOCKER_HOST");
    let mut monitor = Monitor::spawn(&cmd, Some(Netns::at(lab.host().path())))?;
    with_fault(lab, knock)?;
    let line = monitor
        .diagnosis("began", CAUSE, Duration::from_secs(5))
        .context("no diagnosis")?;
    let id = line["message_id"].as_str().unwrap_or_default().to_owned();
    let entry = wait_until(
        "the entry is in the journal",
        Duration::from_secs(10),
        || {
            let text = inside("journalctl")
                .args(["-o", "json", "--no-pager", &format!("MESSAGE_ID={id}")])
                .run()
                .ok()?;
            serde_json::from_str::<serde_json::Value>(text.lines().next()?).ok()
        },
    )?;
    let is = |field: &str, value: &str| entry[field] == value;
    ensure!(
        is("CONTAINER_NAME", "web")
            && is("DOCKERNET_CAUSE", CAUSE)
            && is("DOCKERNET_STATE", "began")
            && is("PRIORITY", "4")
            && is("SYSLOG_IDENTIFIER", "dockernet-trace")
            && entry["DOCKERNET_FIX"]
                .as_str()
                .is_some_and(|fix| fix.contains("forwarding=1"))
            && entry["MESSAGE"]
                .as_str()
                .is_some_and(|text| text.starts_with("web: ")),
        "{entry:#}"
    );
    monitor.stop()?;
    Ok(())
}

/// Every thread of the service and of its helper has what it needs and no more, for good.
pub(crate) fn privileges(lab: &mut Lab) -> Result<()> {
    let monitor = Monitor::start(lab, &["--nat"])?;
    std::thread::sleep(Duration::from_millis(300));
    let pid = monitor.tracer.pid();
    let helper = helper_of(pid)?;
    // include/uapi/linux/capability.h: NET_ADMIN, BPF
    let threads = has_no_more_than(&pid.to_string(), &[12, 39])?;
    ensure!(
        threads > 4,
        "{threads} threads: NAT's and the runtime's are missing"
    );
    // DAC_READ_SEARCH, NET_ADMIN, NET_RAW, SYS_PTRACE, SYS_ADMIN
    has_no_more_than(&helper, &[2, 12, 13, 19, 21])?;
    // What is left is enough for a container that comes now.
    lab.run(&Run::new("late", "httpd -f -p 80 -h /www").wait_port("80/tcp"))?;
    let to = std::net::SocketAddr::new(lab.container_ip("late", None)?, 81);
    Probe::tcp(to).send(lab.host())?;
    monitor.wait("its drop is named", Duration::from_secs(5), |samples| {
        sum(
            samples,
            "dockernet_drops_total",
            "cause=\"no-listener\",container=\"late\"",
        ) >= 1.0
    })?;
    lab.docker(["rm", "-f", "late"])?;
    monitor.stop()?;
    ensure!(
        !std::fs::exists(format!("/proc/{helper}"))?,
        "the helper is still there"
    );
    Ok(())
}

/// The one process that a service started.
fn helper_of(pid: u32) -> Result<String> {
    let children = children_of(pid)?;
    match children.as_slice() {
        [helper] => Ok(helper.to_string()),
        _ => bail!("processes of the service: {children:?}"),
    }
}

/// A service without its helper would name no container that comes: it ends, in order and as a failure, and systemd starts it again.
pub(crate) fn helper(lab: &mut Lab) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("counters.json");
    let monitor = Monitor::start(lab, &["--state", &state.to_string_lossy()])?;
    let helper = helper_of(monitor.tracer.pid())?;
    let helper = Pid::from_raw(helper.parse()?);
    nix::sys::signal::kill(helper, Signal::SIGKILL)?;
    let finished = monitor.tracer.wait(Duration::from_secs(10))?;
    ensure!(
        finished.status == Some(1) && finished.stderr.contains("helper for namespaces has ended"),
        "{:?}: {}",
        finished.status,
        finished.stderr
    );
    finished.check_balance()?;
    ensure!(state.is_file(), "its counters are lost");
    Ok(())
}

/// Every thread of a process has these capabilities at most, and can get no others. Gives how many there are.
fn has_no_more_than(pid: &str, kept: &[u32]) -> Result<u32> {
    let kept: u64 = kept.iter().map(|bit| 1 << bit).sum();
    let mut threads = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = std::fs::read_to_string(thread?.path().join("status"))?;
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
        };
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            let held = u64::from_str_radix(field(set).context("no capabilities")?, 16)?;
            ensure!(
                held & !kept == 0,
                "{set} {held:x} has more than {kept:x}: {status}"
            );
        }
        ensure!(field("NoNewPrivs") == Some("1"), "{status}");
        threads += 1;
    }
    Ok(threads)
}

/// A network that comes after privileges were given up is watched like those before.
pub(crate) fn nat(lab: &mut Lab) -> Result<()> {
    let monitor = Monitor::start(lab, &["--nat"])?;
    ensure!(monitor.sum("dockernet_nat_transitions_total", "")? == 0.0);
    lab.docker(["network", "create", "later"])?;
    lab.run(
        &Run::new("late", "httpd -f -p 80 -h /www")
            .network("later")
            .publish("10009:80")
            .wait_port("80/tcp"),
    )?;
    let to = format!("{HOST_IP}:10009").parse()?;
    let outcome = Probe::tcp(to).send(lab.outside())?;
    monitor
        .wait(
            "the transition is counted",
            Duration::from_secs(5),
            |samples| sum(samples, "dockernet_nat_transitions_total", "kind=\"dnat\"") >= 1.0,
        )
        .with_context(|| format!("the connection: {outcome:?}"))?;
    ensure!(monitor.sum("dockernet_program_attached", "nat")? >= 1.0);
    lab.docker(["rm", "-f", "late"])?;
    lab.docker(["network", "rm", "later"])?;
    monitor.stop()?;
    Ok(())
}

/// The bounding set of the shipped unit is enough: for the start, for a fault's rule, and for containers that come.
pub(crate) fn unit(lab: &mut Lab) -> Result<()> {
    let unit = shipped("dist/dockernet-trace.service")?;
    let set = unit
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="))
        .context("the unit bounds no capabilities")?;
    let set: Vec<String> = set
        .split_whitespace()
        .map(|name| format!("+{}", name.trim_start_matches("CAP_").to_lowercase()))
        .collect();
    let command = Monitor::command(lab)?;
    let cmd = Cmd::new("setpriv")
        .arg(format!("--bounding-set=-all,{}", set.join(",")))
        .args(["--inh-caps=-all", "--no-new-privs", "sh", "-c"])
        .arg(format!("exec {}", command.line()))
        .env_remove("DOCKER_HOST")
        .in_netns(lab.host().path());
    let monitor = Monitor::spawn(&cmd, Some(Netns::at(lab.host().path())))?;
    let ready = monitor.tracer.lines().into_iter().next();
    ensure!(
        ready
            .as_ref()
            .is_some_and(|line| line["degraded"] == serde_json::json!([])),
        "{ready:?}"
    );
    lab.run(
        &Run::new("late", "httpd -f -p 80 -h /www")
            .publish("10009:80")
            .wait_port("80/tcp"),
    )?;
    let to = format!("{HOST_IP}:10009").parse()?;
    lab.shell(
        &Place::Host,
        "iptables -I DOCKER-USER -p tcp --dport 80 -j DROP",
    )?;
    let mut probe = Probe::tcp(to);
    probe.timeout = Duration::from_millis(500);
    probe.send(lab.outside())?;
    let named = monitor.wait("its drop is named", Duration::from_secs(5), |samples| {
        sum(samples, "dockernet_drops_total", "container=\"late\"") >= 1.0
    });
    lab.shell(
        &Place::Host,
        "iptables -D DOCKER-USER -p tcp --dport 80 -j DROP",
    )?;
    named?;
    let explained = monitor.sum(
        "dockernet_drops_total",
        "cause=\"docker-user-drop\",container=\"late\"",
    )?;
    ensure!(explained >= 1.0, "{}", monitor.page()?);
    lab.docker(["rm", "-f", "late"])?;
    monitor.stop()?;
    Ok(())
}
