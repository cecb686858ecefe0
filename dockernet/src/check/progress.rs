//! What is being done, on one line of a terminal's stderr. Nothing where stderr is no terminal.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::atomic::{AtomicUsize, Ordering},
};

/// The line.
pub(super) struct Progress {
    terminal: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
        }
    }

    /// Replaces the line.
    pub(super) fn say(&self, text: &str) {
        if self.terminal {
            let mut stderr = io::stderr().lock();
            // Nobody is left to tell when stderr is closed.
            let _ = write!(stderr, "\r\x1b[K{text} …");
            let _ = stderr.flush();
        }
    }

    /// A function that counts up to `total` on the line.
    pub(super) fn counter(&self, text: &str, total: usize) -> impl Fn() + Sync {
        let done = AtomicUsize::new(0);
        let terminal = self.terminal;
        let text = text.to_owned();
        self.say(&text);
        move || {
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            Self { terminal }.say(&format!("{text} {done}/{total}"));
        }
    }

    /// Takes the line away.
    pub(super) fn done(&self) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
