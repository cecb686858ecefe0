//! Running a program that lists rules, for at most a given time.

use std::{
    io::Read as _,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::sys::{prctl, signal::Signal};

use crate::host::{helper, inside, netns::NetnsHandle, privileges};

/// How long a listing may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How much of a listing is read, in bytes: 100,000 elements of a set are some 5 MiB, and taking them apart takes several times that.
const LENGTH: usize = 8 << 20;

/// Runs a program in the network namespace that the calling thread works in and returns what it printed, or a sentence on why
/// not. A program that is not installed is `Ok(None)`. Where there is a helper, it runs the program, and only such as list rules.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Result<Option<String>, String> {
    if !helper::is_there() {
        return output_here(program, arguments);
    }
    let netns = match inside::current() {
        Some(netns) => netns,
        None => NetnsHandle::current().map_err(|error| format!("running {program}: {error}"))?,
    };
    helper::output(&netns, program, arguments)
}

/// The same in the calling thread's namespace, with what this process may do.
pub(in crate::host) fn output_here(
    program: &str,
    arguments: &[&str],
) -> Result<Option<String>, String> {
    let started = Instant::now();
    let mut child = match command(program).args(arguments).spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{program} could not be started: {error}")),
    };
    let Some(mut stdout) = child.stdout.take() else {
        return Err(format!("{program} has no output to read"));
    };
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.by_ref().take(LENGTH as u64).read_to_end(&mut bytes);
        // Nobody listens any more if the time was up.
        let _ = sender.send(read.map(|_| bytes));
    });
    // The end of the output is the end of the program, give or take a moment.
    let bytes = receiver.recv_timeout(LIMIT);
    if matches!(&bytes, Ok(Ok(bytes)) if bytes.len() == LENGTH) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("{program} lists more than {} MiB", LENGTH >> 20));
    }
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if bytes.is_ok() && started.elapsed() < LIMIT => {
                thread::sleep(Duration::from_micros(200));
            }
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!(
                    "{program} did not finish within {} s",
                    LIMIT.as_secs()
                ));
            }
            Err(error) => return Err(format!("waiting for {program}: {error}")),
        }
    };
    let bytes = match bytes {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return Err(format!("reading the output of {program}: {error}")),
        Err(_) => return Err(format!("reading the output of {program} failed")),
    };
    if !status.success() {
        return Err(format!("{program} failed: {status}"));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The program, to be found and read by us, and to end with us.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    // SAFETY: between fork and exec nothing but these system calls is made.
    unsafe {
        command.pre_exec(|| {
            // It parses what containers may have made.
            privileges::reduce_to_listing();
            // The thread that starts it waits for it; one that hangs does not outlive this process, which may end meanwhile.
            prctl::set_pdeathsig(Signal::SIGKILL).map_err(Into::into)
        });
    }
    let path = std::env::var("PATH").unwrap_or_default();
    // A user's PATH often lacks the folders where firewall programs are.
    let folders = path
        .split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"]);
    let folders: Vec<&str> = folders.filter(|folder| !folder.is_empty()).collect();
    command
        .env("PATH", folders.join(":"))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::output;

    #[test]
    fn what_programs_say() {
        assert_eq!(output("printf", &["a"]), Ok(Some("a".to_owned())));
        assert_eq!(output("no-such-program-here", &[]), Ok(None));
        assert!(output("false", &[]).unwrap_err().contains("failed"));
    }

    #[test]
    fn one_that_hangs_is_ended() {
        let why = output("sleep", &["60"]).unwrap_err();
        assert_eq!(why, "sleep did not finish within 5 s");
    }
}
