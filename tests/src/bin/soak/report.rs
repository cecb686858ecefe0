//! docs/soak.md: what was to hold, what was found.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use dockernet_tests::{
    Cmd, FATES,
    monitor::{self, samples, sum},
};
use serde_json::Value;

use crate::{
    faults::Rotation,
    life::Told,
    slices::{self, mib},
    trend::{median, rise},
    watch::Sample,
};

/// Resident memory may rise by so much over the second half, by the line of least squares, MiB.
const RSS_BOUND: f64 = 1.0;
/// The maps' memory, likewise: maps are made at the start.
const MAPS_BOUND: f64 = 0.1;
/// The longest scrape, seconds: a quarter of the scrapers' usual limit.
const SCRAPE_BOUND: f64 = 2.5;

/// All that was seen.
pub(crate) struct Story {
    pub(crate) machine: String,
    pub(crate) engine: String,
    pub(crate) length: Duration,
    pub(crate) rotation: Rotation,
    pub(crate) samples: Vec<Sample>,
    pub(crate) life: Told,
    /// Kernel objects that it ever held, and what is left of them.
    pub(crate) left: (usize, Vec<String>),
    pub(crate) ledger: Value,
    pub(crate) page: String,
    pub(crate) stderr: String,
}

/// What was to hold, what was found, and whether it did.
struct Row(&'static str, String, bool);

/// Cores, kernel and how busy it is.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let load = read("/proc/loadavg");
    format!(
        "Linux {}, {} cores, load average {} at the start",
        read("/proc/sys/kernel/osrelease").trim(),
        std::thread::available_parallelism().map_or(1, usize::from),
        load.split(' ').next().unwrap_or_default()
    )
}

/// Writes it; gives the text, and whether all is well.
pub(crate) fn write(story: &Story) -> Result<(String, bool)> {
    let rows = rows(story)?;
    let is_well = rows.iter().all(|row| row.2);
    let text = text(story, &rows)?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/soak.md");
    fs::write(&file, &text).with_context(|| format!("writing {}", file.display()))?;
    Ok((text, is_well))
}

fn text(story: &Story, rows: &[Row]) -> Result<String> {
    let date = Cmd::new("date").args(["-u", "+%Y-%m-%d %H:%M"]).run()?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split(' ').take(3).collect();
    let table: String = rows
        .iter()
        .map(|Row(what, found, holds)| {
            let holds = if *holds { "yes" } else { "**no**" };
            format!("| {what} | {found} | {holds} |\n")
        })
        .collect();
    let mut text = format!(
        "# Soak\n\nWritten by `cargo xtask soak --minutes N`: `dockernet-trace monitor` with `nat`, built with optimisations, on a real Docker host in namespaces of its\n\
         own, while containers come and go, faults are made and mended in turn, and the metrics are scraped each 5 s. Its budget is widened to 20 % of\n\
         a core and 256 MiB: with its own it would at times only count.\n\n\
         {} UTC, {:.1} minutes. {}, {} at the end: other programs were at\nwork where it is much above 1. Docker {}.\n\n\
         | what is to hold | what was found | holds |\n|---|---|---|\n{table}\n{}\n\
         Descriptors, threads and the like are the least in each slice: containers that are there at the moment cost some. CPU is of one core, and counts what the\n\
         service does for every container that comes, every fault that it looks into and every scrape.\n",
        date.trim(),
        story.length.as_secs_f64() / 60.0,
        story.machine,
        load.join(" "),
        story.engine,
        slices::table(&story.samples),
    );
    let complaints: Vec<&String> = story
        .rotation
        .complaints
        .iter()
        .chain(&story.life.complaints)
        .chain(&story.left.1)
        .collect();
    if !complaints.is_empty() {
        text.push_str("\n## What did not hold\n\n");
        for complaint in complaints {
            let complaint = complaint.replace('\n', " ");
            text.push_str(&format!(
                "- {}\n",
                complaint.chars().take(600).collect::<String>()
            ));
        }
    }
    Ok(text)
}

