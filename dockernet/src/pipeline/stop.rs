//! SIGINT and SIGTERM as something to poll.

use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::{Context as _, Result};
use nix::sys::{
    signal::{SigSet, SigmaskHow, Signal, pthread_sigmask},
    signalfd::{SfdFlags, SignalFd},
};

/// The signals that end a run.
fn ending() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM].into_iter().collect()
}

/// Keeps the signals for [`Signals`]. Call it before any thread is started: threads inherit it.
pub fn block_signals() -> Result<()> {
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&ending()), None)
        .context("blocking SIGINT and SIGTERM")
}

/// Pending SIGINT and SIGTERM.
pub struct Signals(SignalFd);

impl Signals {
    /// Needs [`block_signals`].
    pub fn new() -> Result<Self> {
        SignalFd::with_flags(&ending(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .map(Self)
            .context("opening a signalfd")
    }

    /// Readable when a signal has come.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Takes a signal if one has come: whether it was SIGINT.
    pub fn take(&mut self) -> Result<Option<bool>> {
        let read = self.0.read_signal().context("reading the signalfd")?;
        Ok(read.map(|info| info.ssi_signo == Signal::SIGINT as u32))
    }
}
