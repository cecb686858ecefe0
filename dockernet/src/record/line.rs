//! The lines of a recording, both ways. What they mean is in docs/recordings.md.

use std::{borrow::Cow, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::inventory::Known;
use crate::model::{Capture, Drop, Ledger, Reach, Ready, Transition};

/// Version of the format. It changes when an older reader would misread what is written, not when lines or keys are added.
pub const FORMAT: u32 = 1;

/// The first line of every file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: u32,
    /// Version of the tool.
    pub version: String,
    /// When the run was ready.
    pub started: Timestamp,
    /// Time from start to ready, seconds.
    pub ready_after: f64,
    /// 1 for the first file of a run, one more for each rotation.
    pub part: u32,
    /// Hash of the catalogue of causes.
    pub catalogue: String,
    /// Whether dropped packets were asked for.
    pub drops: bool,
    /// Whether NAT transitions were asked for.
    pub nat: bool,
    /// The kernel's drop reasons.
    #[serde(default)]
    pub reasons: Vec<String>,
}

impl Header {
    /// Time from start to ready.
    #[must_use]
    pub fn ready_after(&self) -> Duration {
        Duration::try_from_secs_f64(self.ready_after).unwrap_or_default()
    }
}

/// What a line has beside the keys of the JSON contract, as `recorded`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Beside<'a> {
    /// The narrowest `--scope` that it is inside.
    scope: Reach,
    /// The packet's first bytes.
    packet: Option<Cow<'a, Capture>>,
    /// A flow that was only found in the table.
    listed: bool,
}

/// A line's keys, and what is beside them.
#[derive(Debug, Serialize)]
pub(super) struct With<'a, T> {
    #[serde(flatten)]
    line: &'a T,
    recorded: Beside<'a>,
}

/// A line to write.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Written<'a> {
    Recording(&'a Header),
    Ready(&'a Ready),
    Inventory(&'a Known),
    Drop(With<'a, Drop>),
    Finding(With<'a, Drop>),
    Nat(With<'a, Transition>),
    Tick { time: Timestamp },
    Ledger(&'a Ledger),
}

/// What is beside a drop's line.
pub(super) fn with_drop(line: &Drop) -> With<'_, Drop> {
    With {
        line,
        recorded: Beside {
            scope: line.reach,
            packet: line.capture.as_deref().map(Cow::Borrowed),
            listed: false,
        },
    }
}

/// What is beside a transition's line.
pub(super) fn with_transition(line: &Transition) -> With<'_, Transition> {
    With {
        line,
        recorded: Beside {
            listed: line.listed,
            ..Beside::default()
        },
    }
}

/// A line that was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// What is recorded, and by what.
    Header(Header),
    /// What ran.
    Ready(Ready),
    /// Who is who from now on.
    Inventory(Known),
    /// A dropped packet.
    Drop(Box<Drop>),
    /// A failure that dropped nothing.
    Finding(Box<Drop>),
    /// A NAT transition.
    Nat(Box<Transition>),
    /// The end of a batch.
    Tick(Timestamp),
    /// What was counted.
    Ledger(Ledger),
    /// Of a type that this version does not know.
    Unknown,
}

/// The keys that are read before the rest.
#[derive(Deserialize)]
struct First<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default)]
    recorded: Option<Beside<'static>>,
}

#[derive(Deserialize)]
struct Tick {
    time: Timestamp,
}

/// Reads a line. `unknown` counts the keys that this version does not know.
///
/// # Errors
/// It is no line of a recording.
pub fn read(text: &[u8], unknown: &mut u64) -> serde_json::Result<Line> {
    let First { kind, recorded } = serde_json::from_slice(text)?;
    let beside = recorded.unwrap_or_default();
    Ok(match kind.as_ref() {
        "recording" => Line::Header(rest(text, unknown)?),
        "ready" => Line::Ready(rest(text, unknown)?),
        "inventory" => Line::Inventory(rest(text, unknown)?),
        kind @ ("drop" | "finding") => {
            let mut drop: Box<Drop> = Box::new(rest(text, unknown)?);
            drop.reach = beside.scope;
            drop.capture = beside.packet.map(|packet| Box::new(packet.into_owned()));
            match kind {
                "drop" => Line::Drop(drop),
                _ => Line::Finding(drop),
            }
        }
        "nat" => {
            let mut transition: Transition = rest(text, unknown)?;
            transition.listed = beside.listed;
            Line::Nat(Box::new(transition))
        }
        "tick" => Line::Tick(rest::<Tick>(text, unknown)?.time),
        "ledger" => Line::Ledger(rest(text, unknown)?),
        _ => Line::Unknown,
    })
}

fn rest<'de, T: Deserialize<'de>>(text: &'de [u8], unknown: &mut u64) -> serde_json::Result<T> {
    use serde_ignored::Path;
    let mut reader = serde_json::Deserializer::from_slice(text);
    serde_ignored::deserialize(&mut reader, |path| {
        let is_read = match &path {
            Path::Map { parent, key } => {
                matches!(parent, Path::Root) && matches!(key.as_str(), "type" | "recorded")
            }
            _ => false,
        };
        if !is_read {
            *unknown += 1;
        }
    })
}
