//! What it outlives.

use std::{io::Write as _, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dockernet_tests::{
    Cmd, Lab, http, knock,
    monitor::{Monitor, configuration, samples, sum},
    tool_path, wait_until,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{CAUSE, with_fault};

fn says(monitor: &mut Monitor, what: &str) -> bool {
    monitor
        .tracer
        .wait_for(Duration::from_secs(5), |line| {
            line["text"]
                .as_str()
                .is_some_and(|text| text.contains(what))
        })
        .is_some()
}

pub(crate) fn reload(lab: &mut Lab) -> Result<()> {
    let config = configuration(lab.folder(), "")?;
    let mut monitor = Monitor::start(lab, &["--config", &config])?;
    let is_counted = |samples: &[_]| sum(samples, "dockernet_drops_total", CAUSE) >= 1.0;
    with_fault(lab, |lab| {
        knock(lab)?;
        monitor.wait("the drop is counted", Duration::from_secs(5), is_counted)?;
        let before = monitor.sum("dockernet_drops_total", "")?;
        configuration(
            lab.folder(),
            &format!("ignore = [\"cause={CAUSE}\"]\nscope = \"host\"\nnew = 1\n"),
        )?;
        monitor.tracer.signal(Signal::SIGHUP)?;
        ensure!(
            says(&mut monitor, "needs a restart: scope"),
            "{:?}",
            monitor.tracer.lines()
        );
        ensure!(
            says(&mut monitor, "unknown key new"),
            "{:?}",
            monitor.tracer.lines()
        );
        knock(lab)?;
        monitor.wait("the next is expected", Duration::from_secs(5), |samples| {
            sum(samples, "dockernet_expected_drops_total", CAUSE) >= 1.0
        })?;
        ensure!(
            monitor.sum("dockernet_drops_total", "")? >= before,
            "the reload lost counts"
        );
        // One that makes no sense changes nothing.
        configuration(lab.folder(), "ignore = [\"cause=nonsense\"]\n")?;
        monitor.tracer.signal(Signal::SIGHUP)?;
        ensure!(
            says(&mut monitor, "stays as it was"),
            "{:?}",
            monitor.tracer.lines()
        );
        ensure!(monitor.sum("dockernet_config_last_reload_successful", "")? == 0.0);
        let expected = monitor.sum("dockernet_expected_drops_total", CAUSE)?;
        knock(lab)?;
        monitor.wait(
            "the old one is in force",
            Duration::from_secs(5),
            |samples| sum(samples, "dockernet_expected_drops_total", CAUSE) > expected,
        )
    })?;
    monitor.stop()?;
    Ok(())
}

pub(crate) fn check_config(lab: &mut Lab) -> Result<()> {
    let check = |text: &str| {
        let config = configuration(lab.folder(), text)?;
        Cmd::new(tool_path()?)
            .args(["monitor", "--check-config", "--config", &config])
            .output()
    };
    let good = check("[limits]\ncontainers = 5\n")?;
    ensure!(
        good.success() && good.stdout.ends_with(": good\n"),
        "{good:?}"
    );
    let unknown = check("later = true\n")?;
    ensure!(
        unknown.success() && unknown.stderr.contains("unknown key later"),
        "{unknown:?}"
    );
    for (text, problem) in [
        (
            "[limits]\ncontainers = 0\n",
            "limits.containers: expected a number from 1",
        ),
        ("listen = \n", "line 1: "),
    ] {
        let bad = check(text)?;
        ensure!(
            bad.status == Some(2) && bad.stderr.contains(problem),
            "{bad:?}"
        );
    }
    Ok(())
}

fn is_up(monitor: &Monitor, up: f64) -> Result<()> {
    monitor.wait("docker_up", Duration::from_secs(15), |samples| {
        sum(samples, "dockernet_docker_up", "") == up
    })
}

/// One drop more of `web`, by its name.
pub(crate) fn web_is_counted(lab: &mut Lab, monitor: &Monitor) -> Result<()> {
    let before = monitor.sum("dockernet_drops_total", "container=\"web\"")?;
    with_fault(lab, knock)?;
    monitor.wait("web's drop is counted", Duration::from_secs(5), |samples| {
        sum(samples, "dockernet_drops_total", "container=\"web\"") > before
    })
}

pub(crate) fn restarted_dockerd(lab: &mut Lab) -> Result<()> {
    let mut monitor = Monitor::start(lab, &[])?;
    is_up(&monitor, 1.0)?;
    web_is_counted(lab, &monitor)?;
    let before = monitor.sum("dockernet_observed_drops_total", "")?;
    lab.stop_dockerd();
    is_up(&monitor, 0.0)?;
    let answer = monitor.get("/readyz")?;
    ensure!(
        answer.status == 503 && answer.body.contains("names"),
        "{answer:?}"
    );
    ensure!(monitor.get("/healthz")?.status == 200);
    ensure!(says(&mut monitor, "no names from the container engine"));
    // Its name is still known.
    web_is_counted(lab, &monitor)?;
    lab.start_dockerd()?;
    is_up(&monitor, 1.0)?;
    ensure!(monitor.get("/readyz")?.status == 200);
    ensure!(says(&mut monitor, "answers, containers have their names"));
    web_is_counted(lab, &monitor)?;
    ensure!(monitor.sum("dockernet_observed_drops_total", "")? > before);
    monitor.stop()?;
    Ok(())
}

/// Its event stream stays open all the while: it is asked.
pub(crate) fn hung_dockerd(lab: &mut Lab) -> Result<()> {
    let monitor = Monitor::start(lab, &[])?;
    is_up(&monitor, 1.0)?;
    lab.signal_dockerd(Signal::SIGSTOP)?;
    // 30 s of silence, and two questions that are not answered.
    let noticed = monitor.wait(
        "the silence is noticed",
        Duration::from_secs(75),
        |samples| sum(samples, "dockernet_docker_up", "") == 0.0,
    );
    let ready = monitor.get("/readyz");
    lab.signal_dockerd(Signal::SIGCONT)?;
    noticed?;
    ensure!(ready?.status == 503);
    is_up(&monitor, 1.0)?;
    web_is_counted(lab, &monitor)?;
    monitor.stop()?;
    Ok(())
}

pub(crate) fn late_dockerd(lab: &mut Lab) -> Result<()> {
    lab.stop_dockerd();
    let monitor = Monitor::start(lab, &[])?;
    is_up(&monitor, 0.0)?;
    ensure!(monitor.get("/readyz")?.status == 503);
    lab.start_dockerd()?;
    is_up(&monitor, 1.0)?;
    web_is_counted(lab, &monitor)?;
    ensure!(monitor.get("/readyz")?.status == 200);
    ensure!(monitor.sum("dockernet_inventory_age_seconds", "")? == 0.0);
    monitor.stop()?;
    Ok(())
}

/// Standard output is a pipe that is full from the start.
pub(crate) fn unread(lab: &mut Lab) -> Result<()> {
    const ADDRESS: &str = "127.0.0.1:9777";
    let (reader, mut writer) = std::io::pipe()?;
    // Bytes that a pipe holds, unless told otherwise (pipe(7)).
    writer.write_all(&vec![b'x'; 65536])?;
    let mut child = Cmd::new(tool_path()?)
        .args(["monitor", "--listen", ADDRESS, "-H"])
        .arg(lab.docker_host())
        .env_remove("DOCKER_HOST")
        .in_netns(lab.host().path())
        .to_command()
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .context("starting monitor")?;
    let get =
        |lab: &Lab, path: &str| http::get(Some(lab.host()), ADDRESS.parse().ok()?, path, "").ok();
    let is_up = wait_until("it is ready", Duration::from_secs(10), || {
        get(lab, "/readyz").filter(|answer| answer.status == 200)
    });
    let counted = is_up.and_then(|_| {
        with_fault(lab, |lab| {
            knock(lab)?;
            wait_until("the drop is counted", Duration::from_secs(5), || {
                let samples = samples(&get(lab, "/metrics")?.body).ok()?;
                (sum(&samples, "dockernet_drops_total", CAUSE) >= 1.0).then_some(())
            })
        })
    });
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    kill(pid, Signal::SIGTERM)?;
    let ended = wait_until("it ends", Duration::from_secs(8), || {
        child.try_wait().transpose()
    });
    if ended.is_err() {
        child.kill()?;
    }
    let status = ended??;
    counted?;
    ensure!(status.success(), "{status}");
    drop(reader);
    Ok(())
}
