//! Running a program that lists rules, for at most a given time.

use std::{
    io::Read as _,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a listing may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How much of a listing is read.
const LENGTH: u64 = 64 << 20;

/// Runs a program in the calling thread's network namespace and returns what it printed, or a sentence on why not.
/// A program that is not installed is `Ok(None)`.
pub(super) fn output(program: &str, arguments: &[&str]) -> Result<Option<String>, String> {
    let started = Instant::now();
    let mut child = match command(program).args(arguments).spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{program} could not be started: {error}")),
    };
    let Some(mut stdout) = child.stdout.take() else {
        return Err(format!("{program} has no output to read"));
    };
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.by_ref().take(LENGTH).read_to_end(&mut bytes);
        read.map(|_| bytes)
    });
    let mut pause = Duration::from_millis(1);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            // A reader that stopped at its limit leaves the program waiting for it: that ends here too.
            Ok(None) if started.elapsed() < LIMIT => {
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
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
    let bytes = match reader.join() {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return Err(format!("reading the output of {program}: {error}")),
        Err(_) => return Err(format!("reading the output of {program} failed")),
    };
    if !status.success() {
        return Err(format!("{program} failed: {status}"));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command
        // A user's PATH often lacks the folders where firewall programs are.
        .env("PATH", format!("{path}:/usr/sbin:/sbin:/usr/local/sbin"))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}
