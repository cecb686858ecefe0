//! Its numbers against nft's.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use dockernet_tests::{
    CountedDrop, HOST_IP, INTERNET_IP, Lab, Place, Run,
    monitor::{FATES, Monitor, Sample, configuration, samples, sum},
    progress,
    traffic::{Flood, Probe, flood},
};

/// What the rule has dropped, as the page's numbers are; it is taken away.
pub(crate) fn dropped(lab: &Lab, rule: CountedDrop) -> Result<f64> {
    let packets = rule.packets(lab)?;
    CountedDrop::remove(lab)?;
    Ok(u32::try_from(packets)?.into())
}

/// Datagrams to `target`, which the rule drops.
pub(crate) fn send(lab: &Lab, count: u64) -> Result<u64> {
    flood(
        lab.outside(),
        Flood {
            to: format!("{HOST_IP}:10004").parse()?,
            count,
            threads: 2,
            size: 22,
            limit: Duration::from_secs(60),
        },
    )
}

/// Ends it and demands that everything the kernel counted is in one metric or another: on the last page, as while it runs other
/// drops of the machine are always on their way.
fn balance(monitor: Monitor, page: &Path) -> Result<Vec<Sample>> {
    let finished = monitor.stop()?;
    let text = std::fs::read_to_string(page)?;
    let samples = samples(&text)?;
    let all: f64 = FATES.iter().map(|name| sum(&samples, name, "")).sum();
    let observed = sum(&samples, "dockernet_observed_drops_total", "");
    ensure!(
        observed > 0.0 && observed == all,
        "{observed} observed, {all} told:\n{text}"
    );
    let ledger = finished.ledger()?;
    ensure!(
        ledger["observed"].as_f64() == Some(observed),
        "{observed} on the page: {ledger}"
    );
    let shown = sum(&samples, "dockernet_drops_total", "");
    ensure!(
        ledger["shown"].as_f64() == Some(shown),
        "{shown} on the page: {ledger}"
    );
    Ok(samples)
}

pub(crate) fn storm(lab: &mut Lab) -> Result<()> {
    let rule = CountedDrop::make(lab, "forward", 5000)?;
    let folder = tempfile::tempdir()?;
    let page = folder.path().join("last.prom");
    let monitor = Monitor::start(lab, &["--textfile", &page.display().to_string()])?;
    send(lab, 600_000)?;
    // What is on its way comes, and is judged while the rule is there; if not all of it does, that is said below.
    let sent = f64::from(u32::try_from(rule.packets(lab)?)?);
    let all = Duration::from_secs(10);
    let _ = monitor.wait("every drop is on the page", all, |samples| {
        sum(samples, "dockernet_drops_total", "container=\"target\"") >= sent
    });
    let scraped = monitor.sum("dockernet_drops_total", "container=\"target\"")?;
    let truth = dropped(lab, rule)?;
    let samples = balance(monitor, &page)?;
    let told = sum(&samples, "dockernet_drops_total", "container=\"target\"");
    let lost = sum(&samples, "dockernet_unattributed_drops_total", "");
    let missed = sum(&samples, "dockernet_missed_drops_total", "");
    progress(&format!(
        "nft {truth} = {told} of target ({scraped} scraped before the end) + {lost} unattributed + {missed} missed"
    ));
    ensure!(
        scraped == told,
        "{scraped} scraped before the end, {told} in the end"
    );
    ensure!(truth >= 500_000.0, "the rule dropped {truth} only");
    ensure!(
        told <= truth && truth <= told + lost + missed,
        "{samples:?}"
    );
    // Nothing else was dropped for a cause.
    let cause = sum(
        &samples,
        "dockernet_drops_total",
        "cause=\"foreign-table-drop\"",
    );
    ensure!(
        cause == told,
        "{cause} drops have the rule's cause, {told} are of target"
    );
    let bytes = sum(
        &samples,
        "dockernet_drop_bytes_total",
        "container=\"target\"",
    );
    // 20 bytes of IP, 8 of UDP, 22 of payload.
    ensure!(bytes == told * 50.0, "{bytes} bytes for {told} packets");
    Ok(())
}

