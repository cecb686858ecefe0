//! The process that may do what the rest of a service need not: enter network namespaces and look at other processes.
//!
//! A service gives up nearly all privileges once it is attached, but containers come and go for months. So before that it starts
//! itself once more; this helper keeps the privileges and answers a fixed set of questions (`request.rs`), each with
//! one descriptor or some data. It is given no code, and no path that it does not check.
//!
//! The service sends a question with the end of a socket pair that is made for it, so that a slow answer keeps no other waiting. The
//! helper ends when the service does: its socket is then closed.

mod client;
mod request;
mod serve;

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::{
    socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt::SendTimeout},
    time::TimeVal,
};
use nix::unistd::Pid;
use tokio::io::{Interest, unix::AsyncFd};

pub(crate) use self::client::{
    engine_file, engine_folder, file, in_root, netns, netns_of, on_device, on_process, output,
    owns_socket, processes, socket, statistics,
};
pub use self::serve::serve;

/// The first argument of a helper. Not an option of the command line: nobody but the service starts it.
pub const ARGUMENT: &str = "namespace-helper";

/// The service's way to its helper. One for the process, as its privileges are.
static HELPER: OnceLock<Helper> = OnceLock::new();

/// Longer than the longest listing may take. One that does not answer within this is stuck.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Helper {
    questions: OwnedFd,
    pid: u32,
}

impl Helper {
    /// Its process; none where a test answers.
    fn process(&self) -> Option<Pid> {
        let pid = i32::try_from(self.pid).ok()?;
        (pid > 0).then_some(Pid::from_raw(pid))
    }
}

/// Whether there is one, and it has to be asked.
#[must_use]
pub(crate) fn is_there() -> bool {
    HELPER.get().is_some()
}

/// Its process, if there is one.
#[must_use]
pub fn pid() -> Option<u32> {
    HELPER.get().map(|helper| helper.pid)
}

/// Starts it, with all privileges that this thread has. From here on it is asked, by every thread. `filter`: what it says
/// of itself ([`crate::logging`]).
///
/// # Errors
/// This program cannot be started once more, or the helper does not answer.
pub fn start(filter: &str) -> Result<Started> {
    if is_there() {
        bail!("there is a helper already");
    }
    let (ours, theirs) = pair().context("making a pair of sockets")?;
    // One that is stuck holds nobody up for ever.
    setsockopt(
        &ours,
        SendTimeout,
        &TimeVal::new(PATIENCE.as_secs().cast_signed(), 0),
    )
    .context("setting a time limit")?;
    let program = std::env::current_exe().unwrap_or_default();
    let mut child = Command::new("/proc/self/exe")
        // What ps shows.
        .arg0(program)
        .arg(ARGUMENT)
        .arg(filter)
        // What a library or a program that it runs would take from there is not for a process with privileges.
        .env_clear()
        .env(
            "PATH",
            absolute(&std::env::var_os("PATH").unwrap_or_default()),
        )
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()
        .context("starting the helper for namespaces")?;
    let helper = Helper {
        questions: ours,
        pid: child.id(),
    };
    if let Err(error) = client::alive(&helper) {
        // Whatever it is: it answers nothing.
        let _ = child.kill();
        let _ = child.wait();
        return Err(error).context("asking the helper for namespaces");
    }
    // No other thread could have set it: services start one, at their beginning.
    let _ = HELPER.set(helper);
    Ok(Started(child))
}

/// The helper's process: it ends when this is dropped.
#[derive(Debug)]
pub struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // Its socket is closed with the service at the latest; a question may still be on its way.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Both ends of what questions are asked by.
fn pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
}

/// The folders of a search path that do not depend on where one is.
fn absolute(path: &OsStr) -> OsString {
    let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    std::env::join_paths(folders).unwrap_or_default()
}

/// Waits until it has ended, which it does not do by itself. Without a helper: for ever.
///
/// # Errors
/// Its socket cannot be waited for.
pub async fn has_ended() -> io::Result<()> {
    let Some(helper) = HELPER.get() else {
        return std::future::pending().await;
    };
    let questions = helper.questions.try_clone()?;
    // SAFETY: the descriptor is owned, and the same until it is dropped.
    let questions = unsafe { AsyncFd::register_with_interest(questions, Interest::READABLE) }
        .map_err(io::Error::from)?;
    // It sends nothing there: what can be read is the end.
    questions.readable().await.map(drop)
}

/// What is said where it should answer and does not.
fn ended() -> io::Error {
    io::Error::new(
        io::ErrorKind::BrokenPipe,
        "the helper for namespaces has ended",
    )
}

#[cfg(test)]
mod tests;
