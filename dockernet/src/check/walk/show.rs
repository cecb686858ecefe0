//! A walk as text and as JSON.

use anyhow::Result;
use serde::Serialize;

use super::{Direction, Outcome, Step, Walked};
use crate::{
    check::{json::push, text::block},
    model::Cause,
    report::{Line, Look, Role},
};

/// A line for each step, and what stops it.
pub(in crate::check) fn text(walked: &Walked, look: &Look) -> String {
    let mut out = String::new();
    let mut title = Line::hanging(6);
    title.push(Role::Name, walked.title.as_str());
    out += &title.render(look);
    let widest = |of: fn(&Step) -> usize| walked.steps.iter().map(of).max().unwrap_or(0);
    let names = widest(|step| step.netns.chars().count());
    let whats = widest(|step| step.what.len());
    for step in &walked.steps {
        let (role, sign) = match step.outcome {
            Outcome::Pass => (Role::Fix, "✓"),
            Outcome::Stop => (Role::Confirmed, "✗"),
            Outcome::Unknown => (Role::Unknown, "?"),
        };
        let arrow = match step.direction {
            Direction::Forth => "→",
            Direction::Back => "←",
        };
        let mut line = Line::hanging(9 + names + whats);
        line.push(role, sign)
            .push(Role::Dim, format!(" {arrow} "))
            .push(Role::Name, format!("{:<names$}", step.netns))
            .push(Role::Dim, format!("  {:<whats$}  ", step.what))
            .plain(step.says.as_str());
        out += &line.render(look);
    }
    out.push('\n');
    let mut end = Line::hanging(6);
    match (walked.reaches(), &walked.stopped) {
        (_, Some(finding)) => {
            for line in block(finding) {
                out += &line.render(look);
            }
            return out;
        }
        (Some(_), None) => {
            end.push(Role::Fix, "✓ it arrives, and its answer comes back");
        }
        (None, None) => {
            end.push(
                Role::Unknown,
                "? cannot tell: a step above depends on what is not known here",
            );
        }
    }
    out + &end.render(look)
}

/// One step of a walk (`check --from A --to B`).
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", rename = "step")]
struct StepLine<'a> {
    /// Version of this layout.
    schema: u32,
    #[serde(flatten)]
    step: &'a Step,
}

/// Last line of a walk (`check --from A --to B`).
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", rename = "summary")]
struct Summary<'a> {
    /// Version of this layout.
    schema: u32,
    /// What was walked: `outside (1.1.1.1) → 198.51.100.10:10001/tcp`.
    connection: &'a str,
    /// Whether answers come back; null where a step could not be told.
    reaches: Option<bool>,
    /// What stops it.
    cause: Option<&'a Cause>,
}

#[cfg(test)]
pub(in crate::check) fn schemas(
    generator: &mut schemars::SchemaGenerator,
) -> Vec<schemars::Schema> {
    use crate::schema::tagged;
    vec![
        tagged::<StepLine<'_>>("step", generator),
        tagged::<Summary<'_>>("summary", generator),
    ]
}

/// A line for each step, then the summary.
pub(in crate::check) fn json(walked: &Walked) -> Result<String> {
    let mut out = String::new();
    for step in &walked.steps {
        push(&mut out, &StepLine { schema: 1, step })?;
    }
    push(
        &mut out,
        &Summary {
            schema: 1,
            connection: &walked.title,
            reaches: walked.reaches(),
            cause: walked.cause(),
        },
    )?;
    Ok(out)
}
