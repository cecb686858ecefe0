//! Files that somebody else has named or made: opened only if they are regular ones, and read so far and no further.
//!
//! To open a pipe waits, to open a device may do something (a watchdog's starts it), and /dev/zero has no end.

use std::{
    fs::File,
    io::{self, Read as _},
    os::{
        fd::{AsFd, AsRawFd as _},
        unix::fs::OpenOptionsExt as _,
    },
    path::Path,
};

use nix::{
    fcntl::{OFlag, open},
    sys::stat::{Mode, SFlag, fstat, makedev},
};

/// More than any configuration file has.
const LONGEST: u64 = 1 << 20;

/// Opens a regular file for reading. `follows`: through links, as usual.
///
/// # Errors
/// There is none, or it is something else.
pub(crate) fn file(path: &Path, follows: bool) -> io::Result<File> {
    let mut flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    if !follows {
        flags |= OFlag::O_NOFOLLOW;
    }
    again(&open(path, flags, Mode::empty())?)
}

/// Opens for reading what was found with `O_PATH`, if it is a regular file.
///
/// # Errors
/// It is something else, or not to be read.
pub(crate) fn again(found: &impl AsFd) -> io::Result<File> {
    let fd = found.as_fd();
    let kind = SFlag::from_bits_truncate(fstat(fd)?.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFREG {
        return Err(io::Error::other("it is no regular file"));
    }
    // Somebody may hold a lease on it, which an open waits for, 45 s by default (fs/locks.c, `__break_lease`).
    File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(format!("/proc/thread-self/fd/{}", fd.as_raw_fd()))
}

/// A configuration file's text; none in /dev/null, which some name to have none.
///
/// # Errors
/// As for [`file()`]; it is longer than any such file, or no UTF-8.
pub(crate) fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let found = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    if fstat(&found)?.st_rdev == makedev(1, 3) {
        return Ok(text);
    }
    let mut limited = again(&found)?.take(LONGEST + 1);
    limited.read_to_string(&mut text)?;
    if limited.limit() == 0 {
        return Err(io::Error::other(format!(
            "it is longer than {LONGEST} bytes"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn nothing_but_regular_files_of_some_length_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "text").unwrap();
        symlink(at("file"), at("link")).unwrap();
        nix::unistd::mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
        symlink("/dev/zero", at("zero")).unwrap();
        symlink("/dev/null", at("null")).unwrap();
        fs::write(
            at("long"),
            vec![b' '; usize::try_from(LONGEST).unwrap() + 1],
        )
        .unwrap();
        assert_eq!(text(&at("file")).unwrap(), "text");
        assert_eq!(text(&at("link")).unwrap(), "text");
        assert_eq!(text(&at("null")).unwrap(), "");
        assert!(file(&at("link"), false).is_err());
        for name in ["pipe", "zero", "long", "none", "."] {
            assert!(text(&at(name)).is_err(), "{name}");
        }
        let missing = text(&at("none")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_lease_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let held = File::create(&path).unwrap();
        // SAFETY: nobody else here has to do with the signal that tells of its end; and a lease of an open file is changed.
        let status = unsafe {
            libc::signal(libc::SIGIO, libc::SIG_IGN);
            libc::fcntl(held.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK)
        };
        assert_eq!(status, 0, "{}", io::Error::last_os_error());
        let refused = text(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    }
}
