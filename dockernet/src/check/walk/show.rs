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

#[derive(Serialize)]
#[serde(tag = "type", rename = "step")]
struct StepLine<'a> {
    schema: u32,
    #[serde(flatten)]
    step: &'a Step,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "summary")]
struct Summary<'a> {
    schema: u32,
    connection: &'a str,
    reaches: Option<bool>,
    cause: Option<&'a Cause>,
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
