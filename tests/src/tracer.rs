//! Running `dockernet-trace` and collecting what it says.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    engine::target_folders,
    exec::{Cmd, patient, wait_child},
    lab::Lab,
    schema,
};

/// Columns of the ledger whose sum is `observed`.
pub const FATES: [&str; 6] = [
    "shown",
    "filtered",
    "out_of_scope",
    "benign",
    "expected",
    "lost",
];

/// The tool's binary: `DOCKERNET_TRACE`, else the newest one that the build made beside the running test.
///
/// # Errors
/// There is none.
pub fn tool_path() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("DOCKERNET_TRACE") {
        let path = PathBuf::from(path);
        ensure!(
            path.is_file(),
            "DOCKERNET_TRACE names {}, which is no file",
            path.display()
        );
        return Ok(path);
    }
    target_folders()
        .iter()
        .flat_map(|target| ["release", "debug"].map(|profile| target.join(profile)))
        .map(|folder| folder.join("dockernet-trace"))
        .filter(|path| path.is_file())
        .max_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok())
        .context("dockernet-trace is not built: `cargo xtask build`, or set DOCKERNET_TRACE")
}

/// `dockernet-trace replay FILE ARGUMENTS…`.
///
/// # Errors
/// The tool is not built.
pub fn replay(file: &Path, arguments: &[&str]) -> Result<Cmd> {
    Ok(Cmd::new(tool_path()?)
        .arg("replay")
        .arg(file)
        .args(arguments))
}

/// The binary where an unprivileged user can reach it, as long as the folder is there.
///
/// # Errors
/// There is none, or it cannot be copied.
pub fn tool_for_anybody() -> Result<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755))?;
    let copy = folder.path().join("dockernet-trace");
    // By another process: a descriptor of ours that is open for writing could be inherited by what a test beside this one
    // starts at that moment, and the copy could not be run meanwhile (ETXTBSY).
    Cmd::new("cp").arg(tool_path()?).arg(&copy).run()?;
    Ok((folder, copy))
}

/// A running tool.
#[derive(Debug)]
pub struct Tracer {
    child: Child,
    lines: Arc<Mutex<Lines>>,
    errors: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    started: Instant,
    /// Time from start to the `ready` line.
    pub ready_after: Duration,
}

/// A tool that ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Exit status; `None` after a signal.
    pub status: Option<i32>,
    /// All JSON lines.
    pub lines: Vec<Value>,
    /// Standard error.
    pub stderr: String,
    /// Time from start to `ready`.
    pub ready_after: Duration,
}

impl Tracer {
    /// Starts the tool inside the lab's host namespace with `--output json -H SOCKET ARGS…` and waits for `ready`.
    ///
    /// # Errors
    /// No `ready` line within 10 s; the message holds what the tool said.
    pub fn start(lab: &Lab, args: &[&str]) -> Result<Self> {
        let cmd = Self::command(lab)?.args(args).in_netns(lab.host().path());
        Self::spawn(&cmd)
    }

    /// Starts it in the machine's own namespace, with `--netns` naming the lab's host.
    ///
    /// # Errors
    /// As [`Tracer::start`].
    pub fn start_elsewhere(lab: &Lab, args: &[&str]) -> Result<Self> {
        let cmd = Self::command(lab)?
            .arg("--netns")
            .arg(lab.host().path())
            .args(args);
        Self::spawn(&cmd)
    }

    /// The tool with the arguments that every run in a lab needs.
    ///
    /// # Errors
    /// The tool is not built.
    pub fn command(lab: &Lab) -> Result<Cmd> {
        Ok(Cmd::new(tool_path()?)
            .args(["--output", "json", "-H"])
            .arg(lab.docker_host())
            .env_remove("DOCKER_HOST"))
    }

