//! The catalogue for programs: one object a line.

use serde_json::{Value, json};

use super::{UNEXPLAINED, causes_of, families};
use crate::{
    cause::{
        catalogue::{self, Entry},
        guide,
    },
    cli::options::Explainable,
};

/// One cause or reason.
#[must_use]
pub fn json(what: Explainable<'_>) -> String {
    let value = match what {
        Explainable::Cause(id) => catalogue::find(id).map_or_else(
            || json!({"type": "cause", "id": id, "family": null, "title": UNEXPLAINED}),
            cause,
        ),
        Explainable::Reason(reason) => {
            let causes: Vec<&str> = causes_of(reason).map(|entry| entry.id).collect();
            json!({"type": "reason", "reason": reason, "causes": causes})
        }
    };
    format!("{value}\n")
}

/// Every cause.
#[must_use]
pub fn list_json() -> String {
    families()
        .into_iter()
        .flat_map(|(_, entries)| entries)
        .map(|entry| format!("{}\n", cause(entry)))
        .collect()
}

fn cause(entry: &Entry) -> Value {
    let found = guide::find(entry.id);
    json!({
        "type": "cause",
        "id": entry.id,
        "family": found.map(|(family, _)| family.title),
        "title": entry.title,
        "symptom": entry.symptom,
        "evidence": entry.evidence,
        "look": found.map(|(_, guide)| guide.look),
        "fix": entry.fix,
        "reproduce": found.map(|(_, guide)| guide.reproduce),
    })
}
