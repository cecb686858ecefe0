//! The exit statuses of the contract.

use std::process::{ExitCode, Termination};

/// How a run ended, as scripts see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    #[default]
    Done = 0,
    /// It could not; one sentence on stderr says what to do.
    Failure = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// It found what it was asked to find nothing of.
    Found = 3,
    /// `path` saw no packet.
    NoPacket = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.into()
    }
}
