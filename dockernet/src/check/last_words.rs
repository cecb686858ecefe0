//! What an engine that does not run has left: its last error.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use crate::host::{daemon::Daemon, program_output};

/// How much of a log's end is read.
const TAIL: u64 = 64 * 1024;
/// Logs of systems without a journal, and of engines run by hand.
const LOGS: [&str; 3] = [
    "/var/log/docker.log",
    "/var/log/dockerd.log",
    "/var/log/upstart/docker.log",
];

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct LastWords {
    /// The last error.
    pub error: Option<String>,
    /// Where it stood.
    pub from: Option<String>,
}

impl LastWords {
    /// Looks at the journal and log files.
    pub(super) fn look(daemon: &Daemon) -> Self {
        let mut logs: Vec<PathBuf> = LOGS.iter().map(PathBuf::from).collect();
        // An engine run by hand often logs beside its data.
        if let Some(folder) = daemon.data_root().parent() {
            logs.push(folder.join("dockerd.log"));
        }
        for log in logs {
            if let Some(error) = tail(&log).as_deref().and_then(last_error) {
                return Self {
                    error: Some(error),
                    from: Some(log.display().to_string()),
                };
            }
        }
        let journal = program_output(
            "journalctl",
            &["-u", "docker", "-n", "200", "-o", "cat", "--no-pager", "-q"],
        );
        let error = journal.ok().flatten().as_deref().and_then(last_error);
        Self {
            from: error
                .is_some()
                .then(|| "journal of docker.service".to_owned()),
            error,
        }
    }
}

fn tail(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok().filter(fs::Metadata::is_file)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))
        .ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last line that says why dockerd ended: `failed to start daemon: …`, `level=fatal`, else `level=error`.
///
/// Lines from before its latest successful start are another story.
pub(crate) fn last_error(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let started = lines.iter().rposition(|line| {
        line.contains("API listen on") || line.contains("Daemon has completed initialization")
    });
    let since = started.map_or(0, |place| place + 1);
    let recent = lines.get(since..).unwrap_or_default();
    let strong = |line: &&&str| {
        line.contains("failed to start daemon")
            || line.contains("level=fatal")
            || line.contains("unable to configure the Docker daemon")
    };
    let line = recent.iter().rev().find(strong).or_else(|| {
        recent
            .iter()
            .rev()
            .find(|line| line.contains("level=error"))
    })?;
    Some(message(line))
}

/// The words of a logrus line: `time=… level=fatal msg="…"`.
fn message(line: &str) -> String {
    let text = match line.split_once("msg=\"") {
        Some((_, rest)) => {
            let mut text = String::new();
            let mut escaped = false;
            for letter in rest.chars() {
                match letter {
                    '\\' if !escaped => escaped = true,
                    '"' if !escaped => break,
                    other => {
                        text.push(other);
                        escaped = false;
                    }
                }
            }
            text
        }
        None => line.trim().to_owned(),
    };
    text.chars().take(400).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_error_that_ended_it() {
        let log = "time=\"x\" level=error msg=\"old\"\ntime=\"x\" level=info msg=\"API listen on /run/docker.sock\"\n\
                   time=\"x\" level=warning msg=\"w\"\nfailed to start daemon: Error initializing network controller: no \"bridge\"\n";
        let error = last_error(log).unwrap();
        assert!(error.starts_with("failed to start daemon"), "{error}");
        let log = "time=\"x\" level=fatal msg=\"bad \\\"bip\\\" value\" module=x\n";
        assert_eq!(last_error(log).unwrap(), "bad \"bip\" value");
        assert_eq!(
            last_error(
                "level=error msg=\"a\"\nlevel=info msg=\"Daemon has completed initialization\""
            ),
            None
        );
    }
}
