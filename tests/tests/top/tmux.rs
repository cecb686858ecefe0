//! A real terminal: a tmux server of its own, with a shell in it.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use dockernet_tests::{Cmd, Lab, tool_path, wait_until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long the screen may take to show something.
const PATIENCE: Duration = Duration::from_secs(10);

/// The terminal. It is taken down when this is dropped.
pub(crate) struct Tmux {
    socket: PathBuf,
    folder: PathBuf,
    shell: i32,
}

impl Tmux {
    /// 80 columns, 24 lines, an interactive shell inside.
    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        // The server of the one before may be about to end.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = lab.folder().join(format!("terminal{number}"));
        fs::create_dir_all(&folder)?;
        let mut tmux = Self {
            socket: folder.join("tmux"),
            folder,
            shell: 0,
        };
        tmux.command(&[
            "-f",
            "/dev/null",
            "-u",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
        ])
        .arg("env PS1='> ' LC_ALL=C.UTF-8 bash --norc --noprofile")
        .env_remove("TMUX")
        .run()?;
        tmux.shell = tmux.ask("pane_pid")?.parse().context("the shell's pid")?;
        tmux.wait("a prompt", |screen| screen.contains('>'))?;
        Ok(tmux)
    }

    fn command(&self, args: &[&str]) -> Cmd {
        Cmd::new("tmux").arg("-S").arg(&self.socket).args(args)
    }

    fn ask(&self, what: &str) -> Result<String> {
        let format = format!("#{{{what}}}");
        let told = self.command(&["display-message", "-p", &format]).run()?;
        Ok(told.trim().to_owned())
    }

    /// Presses keys, as tmux names them.
    pub(crate) fn press(&self, keys: &[&str]) -> Result<()> {
        self.command(&["send-keys"]).args(keys).run().map(drop)
    }

    /// Types text.
    pub(crate) fn type_in(&self, text: &str) -> Result<()> {
        self.command(&["send-keys", "-l", text]).run().map(drop)
    }

    /// Types a command of the shell's.
    pub(crate) fn shell(&self, line: &str) -> Result<()> {
        self.type_in(line)?;
        self.press(&["Enter"])
    }

    /// What is to be seen.
    pub(crate) fn screen(&self) -> Result<String> {
        self.command(&["capture-pane", "-p"]).run()
    }

    /// The same with its colours, as escape sequences.
    pub(crate) fn coloured(&self) -> Result<String> {
        self.command(&["capture-pane", "-p", "-e"]).run()
    }

    pub(crate) fn resize(&self, columns: u16, lines: u16) -> Result<()> {
        let (columns, lines) = (columns.to_string(), lines.to_string());
        self.command(&["resize-window", "-x", &columns, "-y", &lines])
            .run()
            .map(drop)
    }

    /// Waits until the screen is as it should be, and gives it.
    pub(crate) fn wait(&self, what: &str, fits: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = String::new();
        wait_until(what, PATIENCE, || {
            last = self.screen().ok()?;
            fits(&last).then(|| last.clone())
        })
        .with_context(|| format!("the screen shows:\n{last}"))
    }

    /// Runs `top` in the lab's host with the settings of the terminal noted before, and waits until it draws.
    pub(crate) fn top(&self, lab: &Lab, before: &str, args: &str) -> Result<()> {
        let line = format!(
            "clear; stty -g > {0}/before; {before} nsenter --net={1} {2} top -H {3} {args}",
            self.folder.display(),
            lab.host().path().display(),
            tool_path()?.display(),
            lab.docker_host()
        );
        self.shell(&line)?;
        self.wait("top", |screen| screen.contains("dockernet-trace top  "))?;
        ensure!(self.is_alternate()?, "top draws over what was there");
        Ok(())
    }

    fn is_alternate(&self) -> Result<bool> {
        Ok(self.ask("alternate_on")? == "1")
    }

    /// The running tool: the shell's only child.
    pub(crate) fn tool(&self) -> Result<Pid> {
        let shell = self.shell;
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"))?;
        let pid = children
            .trim()
            .parse()
            .with_context(|| format!("the shell has not one child: {children}"))?;
        Ok(Pid::from_raw(pid))
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.tool()?, signal).context("signalling dockernet-trace")
    }

    /// After the end: the prompt is back, the ledger is there, and the terminal is as it was. Gives the screen.
    pub(crate) fn ended(&self, status: i32) -> Result<String> {
        wait_until("the end of top", PATIENCE, || {
            self.tool().is_err().then_some(())
        })?;
        let told = format!("{}/told", self.folder.display());
        fs::remove_file(&told).ok();
        self.shell(&format!(
            "echo $? > {told}.new; stty -g >> {told}.new; mv {told}.new {told}"
        ))?;
        let told = wait_until("the shell", PATIENCE, || fs::read_to_string(&told).ok())?;
        let before = fs::read_to_string(self.folder.join("before"))?;
        let (ended, after) = told.split_once('\n').context("no status")?;
        let screen = self.screen()?;
        ensure!(ended == status.to_string(), "status {ended}:\n{screen}");
        ensure!(after == before, "stty was {before} and is {after}");
        ensure!(!self.is_alternate()?, "the alternate screen is still there");
        ensure!(self.ask("cursor_flag")? == "1", "the cursor is hidden");
        Ok(screen)
    }

    /// After Ctrl-Z.
    pub(crate) fn stopped(&self) -> Result<()> {
        self.wait("the shell's word", |screen| screen.contains("Stopped"))?;
        ensure!(!self.is_alternate()?, "a stopped top keeps the screen");
        Ok(())
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.command(&["kill-server"]).output().ok();
    }
}
