//! What reads the metrics.

use std::{io::Write as _, net::TcpStream, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dockernet_tests::{
    Cmd, Lab, knock,
    monitor::{Monitor, configuration},
    prometheus::{Prometheus, promtool, shipped},
    wait_until,
};

use super::{CAUSE, HASTY, with_fault};

pub(crate) fn promtool_is_content(lab: &mut Lab) -> Result<()> {
    let monitor = Monitor::start(lab, &[])?;
    with_fault(lab, |lab| {
        knock(lab)?;
        monitor.wait("the drop is counted", Duration::from_secs(5), |samples| {
            dockernet_tests::monitor::sum(samples, "dockernet_drops_total", CAUSE) >= 1.0
        })
    })?;
    promtool(&["check", "metrics"], &monitor.page()?)?;
    let answer = monitor.open_metrics()?;
    ensure!(
        answer
            .head
            .contains("application/openmetrics-text; version=1.0.0"),
        "{}",
        answer.head
    );
    let line = answer
        .body
        .lines()
        .find(|line| line.starts_with("dockernet_drops_total") && line.contains(CAUSE))
        .unwrap_or_default();
    ensure!(
        line.contains("container=\"web\",network=\"bridge\"")
            && line.contains(" # {")
            && line.contains("dst=\"172.17.0.2:80\"") | line.contains(":10001\""),
        "no exemplar: {line}"
    );
    ensure!(
        answer.body.ends_with("# EOF\n"),
        "OpenMetrics without its end"
    );
    for (path, status) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/", 200),
        ("/nothing", 404),
    ] {
        let answer = monitor.get(path)?;
        ensure!(answer.status == status, "{path}: {answer:?}");
    }
    let mut rules = tempfile_named("alerts.yml")?;
    rules
        .1
        .write_all(shipped("dist/prometheus/alerts.yml")?.as_bytes())?;
    let path = rules.0.path().join("alerts.yml").display().to_string();
    promtool(&["check", "rules", &path], "")?;
    monitor.stop()?;
    each_alert()
}

