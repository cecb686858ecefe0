//! Files of a container, which are not to be trusted.

use std::{
    io::{self, Read as _},
    path::Path,
};

use nix::{
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::stat::Mode,
};

use super::{helper, regular};

/// Such files are a few lines; the container writes them, so more is not read.
const LIMIT: u64 = 64 * 1024;

/// Reads a file as a process sees it (`/proc/PID/root`).
///
/// # Errors
/// There is no such process or file, or it is none that can be read without waiting.
pub(crate) fn read_of(pid: u32, file: &str) -> io::Result<String> {
    if helper::is_there() {
        helper::in_root(pid, file)
    } else {
        read_here(pid, file)
    }
}

/// The same, with what this process may do.
pub(super) fn read_here(pid: u32, file: &str) -> io::Result<String> {
    read(Path::new(&format!("/proc/{pid}/root")), file)
}

/// Reads a file below `root` (`/proc/PID/root`), and never follows a link out of it. What is no UTF-8 is replaced.
///
/// # Errors
/// There is no such file, or it is none that can be read without waiting.
pub(super) fn read(root: &Path, file: &str) -> io::Result<String> {
    // What the container has put there is looked at before it is opened.
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let directory = open(
        root,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    // openat2 is 5.6+, and some seccomp profiles refuse it.
    let how = OpenHow::new()
        .flags(flags)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let opened = match openat2(&directory, file, how) {
        Err(nix::errno::Errno::ENOSYS | nix::errno::Errno::EPERM) => {
            let path = root.join(file);
            nix::fcntl::openat(AT_FDCWD, &path, flags | OFlag::O_NOFOLLOW, Mode::empty())
        }
        other => other,
    }?;
    let mut bytes = Vec::new();
    regular::again(&opened)?
        .take(LIMIT)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
