//! `explain ID`: a cause or a kernel reason, in prose.

use crate::{
    cause::catalogue::{self, CATALOGUE},
    cli::options::Explainable,
};

/// The text to print.
#[must_use]
pub fn text(what: Explainable<'_>) -> String {
    match what {
        Explainable::Cause(id) => catalogue::find(id).map_or_else(
            || {
                format!(
                    "{id}\n\n  No cause of the catalogue fits the drop. Everything that the kernel said is in its line: the reason, \
                     the function\n  that freed the packet, the stack and the hook. An issue with that line helps the next reader.\n"
                )
            },
            |entry| {
                format!(
                    "{}: {}\n\nWhat you see\n{}\nWhat the tool sees\n{}\nWhat to do\n{}",
                    entry.id,
                    entry.title,
                    paragraph(entry.symptom),
                    paragraph(entry.evidence),
                    paragraph(entry.fix)
                )
            },
        ),
        Explainable::Reason(reason) => {
            let causes: Vec<String> = CATALOGUE
                .iter()
                .filter(|entry| words(entry.evidence).any(|word| word == reason))
                .map(|entry| format!("  {:<32} {}\n", entry.id, entry.title))
                .collect();
            let known = if causes.is_empty() {
                "  none of the catalogue; a drop with it is shown as unexplained\n".to_owned()
            } else {
                causes.concat()
            };
            format!(
                "{reason}: a drop reason of this kernel (SKB_DROP_REASON_{reason}, include/net/dropreason-core.h)\n\n\
                 Causes that leave it\n{known}"
            )
        }
    }
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
