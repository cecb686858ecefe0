//! Judging the tool's lines.

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::model::{Expect, Scenario};
use crate::{lab::Lab, tracer::Finished};

/// Demands silence: no `drop` line at all, and no `finding`.
///
/// # Errors
/// There is one.
pub fn quiet(finished: &Finished) -> Result<()> {
    let told: Vec<String> = failures(finished).map(short).collect();
    ensure!(
        told.is_empty(),
        "nothing is wrong, yet the tool says:\n{}",
        told.join("\n")
    );
    Ok(())
}

/// All that the tool says went wrong.
fn failures(finished: &Finished) -> impl Iterator<Item = &Value> {
    finished.drops().chain(finished.of_type("finding"))
}

/// Demands a `drop` or `finding` line that fits, and no other cause, however sure.
///
/// # Errors
/// What is missing or too much; the message holds the lines that there are.
pub fn check(lab: &Lab, expect: &Expect, finished: &Finished) -> Result<()> {
    let mut expect = expect.clone();
    if let Some(device) = &mut expect.device {
        *device = lab.expand(device)?;
    }
    if lab.engine().legacy {
        expect = expect.on_legacy();
    }
    let mut fitting = 0;
    let mut complaints = Vec::new();
    let kind = if expect.finding { "finding" } else { "drop" };
    for line in failures(finished) {
        let why = if line["type"] == kind {
            misfit(&expect, line)
        } else {
            Some(format!("is no {kind}"))
        };
        match why {
            None => fitting += line["count"].as_u64().unwrap_or(0),
            Some(why) => complaints.push(format!("{} — {why}", short(line))),
        }
        let id = line["cause"]["id"].as_str().unwrap_or_default();
        let accepted = expect.cause.iter().chain(&expect.also).any(|c| c == id);
        if id != "unexplained" && !accepted {
            bail!("a wrong cause is named: {line}");
        }
    }
    let wanted = expect.min_count.unwrap_or(1);
    ensure!(
        fitting >= wanted,
        "{fitting} packets or events are explained as expected ({wanted} wanted); other lines:\n{}\nledger {:?}",
        complaints.join("\n"),
        finished.ledger()?
    );
    Ok(())
}

/// Demands a journey that ends with the expected drop, at a hop of the namespace that it died in.
///
/// # Errors
/// There is none, or one that ends with a drop elsewhere.
pub fn ends_there(scenario: &Scenario, finished: &Finished) -> Result<()> {
    let causes = &scenario.expect.cause;
    let mut fitting = 0;
    let mut told = Vec::new();
    for journey in finished.of_type("journey") {
        let hops: Vec<String> = journey["hops"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|hop| format!("{} {} in {}", hop["device"], hop["direction"], hop["netns"]))
            .collect();
        let drop = &journey["drop"];
        told.push(format!(
            "{} {}: {} ({}) by {hops:?}",
            journey["way"], journey["packet"]["protocol"], journey["sentence"], drop["netns"]
        ));
        if journey["end"] != "dropped" {
            continue;
        }
        // What its own sender's namespace drops has been at no device. A bridge that floods a packet makes copies of it, and one
        // of them may be seen elsewhere after another has died.
        let hops = journey["hops"].as_array();
        let at = |hop: &Value| hop["netns"]["inum"] == drop["netns"]["inum"];
        let is_there = hops.is_none_or(|hops| hops.is_empty() || hops.iter().any(at));
        ensure!(
            is_there,
            "a journey ends with a drop that happened elsewhere: {journey}"
        );
        let id = drop["cause"]["id"].as_str().unwrap_or_default();
        fitting += u32::from(causes.iter().any(|cause| cause == id));
    }
    ensure!(
        fitting > 0,
        "no journey ends with {causes:?}:\n{}\nledger {:?}",
        told.join("\n"),
        finished.ledger()?
    );
    Ok(())
}

/// Why a line is not the expected one.
fn misfit(expect: &Expect, line: &Value) -> Option<String> {
    let cause = &line["cause"];
    let confidence = expect.confidence.as_deref().unwrap_or("confirmed");
    let confident = cause["confidence"] == "confirmed" || cause["confidence"] == *confidence;
    let fixes = cause["fix"].to_string();
    let evidence = cause["evidence"].to_string();
    let began = expect.began.as_ref().map(|what| format!(" s after {what}"));
    let checks = [
        (among(&expect.cause, &cause["id"]), "cause.id"),
        (confident, "cause.confidence"),
        (among(&expect.reason, &line["reason"]), "reason"),
        (among(&expect.hook, &line["hook"]), "hook"),
        (end(&expect.source, &line["source"]), "source"),
        (
            end(&expect.destination, &line["destination"]),
            "destination",
        ),
        (same(&expect.published, &line["published"]), "published"),
        (owner(&expect.netns, &line["netns"]), "netns"),
        (same(&expect.device, &line["device"]), "device"),
        (holds(&expect.fix, &fixes), "fix"),
        (holds(&expect.evidence, &evidence), "evidence"),
        (holds(&began, &evidence), "began"),
    ];
    let wrong: Vec<&str> = checks
        .iter()
        .filter(|(fits, _)| !fits)
        .map(|(_, name)| *name)
        .collect();
    (!wrong.is_empty()).then(|| format!("differs in {}", wrong.join(", ")))
}

fn among(accepted: &[String], value: &Value) -> bool {
    accepted.is_empty() || accepted.iter().any(|text| value == text.as_str())
}

fn same(wanted: &Option<String>, value: &Value) -> bool {
    wanted.as_ref().is_none_or(|text| value == text.as_str())
}

fn holds(wanted: &Option<String>, text: &str) -> bool {
    wanted
        .as_ref()
        .is_none_or(|part| text.contains(part.as_str()))
}

fn end(wanted: &Option<String>, value: &Value) -> bool {
    wanted
        .as_ref()
        .is_none_or(|text| match text.split_once(':') {
            Some((kind, name)) => value["kind"] == kind && value["container"]["name"] == name,
            None => value["kind"] == text.as_str(),
        })
}

fn owner(wanted: &Option<String>, value: &Value) -> bool {
    wanted
        .as_ref()
        .is_none_or(|text| match text.split_once(':') {
            Some((kind, name)) => value["owner"] == kind && value["container"]["name"] == name,
            None => value["owner"] == text.as_str(),
        })
}

/// A line in a few words, for messages.
fn short(line: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let packet = &line["packet"];
    format!(
        "{} {} ({}) {}@{} hook {} in {} dev {}: {} {}:{} → {}:{} published {} ×{}; evidence {}; fix {}",
        text(&line["type"]),
        text(&line["cause"]["id"]),
        text(&line["cause"]["confidence"]),
        text(&line["reason"]),
        text(&line["location"]),
        text(&line["hook"]),
        line["netns"],
        text(&line["device"]),
        text(&packet["protocol"]),
        text(&packet["src"]),
        packet["src_port"],
        text(&packet["dst"]),
        packet["dst_port"],
        text(&line["published"]),
        line["count"],
        line["cause"]["evidence"],
        line["cause"]["fix"],
    )
}