/// Over its budget it only counts, says so, and the numbers stay exact.
pub(crate) fn over_budget(lab: &mut Lab) -> Result<()> {
    // A budget that a start alone exceeds.
    let config = configuration(
        lab.folder(),
        "[budget]\ncpu = \"100%\"\nmemory = \"1MiB\"\n",
    )?;
    let rule = CountedDrop::make(lab, "forward", 5000)?;
    let folder = tempfile::tempdir()?;
    let page = folder.path().join("last.prom");
    let textfile = page.display().to_string();
    let mut monitor = Monitor::start(lab, &["--config", &config, "--textfile", &textfile])?;
    let line = monitor.tracer.wait_for(Duration::from_secs(40), |line| {
        line["text"]
            .as_str()
            .is_some_and(|text| text.starts_with("over its budget"))
    });
    ensure!(
        line.is_some(),
        "it does not say that it costs too much: {:?}",
        monitor.tracer.lines()
    );
    monitor.wait("the gauge tells", Duration::from_secs(5), |samples| {
        sum(samples, "dockernet_detail_enabled", "") == 0.0
    })?;
    send(lab, 100_000)?;
    let truth = dropped(lab, rule)?;
    monitor.wait("all are counted", Duration::from_secs(20), |samples| {
        let told = sum(samples, "dockernet_drops_total", "container=\"target\"");
        told + sum(samples, "dockernet_missed_drops_total", "") >= truth
    })?;
    let told = monitor.sum("dockernet_drops_total", "container=\"target\"")?;
    progress(&format!(
        "nft {truth}, {told} of target, with one sample of each CPU"
    ));
    ensure!(told <= truth, "{told} of {truth}");
    // More than enough again: it recovers, a minute later at the earliest.
    configuration(
        lab.folder(),
        "[budget]\ncpu = \"100%\"\nmemory = \"1GiB\"\n",
    )?;
    monitor.tracer.signal(nix::sys::signal::Signal::SIGHUP)?;
    let line = monitor.tracer.wait_for(Duration::from_secs(90), |line| {
        line["text"]
            .as_str()
            .is_some_and(|text| text.starts_with("within its budget"))
    });
    ensure!(
        line.is_some(),
        "it does not recover: {:?}",
        monitor.tracer.lines()
    );
    balance(monitor, &page)?;
    Ok(())
}

/// A failure that drops nothing is a diagnosis too, and stands in no sum of drops.
pub(crate) fn finding(lab: &mut Lab) -> Result<()> {
    const CAUSE: &str = "container-no-default-route";
    let config = configuration(lab.folder(), super::HASTY)?;
    let mut monitor = Monitor::start(lab, &["--config", &config])?;
    lab.run(&Run::new("till", "sleep 1000"))?;
    let till = Place::Container("till".into());
    let output = lab.shell(&till, "ip route del default")?;
    ensure!(output.success(), "{output:?}");
    let probe = || Probe::tcp(format!("{INTERNET_IP}:80").parse()?).send(&lab.netns(&till)?);
    // The first reading of its counters is what later ones are compared with: when that was shows by what is counted. The next line, which
    // stands for all that has happened since, comes 30 s later, and as much as 10 s more where a reading takes long.
    monitor.wait("one is counted", Duration::from_secs(15), |samples| {
        probe().is_ok() && sum(samples, "dockernet_findings_total", "container=\"till\"") >= 1.0
    })?;
    let before = monitor.sum("dockernet_findings_total", "container=\"till\"")?;
    for _ in 0..3 {
        probe()?;
    }
    let began = monitor.diagnosis("began", CAUSE, Duration::from_secs(10));
    ensure!(
        began.is_some_and(|line| line["container"]["name"] == "till"),
        "{:?}",
        monitor.tracer.lines()
    );
    monitor.wait(
        "its events are counted",
        Duration::from_secs(50),
        |samples| sum(samples, "dockernet_findings_total", "container=\"till\"") >= before + 3.0,
    )?;
    ensure!(
        monitor.sum("dockernet_drops_total", CAUSE)? == 0.0,
        "{}",
        monitor.page()?
    );
    let ended = monitor.diagnosis("ended", CAUSE, Duration::from_secs(15));
    ensure!(ended.is_some(), "{:?}", monitor.tracer.lines());
    lab.docker(["rm", "-f", "till"])?;
    monitor.stop()?;
    Ok(())
}
