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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cause::Verdict, check::Subject};

    fn seen() -> Seen {
        Seen {
            docker: Some("28.5.2".into()),
            containers: 2,
            networks: 3,
            seconds: 0.1,
        }
    }

    const LOOK: Look = Look {
        color: false,
        ascii: false,
        width: Width::Unlimited,
    };

    #[test]
    fn cause_first_fix_last() {
        let verdict = Verdict::confirmed("no-route", "the host has no default route")
            .fact("no route matches")
            .advise("bring it back");
        let affected = (1..=8).map(|number| Affected {
            container: format!("c{number}"),
            published: (number == 1).then(|| "0.0.0.0:80->80/tcp".into()),
        });
        let finding = Finding::new(Grade::Risk, Subject::host(), verdict).affects(affected);
        let expected = "\
host
! RISK no-route
   what  the host has no default route
   hits  c1 0.0.0.0:80→80/tcp, c2, c3, c4, c5, c6, and 2 more
   why   no route matches
   fix   bring it back

1 at risk  (2 running containers, 3 networks, docker 28.5.2, 0.10 s)
";
        assert_eq!(text(&[finding], &seen(), &LOOK), expected);
    }

    #[test]
    fn nothing_broken_says_so_and_what_is_unknown() {
        let all = text(&[], &seen(), &LOOK);
        assert!(all.starts_with("✓ nothing is broken  ("), "{all}");
        let finding = Finding::unknown(Subject::host(), "the routes of web", "no permission");
        let all = text(&[finding], &seen(), &LOOK);
        assert!(
            all.contains("? UNKNOWN the routes of web\n   why   no permission\n"),
            "{all}"
        );
        assert!(all.contains("✓ nothing is broken, 1 unknown"), "{all}");
    }
}
