//! The catalogue for programs: one object a line.

use anyhow::Result;
use serde::Serialize;

use super::{UNEXPLAINED, causes_of, families};
use crate::{
    cause::{
        catalogue::{self, Entry},
        guide,
    },
    cli::options::Explainable,
    report::json_line,
};

/// A line of `explain`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    /// A cause of the catalogue (`explain`).
    Cause {
        /// Id, as in `drop` lines.
        id: &'a str,
        /// Which family it belongs to; null for `unexplained`.
        family: Option<&'static str>,
        /// One line.
        title: &'static str,
        /// What it looks like from outside.
        symptom: Option<&'static str>,
        /// What the tool sees, and what confirms it.
        evidence: Option<&'static str>,
        /// Commands that show the state that decides.
        look: Option<&'static str>,
        /// What mends it, and what keeps it mended.
        fix: Option<&'static str>,
        /// Commands that make the fault on a host that may break.
        reproduce: Option<&'static str>,
    },
    /// A drop reason of the kernel (`explain`).
    Reason {
        /// Its name without the prefix, e.g. `NETFILTER_DROP`.
        reason: &'a str,
        /// Ids of the causes that it is part of.
        causes: Vec<&'static str>,
    },
}

#[cfg(test)]
pub(crate) fn schemas(generator: &mut schemars::SchemaGenerator) -> Vec<schemars::Schema> {
    vec![<Line<'_> as schemars::JsonSchema>::json_schema(generator)]
}

/// One cause or reason.
///
/// # Errors
/// It cannot be written as JSON.
pub fn json(what: Explainable<'_>) -> Result<String> {
    json_line(&match what {
        Explainable::Cause(id) => catalogue::find(id).map_or(
            Line::Cause {
                id,
                family: None,
                title: UNEXPLAINED,
                symptom: None,
                evidence: None,
                look: None,
                fix: None,
                reproduce: None,
            },
            cause,
        ),
        Explainable::Reason(reason) => Line::Reason {
            reason,
            causes: causes_of(reason).map(|entry| entry.id).collect(),
        },
    })
}

/// Every cause.
///
/// # Errors
/// One cannot be written as JSON.
pub fn list_json() -> Result<String> {
    families()
        .into_iter()
        .flat_map(|(_, entries)| entries)
        .map(|entry| json_line(&cause(entry)))
        .collect()
}

fn cause<'a>(entry: &Entry) -> Line<'a> {
    let found = guide::find(entry.id);
    Line::Cause {
        id: entry.id,
        family: found.map(|(family, _)| family.title),
        title: entry.title,
        symptom: Some(entry.symptom),
        evidence: Some(entry.evidence),
        look: found.map(|(_, guide)| guide.look),
        fix: Some(entry.fix),
        reproduce: found.map(|(_, guide)| guide.reproduce),
    }
}
