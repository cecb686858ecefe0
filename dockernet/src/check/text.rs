//! For people: grouped by what the findings are about, cause first, fix last.

use std::{collections::BTreeMap, env, io};

use super::{
    Finding, Grade, Seen,
    finding::{Affected, Kind},
};
use crate::{
    cli::options::{ColorWhen, Options},
    model::Confidence,
    report::{Line, Look, Role, Width, counted, fixes, labelled},
};

/// Containers that are named before "and N more".
const NAMED: usize = 6;

/// How text looks on stdout.
pub(super) fn look(options: &Options) -> Look {
    let color = match options.color {
        ColorWhen::Auto => None,
        ColorWhen::Always => Some(true),
        ColorWhen::Never => Some(false),
    };
    let variable = |name: &str| env::var(name).ok();
    Look::detect(&io::stdout(), Width::Stdout, color, &variable)
}

/// All findings, and a last line that counts them.
pub(super) fn text(findings: &[Finding], seen: &Seen, look: &Look) -> String {
    let mut out = String::new();
    let mut group = None;
    for finding in findings {
        if group != Some(&finding.subject) {
            if group.is_some() {
                out.push('\n');
            }
            group = Some(&finding.subject);
            let mut line = Line::default();
            match finding.subject.kind {
                Kind::Host | Kind::Engine => line.push(Role::Name, finding.subject.name.as_str()),
                Kind::Network => line
                    .plain("network ")
                    .push(Role::Name, finding.subject.name.as_str()),
                Kind::Container => line
                    .plain("container ")
                    .push(Role::Name, finding.subject.name.as_str()),
            };
            out += &line.render(look);
        }
        for line in block(finding) {
            out += &line.render(look);
        }
    }
    if group.is_some() {
        out.push('\n');
    }
    out + &summary(findings, seen).render(look)
}

pub(super) fn block(finding: &Finding) -> Vec<Line> {
    let cause = &finding.cause;
    let (role, sign) = match finding.grade {
        Grade::Broken => (Role::Confirmed, "✗"),
        Grade::Risk => (Role::Likely, "!"),
        Grade::Note => (Role::Dim, "·"),
        Grade::Unknown => (Role::Unknown, "?"),
    };
    let mut title = Line::hanging(6);
    title.push(role, format!("{sign} {}", finding.grade.name()));
    if finding.grade == Grade::Unknown {
        title.plain(format!(" {}", cause.summary));
    } else {
        title.push(role, format!(" {}", cause.id));
        if cause.confidence == Confidence::Likely {
            title.plain(" (likely)");
        }
    }
    let mut lines = vec![title];
    if finding.grade != Grade::Unknown {
        lines.push(labelled("what", &cause.summary));
    }
    if let Some(hits) = hits(finding) {
        lines.push(labelled("hits", &hits));
    }
    if !cause.evidence.is_empty() {
        lines.push(labelled("why", &cause.evidence.join("; ")));
    }
    lines.extend(fixes(&cause.fix));
    lines
}

/// `web 0.0.0.0:10001→80/tcp, api, and 3 more`; nothing where it would only repeat the group's name.
fn hits(finding: &Finding) -> Option<String> {
    let mut by_name: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for Affected {
        container,
        published,
    } in &finding.affects
    {
        let ports = by_name.entry(container).or_default();
        ports.extend(published.as_ref().map(|text| text.replace("->", "→")));
    }
    let own = finding.subject.kind == Kind::Container;
    let mut parts: Vec<String> = by_name
        .iter()
        .filter_map(|(name, ports)| {
            let ports = ports.join(" ");
            match (own && *name == finding.subject.name, ports.is_empty()) {
                (true, true) => None,
                (true, false) => Some(ports),
                (false, true) => Some((*name).to_owned()),
                (false, false) => Some(format!("{name} {ports}")),
            }
        })
        .collect();
    let more = parts.len().saturating_sub(NAMED);
    if more > 0 {
        parts.truncate(NAMED);
        parts.push(format!("and {more} more"));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn summary(findings: &[Finding], seen: &Seen) -> Line {
    let count = |grade| {
        let all = findings.iter().filter(|finding| finding.grade == grade);
        all.count() as u64
    };
    let mut parts = Vec::new();
    for (grade, word) in [
        (Grade::Broken, "broken"),
        (Grade::Risk, "at risk"),
        (Grade::Unknown, "unknown"),
    ] {
        match count(grade) {
            0 => {}
            number => parts.push((grade, format!("{number} {word}"))),
        }
    }
    if count(Grade::Note) > 0 {
        parts.push((Grade::Note, counted(count(Grade::Note), "note")));
    }
    let mut line = Line::hanging(6);
    let fine = count(Grade::Broken) + count(Grade::Risk) == 0;
    if fine {
        line.push(Role::Fix, "✓ nothing is broken");
    }
    for (place, (grade, text)) in parts.into_iter().enumerate() {
        if fine || place > 0 {
            line.plain(", ");
        }
        let role = match grade {
            Grade::Broken => Role::Confirmed,
            Grade::Risk => Role::Likely,
            Grade::Unknown => Role::Unknown,
            Grade::Note => Role::Plain,
        };
        line.push(role, text);
    }
    let docker = seen.docker.as_ref().map_or_else(
        || "docker does not answer".to_owned(),
        |version| format!("docker {version}"),
    );
    line.push(
        Role::Dim,
        format!(
            "  ({}, {}, {docker}, {:.2} s)",
            counted(seen.containers as u64, "running container"),
            counted(seen.networks as u64, "network"),
            seen.seconds
        ),
    );
    line
}
