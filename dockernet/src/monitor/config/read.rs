//! The file. A key that is not known only warns: the file of a newer version still works.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use toml::Table;

use super::{
    Config,
    table::{Section, list, number, parsed, switch, text, time},
};
use crate::cli::{
    Ignore, Usage,
    flight::Flight,
    options::{JournalWhen, Scope},
};

/// Reads a file over the defaults. Also: what it holds that is not known.
pub(super) fn file(path: &Path, causes: &[&str]) -> Result<(Config, Vec<String>)> {
    let content =
        fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    text_of(path, &content, causes)
}

pub(super) fn text_of(
    path: &Path,
    content: &str,
    causes: &[&str],
) -> Result<(Config, Vec<String>)> {
    let bad = |problem: String| Usage(format!("{}: {problem}", path.display()));
    let table: Table = content
        .parse()
        .map_err(|error: toml::de::Error| bad(syntax(&error, content)))?;
    let (config, warnings) = config(table, causes).map_err(bad)?;
    let config = Config {
        file: Some(path.to_owned()),
        ..config
    };
    let warnings = warnings
        .into_iter()
        .map(|warning| format!("{}: {warning}; it is left out", path.display()))
        .collect();
    Ok((config, warnings))
}

/// `line 3: what is wrong there`.
fn syntax(error: &toml::de::Error, content: &str) -> String {
    let line = error
        .span()
        .and_then(|span| content.get(..span.start))
        .map_or(1, |before| before.matches('\n').count() + 1);
    format!("line {line}: {}", error.message())
}

pub(super) fn config(table: Table, causes: &[&str]) -> Result<(Config, Vec<String>), String> {
    let mut config = Config::default();
    let mut root = Section::root(table);
    root.set("listen", &mut config.listen, parsed(str::parse))?;
    root.set("textfile", &mut config.textfile, path)?;
    root.set("textfile_every", &mut config.textfile_every, time)?;
    root.set("state", &mut config.state, path)?;
    root.set(
        "journal",
        &mut config.journal,
        parsed(|text| {
            JournalWhen::from_str(text, false)
                .map_err(|_| "expected auto, always or never".to_owned())
        }),
    )?;
    root.set("docker_host", &mut config.docker_host, |value| {
        text(value).map(Some)
    })?;
    root.set("netns", &mut config.netns, path)?;
    root.set(
        "scope",
        &mut config.scope,
        parsed(|text| {
            Scope::from_str(text, false).map_err(|_| "expected containers, host or all".to_owned())
        }),
    )?;
    root.set(
        "ignore",
        &mut config.ignore,
        list(|text| ignore(text, causes)),
    )?;
    root.set("nat", &mut config.nat, switch)?;
    let mut limits = root.section("limits")?;
    let of = &mut config.limits;
    limits.set("containers", &mut of.containers, |value| {
        number(1, 10_000)(value).map(|number| number as usize)
    })?;
    limits.set("series", &mut of.series, |value| {
        number(100, 100_000)(value).map(|number| number as usize)
    })?;
    limits.set("keep", &mut of.keep, time)?;
    let mut diagnosis = root.section("diagnosis")?;
    let of = &mut config.diagnosis;
    diagnosis.set("clear_after", &mut of.clear_after, time)?;
    diagnosis.set("lines", &mut of.lines, number(1, 3600))?;
    let mut budget = root.section("budget")?;
    let of = &mut config.budget;
    budget.set("cpu", &mut of.cpu, parsed(percent))?;
    budget.set("memory", &mut of.memory, parsed(bytes))?;
    let mut flight = root.section("flight")?;
    config.flight = recorder(&mut flight)?;
    let warnings = [&root, &limits, &diagnosis, &budget, &flight]
        .iter()
        .flat_map(|section| section.unknown())
        .collect();
    Ok((config, warnings))
}

/// The flight recorder, if it has a directory.
fn recorder(section: &mut Section) -> Result<Option<Flight>, String> {
    let directory = section.take("directory", path)?.flatten();
    let is_there = directory.is_some();
    let mut flight = Flight::to(directory.unwrap_or_default());
    let default = flight.clone();
    section.set("time", &mut flight.time, time)?;
    section.set("keep", &mut flight.keep, number(1, 10_000))?;
    section.set("payload", &mut flight.payload, switch)?;
    if !is_there {
        return if flight == default {
            Ok(None)
        } else {
            Err(
                "flight.directory: expected where the flight recorder's files are to be written"
                    .to_owned(),
            )
        };
    }
    flight
        .check()
        .map_err(|problem| format!("flight: {problem}"))?;
    Ok(Some(flight))
}

fn path(value: toml::Value) -> Result<Option<PathBuf>, String> {
    text(value).and_then(|text| {
        let path = PathBuf::from(&text);
        if path.is_absolute() {
            Ok(Some(path))
        } else {
            Err(format!("'{text}': expected a path that begins with /"))
        }
    })
}

fn ignore(text: &str, causes: &[&str]) -> Result<Ignore, String> {
    let ignore: Ignore = text.parse()?;
    let known: Vec<&str> = causes.iter().copied().chain(["unexplained"]).collect();
    ignore.check_causes(&known).map_err(|usage| {
        // It speaks of the command line's option.
        let option = format!("--ignore {text}: ");
        usage.0.strip_prefix(&option).unwrap_or(&usage.0).to_owned()
    })?;
    Ok(ignore)
}

fn percent(text: &str) -> Result<f64, String> {
    text.trim()
        .strip_suffix('%')
        .and_then(|number| number.trim().parse::<f64>().ok())
        .filter(|number| (0.01..=10_000.0).contains(number))
        .map(|number| number / 100.0)
        .ok_or_else(|| "expected percents of one core, such as 1%".to_owned())
}

fn bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    units
        .into_iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)))
        .and_then(|(number, shift)| number.trim().parse::<u64>().ok()?.checked_mul(1 << shift))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "expected a size such as 64MiB".to_owned())
}
