//! A sampled drop with everything that can be told without asking the host anything.

mod build;
mod capture;
pub(crate) mod flow;
mod hook;
pub(crate) mod packet;
pub mod vxlan;

pub use build::{Names, evidence};
pub(crate) use build::{name_ends, netns_of, unexplained};
pub use hook::HookPoint;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use dockernet_common::{packet::Parsed, record::DropRecord};

use crate::model::{Drop, NetnsKey};

/// What causes look at.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// As it will be shown; the cause is still `unexplained`.
    pub drop: Drop,
    /// As the kernel sent it.
    pub record: DropRecord,
    /// Its headers.
    pub parsed: Parsed,
    /// The namespace it died in.
    pub netns: NetnsKey,
    /// Where netfilter was called from, if it was.
    pub hook: Option<HookPoint>,
    /// Name of the device its route leads to.
    pub out_device: Option<String>,
}

impl Evidence {
    /// From a recording: its line, and what the kernel half sent.
    #[must_use]
    pub(crate) fn recorded(line: &Drop, mut record: DropRecord) -> Self {
        let mut drop = line.clone();
        // Where the kernel was in memory is no part of a recording; it only tells locations apart.
        let mut hasher = DefaultHasher::new();
        drop.location.hash(&mut hasher);
        record.key.location = hasher.finish();
        drop.cause = unexplained(drop.reason.as_deref(), drop.location.as_deref());
        drop.rule = None;
        Self {
            parsed: packet::parsed(&record),
            netns: NetnsKey(record.key.netns),
            hook: build::hook_point(drop.reason.as_deref(), drop.stack.as_deref(), &record),
            out_device: build::device_name(&record.out_device),
            drop,
            record,
        }
    }

    /// Kernel reason, empty where the kernel gives none.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.drop.reason.as_deref().unwrap_or("")
    }

    /// Whether the reason is this one, or says nothing (as on older kernels for the same drop).
    #[must_use]
    pub fn reason_or_silent(&self, reason: &str) -> bool {
        matches!(self.reason(), "" | "NOT_SPECIFIED") || self.reason() == reason
    }

    /// Whether one of these functions freed the packet. A location drifts with inlining: the first frames count too.
    #[must_use]
    pub fn freed_in(&self, functions: &[&str]) -> bool {
        const NEAR: usize = 3;
        let is_one = |name: &str| functions.contains(&name);
        self.drop.location.as_deref().is_some_and(is_one)
            || self.stack().iter().take(NEAR).any(|frame| is_one(frame))
    }

    /// Whether one of these functions is anywhere on the stack.
    #[must_use]
    pub fn below(&self, functions: &[&str]) -> bool {
        self.stack()
            .iter()
            .any(|frame| functions.contains(&frame.as_str()))
    }

    /// Stack, innermost first; empty where there is none.
    #[must_use]
    pub fn stack(&self) -> &[String] {
        self.drop.stack.as_deref().unwrap_or(&[])
    }
}
