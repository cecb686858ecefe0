//! What the service was told to do: by flags, else by its file, else by default.

mod read;
mod table;
#[cfg(test)]
mod tests;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;

use crate::cli::{
    Ignore, Usage,
    flight::Flight,
    options::{JournalWhen, Listen, MonitorArgs, Options, Scope},
};

/// Where the file is looked for if none is named.
pub const DEFAULT_FILE: &str = "/etc/dockernet-trace.toml";
/// The port of `/metrics`.
pub const DEFAULT_PORT: u16 = 9758;

/// Everything that the file and the flags may say.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Where metrics are served.
    pub listen: Listen,
    /// The file that metrics are written to.
    pub textfile: Option<PathBuf>,
    /// How often.
    pub textfile_every: Duration,
    /// The file that keeps counters over a restart.
    pub state: Option<PathBuf>,
    /// When diagnoses go to journald itself.
    pub journal: JournalWhen,
    /// Where the engine is.
    pub docker_host: Option<String>,
    /// The namespace taken as the host.
    pub netns: Option<PathBuf>,
    /// Whose drops.
    pub scope: Scope,
    /// Deliberate drops.
    pub ignore: Vec<Ignore>,
    /// Whether NAT transitions are counted.
    pub nat: bool,
    /// Bounds of what is kept.
    pub limits: Limits,
    /// When diagnoses end, and how often they are told.
    pub diagnosis: Diagnosis,
    /// What the service may cost.
    pub budget: Budget,
    /// Where packets around a diagnosis are written, if at all.
    pub flight: Option<Flight>,
}

/// Bounds of what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Containers with label values of their own; the rest are `other`.
    pub containers: usize,
    /// Series of drops.
    pub series: usize,
    /// How long series outlive their container.
    pub keep: Duration,
}

/// When diagnoses end, and how often they are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// It ends when for so long no packet died of it.
    pub clear_after: Duration,
    /// Lines in an hour for one cause and container.
    pub lines: u32,
}

/// What the service may cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// CPU time, of one core: 0.01 is one percent.
    pub cpu: f64,
    /// Resident memory and maps, bytes.
    pub memory: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file: None,
            listen: Listen::At(SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT))),
            textfile: None,
            textfile_every: Duration::from_secs(15),
            state: None,
            journal: JournalWhen::Auto,
            docker_host: None,
            netns: None,
            scope: Scope::Containers,
            ignore: Vec::new(),
            nat: false,
            limits: Limits {
                containers: 200,
                series: 2000,
                keep: Duration::from_secs(300),
            },
            diagnosis: Diagnosis {
                clear_after: Duration::from_secs(60),
                lines: 6,
            },
            budget: Budget {
                cpu: 0.01,
                memory: 64 << 20,
            },
            flight: None,
        }
    }
}

impl Config {
    /// Reads the file, if there is one, and puts the flags over it. Also: what in the file is not understood and was left
    /// out, one sentence each.
    ///
    /// # Errors
    /// The file named does not exist or cannot be read, or a value is none; the sentence names file, key and what is expected.
    pub fn load(
        args: &MonitorArgs,
        options: &Options,
        causes: &[&str],
    ) -> Result<(Self, Vec<String>)> {
        let default = Path::new(DEFAULT_FILE);
        let file = match &args.config {
            Some(file) => Some(file.as_path()),
            None => default.exists().then_some(default),
        };
        let (mut config, mut warnings) = match file {
            Some(file) => read::file(file, causes)?,
            None => (Self::default(), Vec::new()),
        };
        config.flags(args, options)?;
        warnings.extend(config.doubts());
        Ok((config, warnings))
    }

    /// What is good in itself, and does not go with node_exporter or the alerts in dist/prometheus/alerts.yml.
    fn doubts(&self) -> Vec<String> {
        /// Older files are stale to their alert, and so long a diagnosis has to last for its own.
        const STALE: Duration = Duration::from_secs(300);
        const LASTING: Duration = Duration::from_secs(90);
        let mut doubts = Vec::new();
        if let Some(file) = &self.textfile {
            let file = file.display();
            if self.textfile.as_ref().and_then(|file| file.extension()) != Some("prom".as_ref()) {
                doubts.push(format!(
                    "textfile {file}: node_exporter reads files alone whose names end in .prom"
                ));
            }
            if self.textfile_every >= STALE {
                doubts.push(format!(
                    "textfile_every: {file} is older than five minutes before it is written again, which the alert DockernetTextfileStale takes for failing"
                ));
            }
        }
        if self.diagnosis.clear_after >= LASTING {
            doubts.push(
                "diagnosis.clear_after: from 90s on one stray packet lasts long enough for the alert DockernetContainerDrops".to_owned(),
            );
        }
        doubts
    }

    /// What the command line says goes before the file; `--ignore` beside it.
    fn flags(&mut self, args: &MonitorArgs, options: &Options) -> Result<(), Usage> {
        if let Some(listen) = args.listen {
            self.listen = listen;
        }
        if args.textfile.is_some() {
            self.textfile.clone_from(&args.textfile);
        }
        if args.state.is_some() {
            self.state.clone_from(&args.state);
        }
        if let Some(journal) = args.journal {
            self.journal = journal;
        }
        if options.docker_host.is_some() {
            self.docker_host.clone_from(&options.docker_host);
        }
        if options.netns.is_some() {
            self.netns.clone_from(&options.netns);
        }
        if options.scope != Scope::default() {
            self.scope = options.scope;
        }
        self.ignore.extend(options.ignore.iter().cloned());
        self.nat |= options.nat;
        self.flight = options.flight.over(self.flight.take())?;
        Ok(())
    }

    /// The options that the pipeline then runs with.
    #[must_use]
    pub fn apply(&self, options: Options) -> Options {
        Options {
            docker_host: self.docker_host.clone(),
            netns: self.netns.clone(),
            scope: self.scope,
            ignore: self.ignore.clone(),
            nat: self.nat,
            // Not for services: noise has a metric of its own, and no number of lines ends them.
            all: false,
            count: None,
            expect_no_drops: false,
            ..options
        }
    }

    /// What of `new` cannot be had without a restart, by its key in the file.
    #[must_use]
    pub fn fixed(&self, new: &Self) -> Vec<&'static str> {
        let changes = [
            ("listen", self.listen != new.listen),
            ("docker_host", self.docker_host != new.docker_host),
            ("netns", self.netns != new.netns),
            ("scope", self.scope != new.scope),
            ("nat", self.nat != new.nat),
            ("journal", self.journal != new.journal),
            ("flight", self.flight != new.flight),
        ];
        changes
            .into_iter()
            .filter_map(|(key, is_changed)| is_changed.then_some(key))
            .collect()
    }
}

/// A file of any content. See [`crate::hostile`].
pub(super) fn hostile(text: &str) {
    let _ = read::text_of(Path::new(DEFAULT_FILE), text, &["docker-user-drop"]);
}