    /// Starts a command that runs the tool with JSON output, and waits for `ready`.
    ///
    /// # Errors
    /// As [`Tracer::start`].
    pub fn spawn(cmd: &Cmd) -> Result<Self> {
        let started = Instant::now();
        let mut child = cmd
            .to_command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting `{}`", cmd.line()))?;
        let lines = Arc::new(Mutex::new(Lines::default()));
        let errors = Arc::new(Mutex::new(String::new()));
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let lines = Arc::clone(&lines);
            readers.push(thread::spawn(move || read_lines(stdout, &lines)));
        }
        if let Some(mut stderr) = child.stderr.take() {
            let errors = Arc::clone(&errors);
            readers.push(thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = stderr.read(&mut bytes) {
                    let text = String::from_utf8_lossy(&bytes[..length]);
                    errors
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push_str(&text);
                }
            }));
        }
        let mut tracer = Self {
            child,
            lines,
            errors,
            readers,
            started,
            ready_after: Duration::ZERO,
        };
        tracer.wait_ready(&cmd.line())?;
        Ok(tracer)
    }

    fn wait_ready(&mut self, line: &str) -> Result<()> {
        let ready = self.wait_for(Duration::from_secs(10), |value| value["type"] == "ready");
        self.ready_after = self.started.elapsed();
        if ready.is_some() {
            return Ok(());
        }
        let status = self.child.try_wait().ok().flatten();
        bail!(
            "`{line}` gave no ready line within {:?} (status {status:?}); it said: {}",
            self.ready_after,
            self.stderr()
        );
    }

    /// Waits until a line fits, those that came before included.
    pub fn wait_for(&mut self, limit: Duration, fits: impl Fn(&Value) -> bool) -> Option<Value> {
        let deadline = Instant::now() + patient(limit);
        loop {
            let ended = matches!(self.child.try_wait(), Ok(Some(_)));
            if let Some(line) = self.lines().into_iter().find(|line| fits(line)) {
                return Some(line);
            }
            if ended || Instant::now() > deadline {
                return None;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .parsed()
            .to_vec()
    }

    /// What is wrong with the lines that were asked for so far.
    fn wrong(&self) -> Vec<String> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut lines.wrong)
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id())?;
        kill(Pid::from_raw(pid), signal).context("signalling dockernet-trace")
    }

    /// Ends it by SIGINT, and demands status 0 and a ledger that balances.
    ///
    /// # Errors
    /// It does not end within 10 s, ends otherwise, or its ledger does not balance.
    pub fn stop(self) -> Result<Finished> {
        self.stop_within(Duration::from_secs(10))
    }

    /// The same for one that may have much to write first.
    ///
    /// # Errors
    /// As for [`Self::stop`], with `limit`.
    pub fn stop_within(self, limit: Duration) -> Result<Finished> {
        // Rings are drained every 100 ms at most: what was just dropped shall still be told.
        thread::sleep(Duration::from_millis(250));
        self.signal(Signal::SIGINT)?;
        let finished = self.wait(limit)?;
        ensure!(
            finished.status == Some(0),
            "dockernet-trace ended with {:?}: {}",
            finished.status,
            finished.stderr
        );
        finished.check_balance()?;
        Ok(finished)
    }

    /// Waits for its end, whatever the status.
    ///
    /// # Errors
    /// It does not end within `limit` (it is killed then).
    pub fn wait(mut self, limit: Duration) -> Result<Finished> {
        let Some(status) = wait_child(&mut self.child, limit) else {
            self.child.kill().ok();
            self.child.wait().ok();
            bail!(
                "dockernet-trace did not end within {limit:?}: {}",
                self.stderr()
            );
        };
        for reader in self.readers.drain(..) {
            reader.join().ok();
        }
        let lines = self.lines();
        let wrong = self.wrong();
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(Finished {
            status: status.code(),
            lines,
            stderr: self.stderr(),
            ready_after: self.ready_after,
        })
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::SIGTERM).ok();
            if wait_child(&mut self.child, Duration::from_secs(3)).is_none() {
                self.child.kill().ok();
                self.child.wait().ok();
            }
        }
        // Of a tool whose end no test waited for.
        let wrong = self.wrong();
        assert!(
            wrong.is_empty() || thread::panicking(),
            "{}",
            wrong.join("\n")
        );
    }
}

/// What came by stdout. It is read at once and parsed when it is asked for: a slow reader would slow the tool.
#[derive(Debug, Default)]
struct Lines {
    raw: Vec<String>,
    parsed: Vec<Value>,
    /// What is wrong with lines that are not as docs/schema.json says.
    wrong: Vec<String>,
}

impl Lines {
    fn parsed(&mut self) -> &[Value] {
        for line in self.raw.drain(..) {
            // One that is no JSON is kept as a string: it is among what is wrong.
            let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
            if let Err(error) = schema::check(&value) {
                self.wrong.push(format!("{error:#}"));
            }
            self.parsed.push(value);
        }
        &self.parsed
    }
}

fn read_lines(stdout: ChildStdout, lines: &Mutex<Lines>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .raw
            .push(line);
    }
}

impl Finished {
    /// Lines of one type.
    pub fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |line| line["type"] == kind)
    }

    /// The `drop` lines.
    pub fn drops(&self) -> impl Iterator<Item = &Value> {
        self.of_type("drop")
    }

    /// Milliseconds from each new device's link event until `--nat -v` watched it, as it says.
    #[must_use]
    pub fn watched_after_ms(&self) -> Vec<f64> {
        self.stderr
            .lines()
            .filter_map(|line| {
                let (_, rest) = line.split_once("for NAT, ")?;
                rest.split_once(" ms")?.0.parse().ok()
            })
            .collect()
    }

    /// The last ledger.
    ///
    /// # Errors
    /// The last line is not a final ledger.
    pub fn ledger(&self) -> Result<&Value> {
        self.lines
            .last()
            .filter(|line| line["type"] == "ledger" && line["final"] == true)
            .with_context(|| format!("the last line is no final ledger: {:?}", self.lines.last()))
    }

    /// One number of the final ledger.
    ///
    /// # Errors
    /// It is not there.
    pub fn count(&self, key: &str) -> Result<u64> {
        let ledger = self.ledger()?;
        ledger[key]
            .as_u64()
            .with_context(|| format!("the ledger has no number {key}: {ledger}"))
    }

    /// What the kernel did not run our program for; 0 where it does not tell.
    ///
    /// # Errors
    /// There is no ledger.
    pub fn missed(&self) -> Result<u64> {
        Ok(self.ledger()?["missed"].as_u64().unwrap_or(0))
    }

    /// observed = shown + filtered + out_of_scope + benign + expected + lost, and shown = the sum over the drop lines.
    ///
    /// # Errors
    /// It is not so, a line is no JSON, or the first line is not `ready`.
    pub fn check_balance(&self) -> Result<()> {
        for line in &self.lines {
            ensure!(line.is_object(), "a line is no JSON object: {line}");
        }
        ensure!(
            self.lines
                .first()
                .is_some_and(|line| line["type"] == "ready"),
            "the first line is not `ready`: {:?}",
            self.lines.first()
        );
        let mut sum = 0;
        for part in FATES {
            sum += self.count(part)?;
        }
        ensure!(
            self.count("observed")? == sum,
            "the ledger does not balance ({sum} in parts): {}",
            self.ledger()?
        );
        let told: u64 = self.drops().filter_map(|line| line["count"].as_u64()).sum();
        ensure!(
            told == self.count("shown")?,
            "the drop lines stand for {told} packets, the ledger says: {}",
            self.ledger()?
        );
        Ok(())
    }
}
