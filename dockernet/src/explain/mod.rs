//! `explain`: a cause, a kernel reason or the whole catalogue, in prose or JSON; and the same as `docs/causes.md`.

mod json;
mod markdown;
mod reason;

use std::fmt::Write as _;

use crate::{
    cause::{
        catalogue::{self, CATALOGUE, Entry},
        guide::{self, FAMILIES, Family},
    },
    cli::options::Explainable,
};

#[cfg(test)]
pub(crate) use json::schemas;
pub use json::{json, list_json};
pub use markdown::markdown;

/// What `unexplained` means.
const UNEXPLAINED: &str = "No cause of the catalogue fits the drop. Everything that the kernel said is in its line: the reason, the function \
     that freed the packet, the stack and the hook. An issue with that line helps the next reader.";

/// The text to print.
#[must_use]
pub fn text(what: Explainable<'_>) -> String {
    match what {
        Explainable::Cause(id) => catalogue::find(id).map_or_else(
            || format!("{id}\n\n{}", paragraph(UNEXPLAINED)),
            |entry| {
                let mut text = format!("{}: {}\n", entry.id, entry.title);
                for (heading, body) in sections(entry) {
                    let _ = write!(text, "\n{heading}\n{}", paragraph(body));
                }
                text
            },
        ),
        Explainable::Reason(reason) => reason::text(reason),
    }
}

/// A cause's parts with their headings, in reading order.
fn sections(entry: &Entry) -> Vec<(&'static str, &'static str)> {
    let mut sections = vec![
        ("What you see", entry.symptom),
        ("What the tool sees", entry.evidence),
    ];
    let guide = guide::find(entry.id).map(|(_, guide)| guide);
    sections.extend(guide.map(|guide| ("What to look at", guide.look)));
    sections.push(("What to do", entry.fix));
    sections.extend(guide.map(|guide| ("How to reproduce it", guide.reproduce)));
    sections
}

/// Every cause with its title, by family, aligned.
#[must_use]
pub fn list() -> String {
    let width = CATALOGUE
        .iter()
        .map(|entry| entry.id.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (family, entries) in families() {
        let gap = if text.is_empty() { "" } else { "\n" };
        let _ = writeln!(text, "{gap}{}", family.title);
        for entry in entries {
            let _ = writeln!(text, "  {:width$}  {}", entry.id, entry.title);
        }
    }
    text.push_str(
        "\n`dockernet-trace explain ID` tells more of one; a kernel drop reason is an ID too.\n",
    );
    text
}

/// The families that have causes, with them.
fn families() -> Vec<(&'static Family, Vec<&'static Entry>)> {
    FAMILIES
        .iter()
        .map(|family| {
            let entries = family
                .rows
                .iter()
                .filter_map(|row| catalogue::find(row.id))
                .collect::<Vec<_>>();
            (family, entries)
        })
        .filter(|(_, entries)| !entries.is_empty())
        .collect()
}

/// The causes that a kernel reason is part of.
fn causes_of(reason: &str) -> impl Iterator<Item = &'static Entry> {
    CATALOGUE
        .iter()
        .filter(move |entry| words(entry.evidence).any(|word| word == reason))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

fn paragraph(text: &str) -> String {
    let mut out = String::new();
    for line in textwrap::wrap(text, 96) {
        out.push_str("  ");
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_every_cause_once() {
        let list = list();
        for entry in CATALOGUE {
            let line = format!("  {} ", entry.id);
            assert_eq!(list.matches(&line).count(), 1, "{}", entry.id);
        }
    }

    #[test]
    fn a_cause_tells_all_it_knows() {
        let text = text(Explainable::Cause("bridge-down"));
        for heading in [
            "What you see",
            "What the tool sees",
            "What to look at",
            "What to do",
            "How to reproduce it",
        ] {
            assert!(
                text.contains(&format!("\n{heading}\n  ")),
                "{heading}: {text}"
            );
        }
    }

    #[test]
    fn a_reason_leads_to_its_causes() {
        let text = text(Explainable::Reason("NETFILTER_DROP"));
        assert!(text.contains("docker-user-drop"), "{text}");
        assert!(!text.contains("\n  no-listener"), "{text}");
    }

    #[test]
    fn the_generated_page_is_the_catalogue() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/causes.md");
        let page = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            page == markdown(),
            "docs/causes.md is stale: cargo xtask docs"
        );
    }
}
