//! Whether a process is frozen, as `docker pause` does it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

/// Where cgroups are mounted everywhere.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Whether the cgroup of a process, or one above it, is frozen: v2's `cgroup.events` (5.2+) or v1's `freezer.state`, both of which
/// tell of those above too.
///
/// # Errors
/// The process is gone, or its cgroup's files cannot be read.
pub fn is_frozen(pid: u32) -> Result<bool> {
    let file = format!("/proc/{pid}/cgroup");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
    let state = state_files(&text)
        .into_iter()
        .find_map(|path| fs::read_to_string(Path::new(CGROUPS).join(path)).ok())
        .with_context(|| format!("no freezer of process {pid} is found in {CGROUPS}"))?;
    Ok(says_frozen(&state))
}

/// The files that may tell, below the mount point.
pub(crate) fn state_files(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            // hierarchy:controllers:path
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let path = path.trim_start_matches('/');
            if path.split('/').any(|part| part == "..") {
                return None;
            }
            match controllers {
                "" => Some(format!("{path}/cgroup.events")),
                "freezer" => Some(format!("freezer/{path}/freezer.state")),
                _ => None,
            }
        })
        .collect()
}

pub(crate) fn says_frozen(state: &str) -> bool {
    state
        .lines()
        .any(|line| matches!(line.trim(), "frozen 1" | "FROZEN" | "FREEZING"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_cgroups() {
        assert_eq!(
            state_files("0::/docker/1a2b\n"),
            ["docker/1a2b/cgroup.events"]
        );
        assert_eq!(
            state_files("8:pids:/docker/1a\n3:freezer:/docker/1a\n"),
            ["freezer/docker/1a/freezer.state"]
        );
        assert!(state_files("0::/../x\nrubbish\n").is_empty());
        assert!(says_frozen("populated 1\nfrozen 1\n"));
        assert!(says_frozen("FROZEN\n"));
        assert!(!says_frozen("populated 1\nfrozen 0\n"));
        assert!(!says_frozen("THAWED\n"));
    }

    #[test]
    fn this_process_runs() {
        // Where cgroups are not mounted there is no answer, which is none of "frozen".
        assert!(!is_frozen(std::process::id()).unwrap_or(false));
    }
}
