//! `monitor`: the same pipeline for months. Its report (`sink`) only counts and tells diagnoses; around it are a server for
//! Prometheus (`http`), a file for node_exporter (`textfile`), lines for people and journald (`lines`, `journal`), systemd
//! (`notify`), a watch over its own cost (`budget`, `meter`), and a file that the next one goes on from (`handover`).

mod budget;
pub mod config;
pub mod cost;
mod diagnoses;
mod docs;
mod handover;
mod http;
mod journal;
mod labels;
mod lines;
mod meter;
pub mod metrics;
mod notify;
mod outlet;
mod shared;
mod sink;
mod tasks;
mod textfile;

use std::{
    io::{self, Write as _},
    sync::{Arc, mpsc},
};

use anyhow::{Context as _, Result};
use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
};

pub use config::Config;
pub use docs::markdown;
pub use journal::message_id;
#[cfg(test)]
pub(crate) use lines::schemas;

use self::{
    handover::Taken, journal::Journal, lines::Lines, notify::Notify, shared::Shared, sink::Sink,
};
use crate::{
    cause::catalogue,
    cli::{
        Exit,
        options::{Listen, MonitorArgs, Options},
    },
    pipeline::Command,
    report::Report,
};

/// What runs around the pipeline. It ends with its runtime.
pub struct Monitor {
    shared: Arc<Shared>,
    lines: Arc<Lines>,
    address: Option<String>,
    taken: Option<Taken>,
    /// Made where the service was started: systemd's socket may be known there only.
    notify: Notify,
    commands: mpsc::Receiver<Command>,
}

/// Reads the configuration and prints what is not understood in it.
///
/// # Errors
/// It cannot be read, or a value in it is none.
pub fn configure(args: &MonitorArgs, options: &Options) -> Result<Config> {
    let (config, warnings) = Config::load(args, options, catalogue::IDS)?;
    for warning in warnings {
        // Nobody is left to tell when this fails.
        let _ = writeln!(io::stderr(), "dockernet-trace: warning: {warning}");
    }
    Ok(config)
}

/// `--check-config`: it was read, so it is good.
///
/// # Errors
/// Writing failed.
pub fn checked(config: &Config) -> Result<Exit> {
    let text = match &config.file {
        Some(file) => format!("{}: good\n", file.display()),
        None => format!("no {}: the defaults are in force\n", config::DEFAULT_FILE),
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("writing to standard output")
        }
        _ => Ok(Exit::Done),
    }
}

impl Monitor {
    /// Opens everything and starts the tasks. `options` are the command line's, for reading the configuration again.
    ///
    /// # Errors
    /// The address for metrics is taken or not of this host, or journald is wanted and not there.
    pub fn start(
        config: Config,
        args: &MonitorArgs,
        options: &Options,
        runtime: &Handle,
    ) -> Result<Self> {
        let journal = Journal::open(config.journal).context("connecting to journald")?;
        let lines = Arc::new(Lines::new(options.output, journal));
        let (sender, commands) = mpsc::channel();
        let (listen, has_nat) = (config.listen, config.nat);
        let state = config.state.clone();
        let shared = Arc::new(Shared::new(config));
        // Before the first scrape: a page that begins at 0 would be a reset.
        let taken = match state.as_deref().map(handover::take) {
            Some(Ok(Some((saved, taken)))) => {
                shared.state().restore(saved);
                Some(taken)
            }
            Some(Ok(None)) | None => None,
            Some(Err(sentence)) => {
                // Nobody is left to tell when this fails.
                let _ = writeln!(io::stderr(), "dockernet-trace: warning: {sentence}");
                None
            }
        };
        let _guard = runtime.enter();
        let address = match listen {
            Listen::Off => None,
            Listen::At(address) => {
                let listener = runtime.block_on(http::listen(address)).with_context(|| {
                    format!("listening on {address}; choose another address with --listen, or --listen off")
                })?;
                let address = listener.local_addr().context("reading the address")?;
                runtime.spawn(http::serve(listener, Arc::clone(&shared)));
                Some(address.to_string())
            }
        };
        let hangups = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
        runtime.spawn(tasks::reload(
            hangups,
            args.clone(),
            options.clone(),
            Arc::clone(&shared),
            Arc::clone(&lines),
            sender.clone(),
        ));
        runtime.spawn(tasks::textfile(Arc::clone(&shared), Arc::clone(&lines)));
        runtime.spawn(tasks::helper(sender.clone()));
        runtime.spawn(tasks::budget(
            Arc::clone(&shared),
            Arc::clone(&lines),
            sender,
            has_nat,
        ));
        Ok(Self {
            shared,
            lines,
            address,
            taken,
            notify: Notify::from_environment(),
            commands,
        })
    }

    /// What the pipeline reports to, and is told by.
    #[must_use]
    pub fn into_parts(self) -> (Box<dyn Report + Send>, mpsc::Receiver<Command>) {
        let sink = Sink::new(
            self.shared,
            self.lines,
            self.notify,
            self.address,
            self.taken,
        );
        (Box::new(sink), self.commands)
    }
}

/// The settings and the counters that were kept, of any content. See [`crate::hostile`].
pub(crate) fn hostile(settings: &str, counters: &str) {
    config::hostile(settings);
    handover::hostile(counters);
}
