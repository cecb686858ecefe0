//! Where an engine keeps its files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::cgroup::of_process;
use crate::host::{netns::scan, regular};

/// A running Docker daemon, as its command line and configuration tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// Process.
    pub pid: i32,
    /// Inode number of its network namespace.
    pub inum: u32,
    /// Where containers are described.
    pub data_root: PathBuf,
    /// Where its sandboxes' namespaces are kept (`netns` below it).
    pub exec_root: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct DaemonJson {
    data_root: Option<PathBuf>,
    /// The old name of `data-root`.
    graph: Option<PathBuf>,
    exec_root: Option<PathBuf>,
}

/// The Docker daemons among `processes` (pid and namespace inode number).
#[must_use]
pub fn daemons(processes: &[(i32, u32)]) -> Vec<Daemon> {
    processes
        .iter()
        .filter(|(pid, _)| scan::comm(*pid).is_some_and(|comm| comm == "dockerd"))
        // Anybody may call a program so: where a container's does, nothing that it says is about this host.
        .filter(|(pid, _)| !is_contained(*pid))
        .filter_map(|(pid, inum)| {
            let cmdline = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let arguments: Vec<String> = cmdline
                .split(|byte| *byte == 0)
                .map(|argument| String::from_utf8_lossy(argument).into_owned())
                .collect();
            Some(daemon(*pid, *inum, &arguments, |path| {
                regular::text(path).ok()
            }))
        })
        .collect()
}

/// Whether a process is in a container that we are not in as well.
#[must_use]
pub fn is_contained(pid: i32) -> bool {
    let own = i32::try_from(std::process::id()).ok();
    of_process(pid).is_some_and(|theirs| {
        own.and_then(of_process)
            .is_none_or(|ours| ours.id != theirs.id)
    })
}

fn daemon(
    pid: i32,
    inum: u32,
    arguments: &[String],
    read: impl Fn(&Path) -> Option<String>,
) -> Daemon {
    let option = |names: &[&str]| {
        arguments.iter().enumerate().find_map(|(place, argument)| {
            names.iter().find_map(|name| {
                let rest = argument.strip_prefix(name)?;
                match rest.strip_prefix('=') {
                    Some(value) => Some(value.to_owned()),
                    None if rest.is_empty() => arguments.get(place + 1).cloned(),
                    None => None,
                }
            })
        })
    };
    let file = option(&["--config-file"]).unwrap_or_else(|| "/etc/docker/daemon.json".to_owned());
    let json: DaemonJson = read(Path::new(&file))
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    Daemon {
        pid,
        inum,
        data_root: option(&["--data-root", "--graph", "-g"])
            .map(PathBuf::from)
            .or(json.data_root)
            .or(json.graph)
            .unwrap_or_else(|| PathBuf::from("/var/lib/docker")),
        exec_root: option(&["--exec-root"])
            .map(PathBuf::from)
            .or(json.exec_root)
            .unwrap_or_else(|| PathBuf::from("/var/run/docker")),
    }
}

/// Where a Docker that does not run has left its files, on a machine set up in the usual way.
#[must_use]
pub fn default_data_roots() -> Vec<PathBuf> {
    let daemon = daemon(0, 0, &[], |path| regular::text(path).ok());
    let mut roots = vec![daemon.data_root];
    let usual = PathBuf::from("/var/lib/docker");
    if !roots.contains(&usual) {
        roots.push(usual);
    }
    roots
}

/// The folder that holds a container's own files, told by what is mounted in it: the engine mounts `hosts`,
/// `hostname` and `resolv.conf` from there. Works with no daemon running and any data-root.
#[must_use]
pub fn folder_of(pid: i32, id: &str) -> Option<PathBuf> {
    let theirs = fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok()?;
    let ours = fs::read_to_string("/proc/thread-self/mountinfo").ok()?;
    folder_in(&theirs, &ours, id)
}

fn folder_in(theirs: &str, ours: &str, id: &str) -> Option<PathBuf> {
    let (device, folder) = theirs.lines().find_map(|line| {
        let mount = Mount::parse(line)?;
        let folder = Path::new(mount.root).parent()?;
        (folder.file_name()? == id).then_some((mount.device, folder))
    })?;
    // `folder` counts from the root of its file system, which may be mounted anywhere.
    ours.lines()
        .filter_map(Mount::parse)
        .filter(|mount| mount.device == device)
        .find_map(|mount| {
            let rest = folder.strip_prefix(mount.root).ok()?;
            Some(Path::new(mount.point).join(rest))
        })
}

/// A line of mountinfo (proc(5)).
struct Mount<'a> {
    device: &'a str,
    root: &'a str,
    point: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(' ').skip(2);
        Some(Self {
            device: fields.next()?,
            root: fields.next()?,
            point: fields.next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn options_beat_the_file_and_the_file_the_default() {
        let json = |_: &Path| Some(r#"{"data-root": "/srv/docker", "log-level": "warn"}"#.into());
        let found = daemon(
            1,
            2,
            &arguments("dockerd --data-root /a --exec-root=/b"),
            json,
        );
        assert_eq!(found.data_root, Path::new("/a"));
        assert_eq!(found.exec_root, Path::new("/b"));
        let found = daemon(1, 2, &arguments("dockerd -H fd://"), json);
        assert_eq!(found.data_root, Path::new("/srv/docker"));
        let found = daemon(1, 2, &arguments("dockerd"), |_| Some("{broken".into()));
        assert_eq!(found.data_root, Path::new("/var/lib/docker"));
        assert_eq!(found.exec_root, Path::new("/var/run/docker"));
    }

    #[test]
    fn folder_on_a_file_system_of_its_own() {
        let theirs = "600 590 8:1 / / rw - overlay overlay rw\n\
                      610 600 8:2 /docker/containers/abc/hosts /etc/hosts rw - ext4 /dev/sda2 rw\n";
        let ours = "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 20 8:2 / /srv rw - ext4 /dev/sda2 rw\n";
        assert_eq!(
            folder_in(theirs, ours, "abc"),
            Some(PathBuf::from("/srv/docker/containers/abc"))
        );
        assert_eq!(folder_in(theirs, ours, "abd"), None);
        assert_eq!(folder_in("x\n\n", ours, "abc"), None);
    }
}
