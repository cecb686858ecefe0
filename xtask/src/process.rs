//! Running other programs: progress lines, errors that are sentences, root only where needed.

use std::{
    env,
    ffi::OsStr,
    fs::File,
    io::{IsTerminal as _, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Error, Result, anyhow, bail};

/// Folders with administration programs, which a user's `PATH` often lacks.
const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// One progress line: what is done now, and why.
pub(crate) fn step(what: &str, why: &str) {
    eprintln!("xtask: {what} ({why})");
}

/// The lines of `error` that say why, for a note: those a program marked as errors, else the last one.
pub(crate) fn gist(error: &Error) -> String {
    let text = format!("{error:#}");
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let marked = lines.clone().filter(|line| {
        ["error: ", "ERROR ", "= note: ERROR ", "E: "]
            .iter()
            .any(|mark| line.starts_with(mark))
    });
    let told: Vec<&str> = marked.take(2).collect();
    if told.is_empty() {
        return lines.next_back().unwrap_or_default().to_owned();
    }
    told.join("; ")
}

/// A line about something that did not work but does not end the command.
pub(crate) fn note(text: &str) {
    eprintln!("xtask: note: {text}");
}

/// Runs `command` with this terminal and fails with a sentence when it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("{} could not be started", line(command)))?;
    check(command, status)
}

/// Runs `command` and gives what it printed, without the last newline.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} could not be started", line(command)))?;
    if !output.status.success() {
        let printed = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {}", line(command), tail(&printed, 5));
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned())
}

/// Runs `command` without showing what it prints, at most for `limit`; a failure tells its last lines.
pub(crate) fn quiet(command: &mut Command, limit: Duration) -> Result<()> {
    let mut log = log_file()?;
    command
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("sharing the log file")?)
        .stderr(log.try_clone().context("sharing the log file")?);
    let mut child = command
        .spawn()
        .with_context(|| format!("{} could not be started", line(command)))?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().context("waiting for a program")? {
            break status;
        }
        if start.elapsed() > limit {
            child.kill().context("ending a program")?;
            child.wait().context("waiting for a program")?;
            bail!("{} took over {} s", line(command), limit.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    };
    let mut printed = Vec::new();
    log.seek(SeekFrom::Start(0))
        .and_then(|_| log.read_to_end(&mut printed))
        .context("reading the log file")?;
    let printed = String::from_utf8_lossy(&printed);
    check(command, status).map_err(|error| anyhow!("{error}:\n{}", tail(&printed, 15)))
}

/// A file without a name, so that nothing is left behind.
fn log_file() -> Result<File> {
    nix::sys::memfd::memfd_create(c"xtask-log", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)
        .map(File::from)
        .context("no memory file for a program's output")
}

/// A command that runs as root: directly, or through sudo.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    let mut command = sudo()?;
    command.arg("--").arg(program);
    Ok(command)
}

/// `sudo`, which asks for a password only where there is a person to answer.
pub(crate) fn sudo() -> Result<Command> {
    let sudo = find("sudo").context("this needs root, and there is no sudo: run it as root")?;
    let mut command = Command::new(sudo);
    if !std::io::stdin().is_terminal() {
        command.arg("--non-interactive");
    }
    Ok(command)
}

/// True when this process may do everything.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Where `program` is, by `PATH` and the folders for administration.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(SBIN.iter().map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn check(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("{} failed ({status})", line(command));
    }
    Ok(())
}

/// The command as a person would type it.
fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned()),
    );
    format!("`{}`", words.join(" "))
}

/// The last `count` lines of `text` that say something.
fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let from = lines.len().saturating_sub(count);
    lines.get(from..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_keeps_the_last_lines_that_say_something() {
        assert_eq!(tail("a\n\nb\n \nc\n", 2), "b\nc");
        assert_eq!(tail("", 3), "");
    }

    #[test]
    fn a_failure_tells_what_was_printed() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo told >&2; exit 3"]);
        let error =
            quiet(&mut command, Duration::from_secs(10)).map_err(|error| format!("{error:#}"));
        assert!(error.is_err_and(|text| text.contains("told") && text.contains("status: 3")));
    }

    #[test]
    fn the_gist_is_what_a_program_marked() {
        let error = anyhow!(
            "`cargo` failed:\n Compiling a\nerror: linking failed\n  = note: ERROR llvm: Invalid record\nerror: c"
        );
        assert_eq!(
            gist(&error),
            "error: linking failed; = note: ERROR llvm: Invalid record"
        );
        assert_eq!(gist(&anyhow!("one\ntwo")), "two");
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        let start = Instant::now();
        assert!(quiet(Command::new("sleep").arg("30"), Duration::from_millis(100)).is_err());
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