/// When each of the rules fires, and when it does not: promtool's own tests of rules.
fn each_alert() -> Result<()> {
    const TESTS: &str = "tests/alerts/alerts.test.yml";
    let tests = shipped(TESTS)?;
    let rules = shipped("dist/prometheus/alerts.yml")?;
    for name in rules
        .lines()
        .filter_map(|line| line.split("- alert: ").nth(1))
    {
        ensure!(
            tests.contains(&format!("alertname: {name}\n")),
            "{TESTS} has no test in which {name} fires"
        );
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/alerts/alerts.test.yml");
    promtool(&["test", "rules", file], "")
}

fn tempfile_named(name: &str) -> Result<(tempfile::TempDir, std::fs::File)> {
    let folder = tempfile::tempdir()?;
    let file = std::fs::File::create(folder.path().join(name))?;
    Ok((folder, file))
}

/// The rules as shipped, but that they do not wait.
fn hasty_rules() -> Result<String> {
    let rules: Vec<String> = shipped("dist/prometheus/alerts.yml")?
        .lines()
        .map(|line| match line.split_once("for: ") {
            Some((before, _)) => format!("{before}for: 1s"),
            None => line.to_owned(),
        })
        .collect();
    Ok(rules.join("\n"))
}

pub(crate) fn alert(lab: &mut Lab) -> Result<()> {
    let config = configuration(lab.folder(), HASTY)?;
    let mut monitor = Monitor::start(lab, &["--config", &config])?;
    let prometheus = Prometheus::start(Some(lab.host()), &[monitor.address], &hasty_rules()?)?;
    let is_firing = || {
        prometheus.firing().ok().map(|alerts| {
            alerts.iter().any(|labels| {
                labels["alertname"] == "DockernetContainerDrops"
                    && labels["container"] == "web"
                    && labels["cause"] == CAUSE
            })
        })
    };
    wait_until("prometheus has scraped", Duration::from_secs(10), || {
        (!prometheus.query("dockernet_build_info").ok()?.is_empty()).then_some(())
    })?;
    ensure!(is_firing() == Some(false), "an alert on a healthy host");
    with_fault(lab, |lab| {
        wait_until("the alert fires", Duration::from_secs(20), || {
            knock(lab).ok()?;
            (is_firing()?).then_some(())
        })
    })?;
    wait_until("the alert clears", Duration::from_secs(20), || {
        (!is_firing()?).then_some(())
    })?;
    let told = prometheus.query("sum by (container) (dockernet_drops_total)")?;
    ensure!(
        told.iter()
            .any(|(labels, value)| labels["container"] == "web" && *value >= 1.0),
        "prometheus has no drops of web: {told:?}"
    );
    dashboard(&prometheus, &monitor.page()?)?;
    let began = monitor.diagnosis("began", CAUSE, Duration::from_secs(1));
    let ended = monitor.diagnosis("ended", CAUSE, Duration::from_secs(5));
    let (Some(began), Some(ended)) = (began, ended) else {
        anyhow::bail!("lines are missing: {:?}", monitor.tracer.lines());
    };
    ensure!(began["container"]["name"] == "web", "{began}");
    ensure!(
        began["cause"]["fix"][0]["run"]
            .as_str()
            .is_some_and(|run| run.contains("eth0/forwarding=1")),
        "{began}"
    );
    let counted = monitor.sum("dockernet_drops_total", CAUSE)?;
    ensure!(
        ended["packets"].as_f64() == Some(counted),
        "the end tells other packets than the {counted} counted: {ended}"
    );
    monitor.stop()?;
    Ok(())
}

/// Every question of the shipped dashboard is one that Prometheus understands, about metrics that there are.
fn dashboard(prometheus: &Prometheus, page: &str) -> Result<()> {
    let dashboard: serde_json::Value =
        serde_json::from_str(&shipped("dist/grafana/dockernet.json")?)?;
    let mut questions = 0;
    for target in dashboard["panels"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten()
    {
        let question = target["expr"].as_str().unwrap_or_default();
        let question = question
            .replace("$instance", ".*")
            .replace("$container", ".*")
            .replace("$__rate_interval", "1m");
        prometheus
            .query(&question)
            .with_context(|| question.clone())?;
        questions += 1;
        known(&question, page)?;
    }
    ensure!(questions >= 10, "the dashboard asks {questions} questions");
    for file in [
        "dist/prometheus/alerts.yml",
        "docs/monitoring.md",
        "docs/metrics.md",
    ] {
        known(&shipped(file)?, page).context(file)?;
    }
    Ok(())
}

/// Whether all metrics that a text names are on the page.
fn known(text: &str, page: &str) -> Result<()> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for name in words.filter(|word| word.starts_with("dockernet_") && *word != "dockernet_") {
        ensure!(
            page.contains(&format!("# TYPE {name} ")),
            "there is no metric {name}"
        );
    }
    Ok(())
}

/// Clients that connect and say nothing, or read nothing, hold up neither others nor the tracing.
pub(crate) fn slow(lab: &mut Lab) -> Result<()> {
    let monitor = Monitor::start(lab, &[])?;
    let address = monitor.address;
    let mut held = lab.host().within(|| {
        (0..40)
            .map(|_| Ok(TcpStream::connect(address)?))
            .collect::<Result<Vec<_>>>()
    })?;
    for (index, stream) in held.iter_mut().enumerate() {
        // Some begin a request, some never read the answer.
        let text: &[u8] = if index % 2 == 0 {
            b"GET /metrics HTT"
        } else {
            b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
        };
        stream.write_all(text).ok();
    }
    with_fault(lab, knock)?;
    monitor.wait("others are served", Duration::from_secs(9), |samples| {
        dockernet_tests::monitor::sum(samples, "dockernet_drops_total", CAUSE) >= 1.0
    })?;
    ensure!(monitor.get("/healthz")?.status == 200);
    drop(held);
    monitor.stop()?;
    Ok(())
}

pub(crate) fn textfile(lab: &mut Lab) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("dockernet.prom");
    let path = file.display().to_string();
    let config = configuration(
        lab.folder(),
        &format!("textfile = \"{path}\"\ntextfile_every = \"500ms\"\n"),
    )?;
    let monitor = Monitor::start(lab, &["--config", &config])?;
    let read = || std::fs::read_to_string(&file).ok();
    wait_until("it is written", Duration::from_secs(5), read)?;
    let page = read().unwrap_or_default();
    promtool(&["check", "metrics"], &page)?;
    ensure!(!page.contains("process_"), "node_exporter has these itself");
    // Its folder is away, and comes back: that is told once, and nothing else happens.
    std::fs::remove_dir_all(folder.path())?;
    std::thread::sleep(Duration::from_secs(2));
    ensure!(monitor.get("/healthz")?.status == 200);
    let told = |monitor: &Monitor| {
        monitor
            .tracer
            .lines()
            .iter()
            .filter(|line| {
                line["text"]
                    .as_str()
                    .is_some_and(|text| text.contains(&path))
            })
            .count()
    };
    ensure!(told(&monitor) == 1, "{:?}", monitor.tracer.lines());
    std::fs::create_dir_all(folder.path())?;
    wait_until("it is written again", Duration::from_secs(5), read)?;
    // Another one: what the first says would stand for ever.
    let other = folder.path().join("other.prom");
    configuration(
        lab.folder(),
        &format!(
            "textfile = \"{}\"\ntextfile_every = \"500ms\"\n",
            other.display()
        ),
    )?;
    monitor.tracer.signal(nix::sys::signal::Signal::SIGHUP)?;
    wait_until("the other one stands alone", Duration::from_secs(5), || {
        (other.exists() && !file.exists()).then_some(())
    })?;
    std::thread::sleep(Duration::from_secs(1));
    ensure!(!file.exists(), "the first one is written again");
    monitor.stop()?;
    Ok(())
}

