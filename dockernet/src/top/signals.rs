//! Signals that a screen has to know of, beside those that end every run.

use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::{Context as _, Result};
use nix::{
    sys::{
        signal::{SigSet, SigmaskHow, Signal, kill, pthread_sigmask, raise},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::getpid,
};

/// What a signal asks of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The terminal has gone, or Ctrl-\: end.
    End,
    /// It has another size.
    Resized,
    /// Ctrl-Z.
    Suspend,
    /// It was stopped by force, and goes on.
    Resumed,
}

fn ours() -> SigSet {
    [
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGWINCH,
        Signal::SIGTSTP,
        Signal::SIGCONT,
    ]
    .into_iter()
    .collect()
}

/// Keeps the signals for [`Signals`]. Call it before any thread is started: threads inherit it.
pub(super) fn block() -> Result<()> {
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&ours()), None)
        .context("blocking the terminal's signals")
}

/// Ends the run as SIGTERM from anybody would.
pub(super) fn end() {
    // It cannot fail: the process is its own, and the signal exists.
    let _ = kill(getpid(), Signal::SIGTERM);
}

/// Stops the process as Ctrl-Z does; comes back when it goes on.
pub(super) fn stop() -> Result<()> {
    let stops = SigSet::from(Signal::SIGTSTP);
    let mask = |how| pthread_sigmask(how, Some(&stops), None).context("letting Ctrl-Z through");
    mask(SigmaskHow::SIG_UNBLOCK)?;
    raise(Signal::SIGTSTP).context("stopping")?;
    mask(SigmaskHow::SIG_BLOCK)
}

/// Pending signals.
pub(super) struct Signals(SignalFd);

impl Signals {
    /// Needs [`block`].
    pub(super) fn new() -> Result<Self> {
        SignalFd::with_flags(&ours(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .map(Self)
            .context("opening a signalfd")
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Takes a signal if one has come.
    pub(super) fn take(&self) -> Result<Option<Asked>> {
        let read = self.0.read_signal().context("reading the signalfd")?;
        let signal = read.and_then(|info| i32::try_from(info.ssi_signo).ok());
        Ok(signal.and_then(|number| match Signal::try_from(number) {
            Ok(Signal::SIGWINCH) => Some(Asked::Resized),
            Ok(Signal::SIGTSTP) => Some(Asked::Suspend),
            Ok(Signal::SIGCONT) => Some(Asked::Resumed),
            Ok(_) => Some(Asked::End),
            Err(_) => None,
        }))
    }
}
