//! The catalogue as a page of the documentation.

use std::fmt::Write as _;

use super::{families, sections};

const HEAD: &str = "\
<!-- Written by `cargo xtask docs` from dockernet/src/cause/catalogue.rs and guide/. Do not edit. -->

# Causes

Every cause that `dockernet-trace` names, as `dockernet-trace explain ID` tells it. A cause is `confirmed` only where the live state
agrees with what the kernel said. Reasons are the kernel's `SKB_DROP_REASON_*` without that prefix.
";

/// `docs/causes.md`.
#[must_use]
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for (family, entries) in families() {
        let _ = writeln!(page, "\n- **{}**: {}", family.title, {
            let links: Vec<String> = entries
                .iter()
                .map(|entry| format!("[{0}](#{0})", entry.id))
                .collect();
            links.join(", ")
        });
    }
    for (family, entries) in families() {
        let _ = writeln!(page, "\n## {}", family.title);
        for entry in entries {
            let _ = writeln!(page, "\n### {}\n\n{}.\n", entry.id, entry.title);
            for (heading, body) in sections(entry) {
                let _ = writeln!(page, "- **{heading}:** {}", escaped(body));
            }
        }
    }
    page
}

/// What Markdown would take for mark-up; underscores inside a word are none.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_word = false;
    for c in text.chars() {
        if matches!(c, '*' | '<' | '>' | '`' | '|') || c == '_' && !in_word {
            out.push('\\');
        }
        in_word = c.is_alphanumeric();
        out.push(c);
    }
    out
}
