//! Finding the namespaces of this machine: processes' and those that files keep.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::sys::statfs::{NSFS_MAGIC, statfs};

/// Pid and namespace inode number of every process that may be looked at, lowest pid first.
///
/// About 3 µs a process.
#[must_use]
pub fn processes() -> Vec<(i32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found: Vec<(i32, u32)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, inum_of(pid).ok()?)))
        .collect();
    found.sort_unstable();
    found
}

/// Namespace inode number of one process.
pub fn inum_of(pid: i32) -> io::Result<u32> {
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

/// `comm` of a process.
#[must_use]
pub fn comm(pid: i32) -> Option<String> {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(comm.trim_end().to_owned())
}
