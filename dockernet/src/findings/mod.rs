//! Failures that drop nothing: seen by counters that move, confirmed by the live state.
//!
//! A thread of its own reads the counters of the host's namespace and of each container's about once a second, those of many containers
//! that send and get nothing more seldom (`cables`). Only when one of them moved (`signs`) is anything else read (`judge`), and only what the
//! live state agrees with becomes a finding. A misconfiguration that nobody suffers from is `check`'s business.

mod cables;
mod counters;
mod judge;
mod line;
mod signs;
mod watch;

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use crate::{host::netns::NetnsHandle, inventory::Snapshot, model::Drop};

/// How long the last look may take.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// A failure, ready to be filtered and shown.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Its line; `packet` is none.
    pub line: Drop,
    /// When the first of its events was counted, if that is known.
    pub began: Option<Timestamp>,
}

/// The running watch.
#[derive(Debug)]
pub struct Findings {
    found: Receiver<Finding>,
    stop: Sender<()>,
}

impl Findings {
    /// Starts to watch. What was counted before that is not told.
    ///
    /// # Errors
    /// No thread is to be had.
    pub fn start(
        host: NetnsHandle,
        inventory: tokio::sync::watch::Receiver<Snapshot>,
    ) -> Result<Self> {
        let (sender, found) = channel();
        let (stop, stopped) = channel();
        thread::Builder::new()
            .name("findings".into())
            .spawn(move || {
                if let Err(error) = watch::run(host, &inventory, &sender, &stopped) {
                    log::warn!("failures that drop nothing are not told: {error:#}");
                }
            })
            .context("starting a thread")?;
        Ok(Self { found, stop })
    }

    /// What was found since the last call.
    pub fn take(&self) -> impl Iterator<Item = Finding> {
        self.found.try_iter()
    }

    /// Looks a last time, and ends.
    #[must_use]
    pub fn finish(self) -> Vec<Finding> {
        let Self { found, stop } = self;
        // Its end is what `found` tells.
        let _ = stop.send(());
        let deadline = Instant::now() + LAST_LOOK;
        let mut all = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match found.recv_timeout(left) {
                Ok(finding) => all.push(finding),
                Err(RecvTimeoutError::Disconnected) => return all,
                Err(RecvTimeoutError::Timeout) => {
                    log::info!("the last look for failures that drop nothing took too long");
                    return all;
                }
            }
        }
    }
}
