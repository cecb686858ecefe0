//! One JSON object a line. Absent means `null`, never a missing key.

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    Finding, Grade, Seen,
    finding::{Affected, Subject},
};
use crate::model::{Cause, Rule};

#[derive(Serialize)]
#[serde(tag = "type", rename = "check")]
struct Line<'a> {
    schema: u32,
    grade: Grade,
    subject: &'a Subject,
    affects: &'a [Affected],
    cause: &'a Cause,
    rule: Option<&'a Rule>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "summary")]
struct Summary<'a> {
    schema: u32,
    broken: usize,
    risk: usize,
    note: usize,
    unknown: usize,
    docker: Option<&'a str>,
    containers: usize,
    networks: usize,
    seconds: f64,
}

/// A line per finding, then the summary.
pub(super) fn lines(findings: &[Finding], seen: &Seen) -> Result<String> {
    let mut out = String::new();
    for finding in findings {
        push(
            &mut out,
            &Line {
                schema: 1,
                grade: finding.grade,
                subject: &finding.subject,
                affects: &finding.affects,
                cause: &finding.cause,
                rule: finding.rule.as_ref(),
            },
        )?;
    }
    let count = |grade| {
        findings
            .iter()
            .filter(|finding| finding.grade == grade)
            .count()
    };
    push(
        &mut out,
        &Summary {
            schema: 1,
            broken: count(Grade::Broken),
            risk: count(Grade::Risk),
            note: count(Grade::Note),
            unknown: count(Grade::Unknown),
            docker: seen.docker.as_deref(),
            containers: seen.containers,
            networks: seen.networks,
            seconds: seen.seconds,
        },
    )?;
    Ok(out)
}

/// One object, with a line feed.
pub(super) fn push(out: &mut String, value: &impl Serialize) -> Result<()> {
    *out += &serde_json::to_string(value).context("writing JSON")?;
    out.push('\n');
    Ok(())
}
