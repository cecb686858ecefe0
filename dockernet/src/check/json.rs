//! One JSON object a line. Absent means `null`, never a missing key.

use anyhow::Result;
use serde::Serialize;

use super::{
    Finding, Grade, Seen,
    finding::{Affected, Subject},
};
use crate::{
    model::{Cause, Rule},
    report::json_line,
};

/// Something that `check` found.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", rename = "check")]
struct Line<'a> {
    /// Version of this layout.
    schema: u32,
    /// How bad it is.
    grade: Grade,
    /// What it is about.
    subject: &'a Subject,
    /// Who suffers.
    affects: &'a [Affected],
    /// Why; for what could not be told the id is `unexplained`.
    cause: &'a Cause,
    /// The firewall rule at fault, where it is one.
    rule: Option<&'a Rule>,
}

/// Last line of `check`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", rename = "summary")]
struct Summary<'a> {
    /// Version of this layout.
    schema: u32,
    /// How many things do not work.
    broken: usize,
    /// How many will not work, or not always.
    risk: usize,
    /// How many are so on purpose.
    note: usize,
    /// How many could not be read.
    unknown: usize,
    /// Engine's version; null while none answers.
    docker: Option<&'a str>,
    /// Running containers.
    containers: usize,
    /// Networks of the engine.
    networks: usize,
    /// How long it took, seconds.
    seconds: f64,
}

#[cfg(test)]
pub(super) fn schemas(generator: &mut schemars::SchemaGenerator) -> Vec<schemars::Schema> {
    use crate::schema::tagged;
    vec![
        tagged::<Line<'_>>("check", generator),
        tagged::<Summary<'_>>("summary", generator),
    ]
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
    *out += &json_line(value)?;
    Ok(())
}
