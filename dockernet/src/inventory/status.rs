//! What is known about the container engine.

use serde::{Deserialize, Serialize};

/// Whether the engine answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EngineStatus {
    /// Not asked yet, or no answer yet.
    #[default]
    Unknown,
    /// It answers.
    Up {
        /// Its version, e.g. `28.5.2`.
        version: String,
        /// Whether it is Podman behind Docker's interface.
        podman: bool,
        /// Whether it runs without root.
        rootless: bool,
    },
    /// It does not answer: names come from cgroups and the engine's files.
    Down {
        /// One sentence: what is wrong and what to do.
        reason: String,
    },
    /// It runs on another kernel: none of its names are used.
    Remote {
        /// One sentence: how that shows and what to do.
        why: String,
    },
}

impl EngineStatus {
    /// The engine's version, while it answers.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Up { version, .. } => Some(version),
            _ => None,
        }
    }

    /// Whether it runs without root, and whether it is Podman.
    #[must_use]
    pub fn kind(&self) -> (bool, bool) {
        match self {
            Self::Up {
                podman, rootless, ..
            } => (*rootless, *podman),
            _ => (false, false),
        }
    }

    /// Whether it answers, for all that is known: one that does not may be about to write its rules.
    #[must_use]
    pub fn may_be_up(&self) -> bool {
        matches!(self, Self::Up { .. } | Self::Unknown)
    }

    /// The sentence to show when the engine is of no use.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Down { reason } => Some(reason),
            Self::Remote { why } => Some(why),
            _ => None,
        }
    }
}
