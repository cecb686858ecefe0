//! Commands with a time limit, and waiting with a limit.

use std::{
    ffi::{OsStr, OsString},
    io::{Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// What a command left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Whether it ended with status 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status == Some(0)
    }
}

/// The processes that a process's threads have started and that are there (proc(5), `task/*/children`).
///
/// # Errors
/// The process is gone.
pub fn children_of(pid: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(thread?.path().join("children"))?;
        children.extend(
            text.split_whitespace()
                .filter_map(|word| word.parse::<u32>().ok()),
        );
    }
    Ok(children)
}

/// A process and those that it has made: `monitor` has a helper.
///
/// # Errors
/// As [`children_of`].
pub fn family(pid: u32) -> Result<Vec<u32>> {
    let mut all = children_of(pid)?;
    all.push(pid);
    Ok(all)
}

/// A command with a time limit (20 s unless told otherwise).
#[derive(Clone, Debug)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    unset: Vec<OsString>,
    input: Option<Vec<u8>>,
    limit: Duration,
}

impl Cmd {
    /// A command without arguments.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            envs: Vec::new(),
            unset: Vec::new(),
            input: None,
            limit: Duration::from_secs(20),
        }
    }

    /// `sh -c SCRIPT`.
    pub fn shell(script: impl AsRef<OsStr>) -> Self {
        Self::new("sh").arg("-c").arg(script)
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args
            .extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.envs
            .push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Removes an environment variable.
    #[must_use]
    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.unset.push(key.as_ref().to_owned());
        self
    }

    /// Standard input; empty unless given.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Time limit.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The same command, run in a network namespace.
    #[must_use]
    pub fn in_netns(self, netns: &Path) -> Self {
        let mut args = vec![net_argument(netns), "--".into(), self.program];
        args.extend(self.args);
        Self {
            program: "nsenter".into(),
            args,
            ..self
        }
    }

    /// As one line, for messages.
    #[must_use]
    pub fn line(&self) -> String {
        std::iter::once(&self.program)
            .chain(&self.args)
            .map(|part| part.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// For callers that manage the process themselves.
    #[must_use]
    pub fn to_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        for key in &self.unset {
            command.env_remove(key);
        }
        command.envs(self.envs.iter().map(|(k, v)| (k, v)));
        command
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// It could not be started, or it did not end within its limit (it is killed then).
    pub fn output(&self) -> Result<Output> {
        let line = self.line();
        let mut command = self.to_command();
        command
            .stdin(if self.input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| {
            format!("starting `{line}` failed; is {:?} installed?", self.program)
        })?;
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), self.input.clone()) {
            // A child that ends without reading its input is judged by its status.
            thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let ended = wait_child(&mut child, self.limit);
        if ended.is_none() {
            child.kill().ok();
            child.wait().ok();
        }
        // A grandchild may keep the pipes open: do not wait for it for ever.
        let stdout = stdout
            .recv_timeout(Duration::from_secs(2))
            .unwrap_or_default();
        let stderr = stderr
            .recv_timeout(Duration::from_secs(2))
            .unwrap_or_default();
        let Some(status) = ended else {
            bail!(
                "`{line}` did not end within {:?}; so far it said: {}{}",
                self.limit,
                stdout.trim(),
                stderr.trim()
            );
        };
        Ok(Output {
            status: status.code(),
            stdout,
            stderr,
        })
    }

    /// Runs it and demands status 0; returns its standard output.
    ///
    /// # Errors
    /// As [`Cmd::output`], or it ended with another status.
    pub fn run(&self) -> Result<String> {
        let output = self.output()?;
        if output.success() {
            return Ok(output.stdout);
        }
        bail!(
            "`{}` ended with {:?}: {}{}",
            self.line(),
            output.status,
            output.stderr.trim(),
            output.stdout.trim()
        );
    }
}

fn net_argument(netns: &Path) -> OsString {
    let mut argument = OsString::from("--net=");
    argument.push(netns);
    argument
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> std::sync::mpsc::Receiver<String> {
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes).ok();
        }
        sender
            .send(String::from_utf8_lossy(&bytes).into_owned())
            .ok();
    });
    receiver
}

/// A limit on this machine: `DOCKERNET_TEST_PATIENCE=5` takes it times five, as emulated machines need.
#[must_use]
pub fn patient(limit: Duration) -> Duration {
    let factor = std::env::var("DOCKERNET_TEST_PATIENCE").ok();
    limit * factor.and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Waits for a child, at most `limit`; `None` when it still runs.
pub(crate) fn wait_child(child: &mut Child, limit: Duration) -> Option<std::process::ExitStatus> {
    let deadline = Instant::now() + patient(limit);
    let mut pause = Duration::from_millis(1);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Asks again and again until the answer is `Some`.
///
/// # Errors
/// `what` did not come true within `limit`.
pub fn wait_until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let limit = patient(limit);
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {limit:?}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}
