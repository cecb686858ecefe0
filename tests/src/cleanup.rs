//! Leaving nothing behind, after a crash too.

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{exec::Cmd, wires};

/// All labs' folders start with this.
const PREFIX: &str = "dockernet-lab.";

/// Makes a lab's folder. Its path stays short: a UNIX socket's may have 107 bytes.
pub(crate) fn new_folder() -> Result<TempDir> {
    let folder = tempfile::Builder::new()
        .prefix(PREFIX)
        .rand_bytes(6)
        .tempdir()
        .context("making the lab's folder")?;
    let pid = std::process::id();
    let born = start_time(pid).unwrap_or_default();
    std::fs::write(folder.path().join("owner"), format!("{pid} {born}"))?;
    Ok(folder)
}

/// A lab's id is the random end of its folder's name.
pub(crate) fn id_of(folder: &Path) -> Result<String> {
    folder
        .file_name()
        .and_then(|name| name.to_str()?.strip_prefix(PREFIX))
        .map(str::to_owned)
        .with_context(|| format!("{} is no lab's folder", folder.display()))
}

/// Removes labs whose owner is gone.
pub(crate) fn leftovers() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for folder in entries.flatten().map(|entry| entry.path()) {
        if id_of(&folder).is_err() {
            continue;
        }
        let Ok(owner) = std::fs::read_to_string(folder.join("owner")) else {
            continue;
        };
        let mut words = owner.split(' ');
        let pid = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let alive = start_time(pid).as_deref() == words.next();
        if !alive {
            destroy(&folder);
        }
    }
}

/// When a process was started, in ticks since boot: with the pid it names a process for good.
fn start_time(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold spaces; it ends at the last parenthesis. Field 22 is starttime.
    stat.rsplit_once(") ")?
        .1
        .split(' ')
        .nth(19)
        .map(str::to_owned)
}

/// Ends a lab's processes, removes its namespaces, mounts and folder.
pub(crate) fn destroy(folder: &Path) {
    let Ok(id) = id_of(folder) else {
        return;
    };
    for round in 0..20 {
        let pids = processes(folder, &id);
        if pids.is_empty() {
            break;
        }
        for pid in pids {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
        thread::sleep(Duration::from_millis(if round == 0 { 50 } else { 200 }));
    }
    cgroups(&containers(folder));
    unmount(folder);
    namespaces(&id);
    std::fs::remove_dir_all(folder).ok();
}

pub(crate) fn namespaces(id: &str) {
    for name in [wires::host_name(id), wires::outside_name(id)] {
        if Path::new("/run/netns").join(&name).exists() {
            Cmd::new("ip").args(["netns", "del", &name]).run().ok();
        }
    }
}

/// Full ids of the containers that a lab's engine still knows.
fn containers(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder.join("data/containers")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Removes containers' cgroups, which a killed engine leaves (v1: one folder below each controller's).
fn cgroups(containers: &[String]) {
    let root = Path::new("/sys/fs/cgroup");
    let controllers = std::fs::read_dir(root).into_iter().flatten().flatten();
    let parents: Vec<PathBuf> = controllers
        .map(|entry| entry.path().join("docker"))
        .chain([root.join("docker")])
        .filter(|parent| parent.is_dir())
        .collect();
    for parent in parents {
        for id in containers {
            std::fs::remove_dir(parent.join(id)).ok();
        }
    }
}

/// Processes of a lab: they name its folder on their command line, run in its namespaces, or in its containers' cgroups.
fn processes(folder: &Path, id: &str) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let folder_text = folder.to_string_lossy();
    let containers = containers(folder);
    let inums: Vec<PathBuf> = [wires::host_name(id), wires::outside_name(id)]
        .iter()
        .filter_map(|name| {
            use std::os::unix::fs::MetadataExt;
            let inum = std::fs::metadata(Path::new("/run/netns").join(name))
                .ok()?
                .ino();
            Some(PathBuf::from(format!("net:[{inum}]")))
        })
        .collect();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            let proc = PathBuf::from(format!("/proc/{pid}"));
            std::fs::read_link(proc.join("ns/net")).is_ok_and(|ns| inums.contains(&ns))
                || std::fs::read_to_string(proc.join("cgroup"))
                    .is_ok_and(|text| containers.iter().any(|id| text.contains(id.as_str())))
                || is_engine(&proc, &folder_text)
        })
        .collect()
}

fn is_engine(proc: &Path, folder: &str) -> bool {
    let comm = std::fs::read_to_string(proc.join("comm")).unwrap_or_default();
    ["dockerd", "containerd", "docker-proxy", "runc"]
        .iter()
        .any(|name| comm.starts_with(name))
        && std::fs::read(proc.join("cmdline"))
            .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(folder))
}

fn unmount(folder: &Path) {
    let prefix = format!("{}/", folder.display());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    // Later mounts may lie on earlier ones.
    let mut points: Vec<&str> = points.filter(|at| at.starts_with(&prefix)).collect();
    points.reverse();
    for point in points {
        nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH).ok();
    }
}
