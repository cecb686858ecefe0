//! The lines of a recording, both ways. What they mean is in docs/recordings.md.

use std::{borrow::Cow, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::inventory::Known;
use crate::{
    host::state::Asked,
    inventory::Parts,
    model::{Capture, Drop, Ledger, Reach, Ready, Sample, Transition},
};

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
#[derive(Clone, Debug, Default, Serialize)]
struct Beside<'a> {
    /// The narrowest `--scope` that it is inside.
    scope: Reach,
    /// The packet's first bytes.
    packet: Option<Cow<'a, Capture>>,
    /// Whose the host's veth is that the packet was at.
    #[serde(skip_serializing_if = "Option::is_none")]
    veth_of: Option<&'a str>,
    /// A flow that was only found in the table.
    listed: bool,
    /// What causes look at beside the line.
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<Cow<'a, Sample>>,
    /// What the inventory is made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<Cow<'a, Parts>>,
}

/// The same as it is read: what causes need to be judged again is left as it is until somebody wants it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Found<'a> {
    scope: Reach,
    packet: Option<Capture>,
    veth_of: Option<String>,
    listed: bool,
    #[serde(borrow)]
    sample: Option<&'a RawValue>,
    #[serde(borrow)]
    parts: Option<&'a RawValue>,
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
    Inventory(With<'a, Known>),
    State(&'a Asked),
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
            veth_of: line.veth_of.as_deref(),
            sample: line.sample.as_deref().map(Cow::Borrowed),
            ..Beside::default()
        },
    }
}

/// What is beside an inventory's line.
pub(super) fn with_parts<'a>(line: &'a Known, parts: &'a Parts) -> With<'a, Known> {
    With {
        line,
        recorded: Beside {
            parts: Some(Cow::Borrowed(parts)),
            ..Beside::default()
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
#[derive(Clone, Debug)]
pub enum Line {
    /// What is recorded, and by what.
    Header(Header),
    /// What ran.
    Ready(Ready),
    /// Who is who from now on, and what causes need to know of it.
    Inventory(Known, Option<Box<Parts>>),
    /// What the host was asked for a verdict, if somebody wants that.
    State(Option<Asked>),
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
    #[serde(borrow, default)]
    recorded: Option<Found<'a>>,
}

#[derive(Deserialize)]
struct Tick {
    time: Timestamp,
}

/// Reads a line. `unknown` counts the keys that this version does not know. `again`: with what causes need to be judged again.
///
/// # Errors
/// It is no line of a recording.
pub fn read(text: &[u8], unknown: &mut u64, again: bool) -> serde_json::Result<Line> {
    let First { kind, recorded } = serde_json::from_slice(text)?;
    let beside = recorded.unwrap_or_default();
    Ok(match kind.as_ref() {
        "recording" => Line::Header(rest(text, unknown)?),
        "ready" => Line::Ready(rest(text, unknown)?),
        "inventory" => Line::Inventory(rest(text, unknown)?, detail(beside.parts, again)),
        "state" => Line::State(again.then(|| rest(text, unknown)).transpose()?),
        kind @ ("drop" | "finding") => {
            let mut drop: Box<Drop> = Box::new(rest(text, unknown)?);
            drop.reach = beside.scope;
            drop.capture = beside.packet.map(Box::new);
            drop.veth_of = beside.veth_of;
            drop.sample = detail(beside.sample, again);
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

/// What cannot be read (a later version may write it otherwise) is as good as not there.
fn detail<T: serde::de::DeserializeOwned>(found: Option<&RawValue>, again: bool) -> Option<Box<T>> {
    let found = found.filter(|_| again)?;
    serde_json::from_str(found.get()).ok()
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