/// A small file system of a test's own; gone with it.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(size: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let size = format!("size={size}");
        Cmd::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder.path())
            .run()?;
        Ok(Self(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Cmd::new("umount").arg(self.0.path()).run().ok();
    }
}

/// The numbers that are there stay whole while the disk is full, and go on when there is room.
pub(crate) fn full_disk(lab: &mut Lab) -> Result<()> {
    let disk = Disk::mount("256k")?;
    let file = disk.0.path().join("dockernet.prom");
    let ballast = disk.0.path().join("ballast");
    let config = configuration(
        lab.folder(),
        &format!(
            "textfile = \"{}\"\ntextfile_every = \"500ms\"\n",
            file.display()
        ),
    )?;
    let monitor = Monitor::start(lab, &["--config", &config])?;
    let counts = || {
        let page = std::fs::read_to_string(&file).ok()?;
        let samples = dockernet_tests::monitor::samples(&page).ok()?;
        let drops = dockernet_tests::monitor::sum(&samples, "dockernet_drops_total", CAUSE);
        page.ends_with('\n').then_some(drops)
    };
    let before = wait_until("it is written", Duration::from_secs(5), counts)?;
    let filled = std::fs::write(&ballast, vec![0; 1 << 20]);
    ensure!(filled.is_err(), "the disk is not full");
    with_fault(lab, knock)?;
    let told = || {
        let lines = monitor.tracer.lines();
        let is_told = |line: &serde_json::Value| {
            line["text"]
                .as_str()
                .is_some_and(|text| text.contains("No space left on device"))
        };
        lines.iter().any(is_told).then_some(())
    };
    wait_until("a full disk is told", Duration::from_secs(5), told)?;
    ensure!(counts() == Some(before), "a page that is not whole");
    std::fs::remove_file(&ballast)?;
    wait_until("it goes on", Duration::from_secs(5), || {
        counts().filter(|drops| *drops > before)
    })?;
    monitor.stop()?;
    Ok(())
}