fn rows(story: &Story) -> Result<Vec<Row>> {
    let mut rows = memory(&story.samples);
    rows.push(held(&story.samples));
    let (objects, left) = &story.left;
    rows.push(Row(
        "After the end nothing of it is in the kernel, by the ids of all programs, maps and links that it ever held, nor a tc filter or clsact",
        format!("{objects} were held, {} are left", left.len()),
        left.is_empty(),
    ));
    rows.extend(ledger(story)?);
    let storms = &story.rotation.storms;
    rows.push(Row(
        "Storms: what an nft rule dropped is told with its cause, but for what the ledger says is missing",
        format!(
            "{} storms: nft {}, told {}, without detail {}, missed {}",
            storms.number, storms.dropped, storms.told, storms.lost, storms.missed
        ),
        storms.told <= storms.dropped
            && storms.dropped <= storms.told + storms.lost + storms.missed,
    ));
    let rotation = &story.rotation;
    rows.push(Row(
        "Each fault is told with its cause within 20 s, and nothing is told while nothing is broken",
        format!(
            "{} faults of {} kinds told, {:.1} minutes of silence, {} complaints",
            rotation.told,
            rotation.kinds,
            rotation.silence.as_secs_f64() / 60.0,
            rotation.complaints.len()
        ),
        rotation.complaints.is_empty() && rotation.told > 0,
    ));
    rows.push(Row(
        "Everything else is as on a healthy host: connections are answered, containers start",
        format!(
            "{} exchanges answered, {} containers came and went, {} complaints",
            story.life.answered,
            story.life.churned,
            story.life.complaints.len()
        ),
        story.life.complaints.is_empty() && story.life.answered > 0,
    ));
    let longest = story
        .samples
        .iter()
        .map(|sample| sample.scrape.as_secs_f64())
        .fold(0.0, f64::max);
    rows.push(Row(
        "Scrapes are answered within 2.5 s",
        format!(
            "{} scrapes, {:.1} ms in the middle, {:.0} ms the longest, {} samples on the last page",
            story.samples.len(),
            median(
                story
                    .samples
                    .iter()
                    .map(|sample| sample.scrape.as_secs_f64() * 1e3)
            ),
            longest * 1e3,
            story.samples.last().map_or(0, |sample| sample.series)
        ),
        longest < SCRAPE_BOUND,
    ));
    rows.push(Row(
        "It says nothing on standard error",
        format!("{} bytes", story.stderr.len()),
        story.stderr.is_empty(),
    ));
    let (process, kernel) = slices::cpu(&story.samples);
    rows.push(Row(
        "CPU, of one core: written down",
        format!(
            "{:.2} % the process, {:.2} % its kernel half",
            process * 100.0,
            kernel * 100.0
        ),
        process > 0.0,
    ));
    Ok(rows)
}

fn memory(samples: &[Sample]) -> Vec<Row> {
    let half = slices::quarters(samples, 2, 4);
    let line = |of: fn(&Sample) -> u64| {
        let points: Vec<(f64, f64)> = half
            .iter()
            .map(|sample| (sample.at.as_secs_f64(), mib(of(sample))))
            .collect();
        let middle = median(points.iter().map(|point| point.1));
        (rise(&points), middle)
    };
    let (rss, rss_is) = line(|sample| sample.rss);
    let (own, _) = line(|sample| sample.own);
    let (maps, maps_are) = line(|sample| sample.maps);
    let churned = |at: Option<&Sample>| at.map_or(0, |sample| sample.churned);
    let gone = churned(half.last()) - churned(half.first());
    vec![
        Row(
            "Resident memory rises by at most 1 MiB over the second half (line of least squares)",
            format!(
                "{rss:+.2} MiB at {rss_is:.2} MiB ({:+.2} %), of it {own:+.2} MiB heap and stacks, while {gone} containers came and went",
                rss / rss_is * 100.0
            ),
            rss <= RSS_BOUND && rss_is > 0.0,
        ),
        Row(
            "Memory of its maps stays",
            format!("{maps:+.2} MiB at {maps_are:.2} MiB"),
            maps <= MAPS_BOUND && maps_are > 0.0,
        ),
    ]
}

fn held(samples: &[Sample]) -> Row {
    let before = slices::least(slices::quarters(samples, 1, 2));
    let after = slices::least(slices::quarters(samples, 3, 4));
    let grown = after
        .iter()
        .any(|(kind, number)| before.get(kind).is_none_or(|before| number > before));
    let list: Vec<String> = after
        .iter()
        .map(|(kind, number)| format!("{kind} {} → {number}", before.get(kind).unwrap_or(&0)))
        .collect();
    Row(
        "It holds no more in the last quarter than in the second (the least of each)",
        list.join(", "),
        !grown && !after.is_empty(),
    )
}

fn ledger(story: &Story) -> Result<Vec<Row>> {
    let of = |key: &str| {
        story.ledger[key]
            .as_u64()
            .with_context(|| format!("no {key} in the ledger"))
    };
    let mut all = 0;
    let mut told = Vec::new();
    for part in FATES {
        all += of(part)?;
        told.push(format!("{} {part}", of(part)?));
    }
    let observed = of("observed")?;
    let page = samples(&story.page)?;
    let on_page: f64 = monitor::FATES.iter().map(|name| sum(&page, name, "")).sum();
    let observed_on_page = sum(&page, "dockernet_observed_drops_total", "");
    Ok(vec![
        Row(
            "The ledger balances",
            format!("{observed} = {}", told.join(" + ")),
            observed == all && observed > 0,
        ),
        Row(
            "The last page of metrics holds the same",
            format!("{observed_on_page} = {on_page} in its seven families"),
            observed_on_page == on_page && story.ledger["observed"].as_f64() == Some(on_page),
        ),
    ])
}
