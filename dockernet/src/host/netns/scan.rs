//! Finding the namespaces of this machine: processes' and those that files keep.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::sys::statfs::{NSFS_MAGIC, statfs};

use crate::host::helper;

/// Pid and namespace inode number of every process that may be looked at, lowest pid first.
///
/// About 3 µs a process.
///
/// # Errors
/// There is a helper, and it does not answer.
pub fn processes() -> io::Result<Vec<(i32, u32)>> {
    if helper::is_there() {
        helper::processes()
    } else {
        Ok(processes_here())
    }
}

/// The same, with what this process may do.
pub(in crate::host) fn processes_here() -> Vec<(i32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found: Vec<(i32, u32)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, inum_here(pid).ok()?)))
        .collect();
    found.sort_unstable();
    found
}

/// Namespace inode number of one process.
pub fn inum_of(pid: i32) -> io::Result<u32> {
    if helper::is_there() {
        helper::netns_of(pid)
    } else {
        inum_here(pid)
    }
}

/// The same, with what this process may do.
pub(in crate::host) fn inum_here(pid: i32) -> io::Result<u32> {
    let inode = fs::metadata(netns_path(pid))?.ino();
    u32::try_from(inode).map_err(io::Error::other)
}

/// The file that opens a process's network namespace.
#[must_use]
pub fn netns_path(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

/// Name and inode number of the namespaces that a folder's files keep (`/run/netns`, `/run/docker/netns`).
#[must_use]
pub fn kept_in(folder: &Path) -> Vec<(String, u32)> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let path = entry.path();
            // A file whose mount is gone is an ordinary empty file.
            if statfs(&path).ok()?.filesystem_type() != NSFS_MAGIC {
                return None;
            }
            let inum = u32::try_from(fs::metadata(&path).ok()?.ino()).ok()?;
            Some((entry.file_name().into_string().ok()?, inum))
        })
        .collect()
}

/// Whether a namespace's file is gone. One that cannot be looked at is not.
#[must_use]
pub fn is_gone(path: &Path) -> bool {
    let pid = || -> Option<i32> {
        let inner = path.strip_prefix("/proc").ok()?.to_str()?;
        inner.strip_suffix("/ns/net")?.parse().ok()
    };
    let found = match pid() {
        // The helper, which is asked else, costs ten times as much; and this is asked of every namespace again and again.
        Some(pid) if helper::is_there() && runs(pid) => return false,
        Some(pid) => inum_of(pid).map(drop),
        None => fs::metadata(path).map(drop),
    };
    found.is_err_and(|error| is_absence(&error))
}

/// Whether a process lives, as far as can be told.
#[must_use]
pub fn lives(pid: i32) -> bool {
    !inum_of(pid).is_err_and(|error| is_absence(&error))
}

fn is_absence(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// Whether a process holds the socket of that inode number.
#[must_use]
pub fn owns_socket(pid: u32, inode: u64) -> bool {
    if helper::is_there() {
        helper::owns_socket(pid, inode).unwrap_or(false)
    } else {
        owns_socket_here(pid, inode)
    }
}

/// The same, with what this process may do.
pub(in crate::host) fn owns_socket_here(pid: u32, inode: u64) -> bool {
    let wanted = format!("socket:[{inode}]");
    fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .any(|fd| {
            fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
        })
}

/// Which of these processes has lived longest. Numbers do not tell: they are given out anew when they have reached their end.
#[must_use]
pub fn oldest(pids: &[i32]) -> Option<i32> {
    let times = pids.iter().filter_map(|pid| Some((started(*pid)?, *pid)));
    times.min().map(|(_, pid)| pid)
}

/// Whether a process is seen to live: neither gone nor a zombie, which has no namespaces any more, nor hidden from us (`hidepid`).
fn runs(pid: i32) -> bool {
    stat(pid, 3).is_some_and(|state| !matches!(state.as_str(), "Z" | "X" | "x"))
}

/// When a process was started, in ticks since boot (`starttime`, proc_pid_stat(5)): 100 a second wherever Docker runs.
#[must_use]
pub fn started(pid: i32) -> Option<u64> {
    stat(pid, 22)?.parse().ok()
}

/// A field of /proc/PID/stat, the third (the state) or one behind it.
fn stat(pid: i32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, blanks and brackets included; field 3 is behind it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    fields.nth(field.checked_sub(3)?).map(str::to_owned)
}

/// The user whose rights a process has (its effective one; the owner of its folder may be another).
#[must_use]
pub fn uid_of(pid: i32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// `comm` of a process.
#[must_use]
pub fn comm(pid: i32) -> Option<String> {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(comm.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_oldest_is_told_by_its_time() {
        let own = i32::try_from(std::process::id()).unwrap();
        // Longer than the clock's tick, which is 10 ms.
        std::thread::sleep(std::time::Duration::from_millis(30));
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let young = i32::try_from(child.id()).unwrap();
        let found = (oldest(&[own, young]), oldest(&[young, own]));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, (Some(own), Some(own)));
        assert_eq!(oldest(&[i32::MAX]), None);
    }

    #[test]
    fn a_namespace_is_gone_with_its_process_only() {
        for (path, is_gone_there) in [
            ("/proc/self/ns/net", false),
            ("/proc/0/ns/net", true),
            ("/run/netns/no-such-namespace", true),
        ] {
            assert_eq!(is_gone(Path::new(path)), is_gone_there, "{path}");
        }
        assert!(lives(i32::try_from(std::process::id()).unwrap()));
        assert!(!lives(i32::MAX));
    }
}
