//! The wall clock steps by days, the service is stopped for a while, the machine sleeps: its numbers and its lines go on as if nothing had
//! happened.
//!
//! It sets the machine's clock, so it runs where that is nobody else's: in a guest (`cargo xtask test --kernels … -- clock`).

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dockernet_tests::{
    Engine, Lab, LabOptions, Place, Run, knock,
    monitor::{Monitor, configuration, sum},
    wait_until,
};
use jiff::Timestamp;
use nix::{
    sys::{signal::Signal, time::TimeSpec},
    time::{ClockId, clock_gettime, clock_settime},
};
use serde_json::Value;

/// The key that is turned off, and what that is called.
const FORWARDING: &str = "net/ipv4/conf/eth0/forwarding";
const CAUSE: &str = "interface-forwarding-disabled";

const DAY: i64 = 86_400;
/// For each thing that is waited for.
const LIMIT: Duration = Duration::from_secs(30);
/// Longer than anything here takes, shorter than any step.
const HOURS: f64 = 3.0 * 3600.0;

#[test]
fn steps_of_the_clock_a_long_stop_and_sleep() -> Result<()> {
    ensure!(
        std::env::var_os("DOCKERNET_TEST_CLOCK").is_some_and(|value| value == "1"),
        "this test sets the machine's clock: run it in a guest (cargo xtask test --kernels 6.12 -- clock)"
    );
    let mut lab = Lab::start(&Engine::newest()?, &LabOptions::default())?;
    lab.run(
        &Run::new("web", "httpd -f -p 80 -h /www")
            .publish("10001:80")
            .wait_port("80/tcp"),
    )?;
    let config = configuration(
        lab.folder(),
        "[diagnosis]\nclear_after = \"15s\"\nlines = 100\n",
    )?;
    let monitor = Monitor::start(&lab, &["--config", &config])?;
    episode(&mut lab, &monitor, (1, "before anything"), |_| Ok(()))?;
    episode(&mut lab, &monitor, (2, "a day ahead"), |_| step(DAY))?;
    episode(&mut lab, &monitor, (3, "three days back"), |_| {
        step(-3 * DAY)
    })?;
    episode(&mut lab, &monitor, (4, "two days ahead again"), |_| {
        step(2 * DAY)
    })?;
    episode(&mut lab, &monitor, (5, "stopped for a while"), |monitor| {
        monitor.tracer.signal(Signal::SIGSTOP)?;
        thread::sleep(Duration::from_secs(10));
        monitor.tracer.signal(Signal::SIGCONT)
    })?;
    if can_sleep() {
        episode(&mut lab, &monitor, (6, "asleep"), |_| sleep())?;
    } else {
        println!("  this kernel cannot sleep (6.12-generic can)");
    }
    for page in ["/healthz", "/readyz"] {
        let answer = monitor.get(page)?;
        ensure!(answer.status == 200, "{page}: {answer:?}");
    }
    let finished = monitor.stop()?;
    let ledger = finished.ledger()?;
    let seconds = ledger["seconds"].as_f64().unwrap_or(f64::MAX);
    // Two packets of each episode.
    let shown = ledger["shown"].as_u64().unwrap_or(0);
    ensure!(
        ledger["lost"] == 0 && shown >= 10 && seconds < HOURS,
        "{ledger}"
    );
    Ok(())
}

/// Something happens while a fault lasts: packets before it and after it are counted, and one diagnosis holds them all.
fn episode(
    lab: &mut Lab,
    monitor: &Monitor,
    (number, what): (usize, &'static str),
    happens: impl FnOnce(&Monitor) -> Result<()>,
) -> Result<()> {
    let counted = monitor.sum("dockernet_drops_total", CAUSE)?;
    lab.sysctl(&Place::Host, FORWARDING, "0")?;
    let mut knocks = 0.0;
    let mut knock_until_counted = |lab: &Lab, monitor: &Monitor| -> Result<()> {
        knock(lab)?;
        knocks += 1.0;
        monitor.wait(what, LIMIT, |samples| {
            sum(samples, "dockernet_drops_total", CAUSE) >= counted + knocks
        })
    };
    knock_until_counted(lab, monitor)?;
    let began = told(monitor, "began", number).context(what)?;
    happens(monitor).context(what)?;
    knock_until_counted(lab, monitor)?;
    lab.restore_sysctls();
    let ended = told(monitor, "ended", number).context(what)?;
    let seconds = ended["seconds"].as_f64().unwrap_or(f64::MAX);
    ensure!(seconds < HOURS, "{what}: it lasted {seconds} s: {ended}");
    // Both packets are of one episode, whatever the clock did between them.
    ensure!(
        ended["packets"].as_f64() >= Some(2.0),
        "{what}: {ended}, which began as {began}"
    );
    // The line has the time of now.
    let time: Timestamp = ended["time"].as_str().unwrap_or_default().parse()?;
    let now = Timestamp::now();
    let apart = now.duration_since(time).abs().as_secs_f64();
    ensure!(apart < HOURS, "{what}: a line of {time}, and it is {now}");
    Ok(())
}

/// The line about the so-many-th diagnosis.
fn told(monitor: &Monitor, state: &str, number: usize) -> Result<Value> {
    let of_it = |line: &Value| {
        line["type"] == "diagnosis" && line["state"] == state && line["cause"]["id"] == CAUSE
    };
    wait_until(&format!("diagnosis {number} {state}"), LIMIT, || {
        let lines = monitor.tracer.lines();
        lines.into_iter().filter(of_it).nth(number - 1)
    })
}

/// Whether the kernel can let the machine sleep with its memory alone awake (S3).
fn can_sleep() -> bool {
    let states = fs::read_to_string("/sys/power/state").unwrap_or_default();
    states.split_whitespace().any(|state| state == "mem")
}

/// Lets the machine sleep until its real-time clock wakes it.
fn sleep() -> Result<()> {
    const SECONDS: i64 = 20;
    let awake = || -> Result<TimeSpec> {
        // One stands still meanwhile, the other does not.
        Ok(clock_gettime(ClockId::CLOCK_BOOTTIME)? - clock_gettime(ClockId::CLOCK_MONOTONIC)?)
    };
    let before = awake()?;
    for (file, word) in [
        ("/sys/power/mem_sleep", "deep".to_owned()),
        ("/sys/class/rtc/rtc0/wakealarm", format!("+{SECONDS}")),
        ("/sys/power/state", "mem".to_owned()),
    ] {
        fs::write(file, &word).with_context(|| format!("writing {word} to {file}"))?;
    }
    let slept = awake()? - before;
    ensure!(
        slept.tv_sec() > SECONDS / 2,
        "it slept {slept}, not some {SECONDS} s"
    );
    Ok(())
}

/// Sets the machine's clock.
fn step(seconds: i64) -> Result<()> {
    let now = clock_gettime(ClockId::CLOCK_REALTIME)?;
    let then = TimeSpec::new(now.tv_sec() + seconds, now.tv_nsec());
    clock_settime(ClockId::CLOCK_REALTIME, then).context("setting the machine's clock")
}
