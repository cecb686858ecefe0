//! Which container a process is in, by its cgroup's path (v1 and v2).

use std::fs;

/// Who manages a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Manager {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// Kubernetes, by whichever runtime.
    Kubernetes,
    /// containerd, nerdctl and others.
    Other,
}

/// A container as a cgroup path tells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CgroupContainer {
    /// Full id: 64 hexadecimal digits.
    pub id: String,
    /// Who manages it.
    pub manager: Manager,
}

/// The container of a process; none if it is in none, or gone.
#[must_use]
pub fn of_process(pid: i32) -> Option<CgroupContainer> {
    container_of(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

/// The container that the text of a `/proc/PID/cgroup` names.
///
/// Of nested ones (Docker in Docker) the outermost: it is the one whose network this host made.
#[must_use]
pub fn container_of(text: &str) -> Option<CgroupContainer> {
    text.lines()
        // hierarchy:controllers:path, and the path may hold colons (cri-containerd's do).
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .find_map(of_path)
}

fn of_path(path: &str) -> Option<CgroupContainer> {
    let kubernetes = path.contains("kubepods");
    let mut parent = "";
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if let Some((prefix, id)) = id_of(part) {
            let manager = match prefix {
                _ if kubernetes => Manager::Kubernetes,
                "docker" => Manager::Docker,
                "libpod" => Manager::Podman,
                "cri-containerd" | "crio" => Manager::Kubernetes,
                "" if parent == "docker" => Manager::Docker,
                "" if parent == "libpod_parent" => Manager::Podman,
                // With --cgroup-parent Docker's cgroupfs driver leaves the bare id in any folder.
                _ => Manager::Other,
            };
            // libpod-conmon-<id> is the monitor beside the container, in the host's namespaces.
            return (prefix != "libpod-conmon").then(|| CgroupContainer {
                id: id.to_owned(),
                manager,
            });
        }
        parent = part;
    }
    None
}

/// `docker-<id>.scope`, `libpod-<id>`, `cri-containerd:…:<id>`, `<id>` → what stands before, and the id.
fn id_of(part: &str) -> Option<(&str, &str)> {
    const LENGTH: usize = 64;
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let split = part.len().checked_sub(LENGTH)?;
    let (prefix, id) = (part.get(..split)?, part.get(split..)?);
    if !id
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    {
        return None;
    }
    let prefix = match prefix.split_once(':') {
        // kubepods-…-pod….slice:cri-containerd:<id>
        Some((_, rest)) => rest,
        None => prefix,
    };
    Some((prefix.trim_end_matches(['-', ':']), id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "2df2a7aa8382c3a1e4cbb7a0a6ee2ff46e9e34c1d0fbd9ef7b4b1a0c8d5e6f70";

    fn manager(path: &str) -> Option<Manager> {
        let text = format!("1:name=systemd:/\n0::{}\n", path.replace("ID", ID));
        let container = container_of(&text)?;
        assert_eq!(container.id, ID);
        Some(container.manager)
    }

    #[test]
    fn every_engine() {
        for (path, expected) in [
            ("/docker/ID", Manager::Docker),
            ("/docker/ID/init.scope", Manager::Docker),
            ("/system.slice/docker-ID.scope", Manager::Docker),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
                Manager::Docker,
            ),
            ("/../../docker/ID", Manager::Docker),
            ("/machine.slice/libpod-ID.scope/container", Manager::Podman),
            ("/libpod_parent/libpod-ID", Manager::Podman),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/cri-containerd-ID.scope",
                Manager::Kubernetes,
            ),
            (
                "/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:ID",
                Manager::Kubernetes,
            ),
            ("/kubepods/besteffort/pod1/ID", Manager::Kubernetes),
            ("/system.slice/nerdctl-ID.scope", Manager::Other),
            ("/mine/ID", Manager::Other),
        ] {
            assert_eq!(manager(path), Some(expected), "{path}");
        }
    }

    #[test]
    fn no_container() {
        for path in [
            "/",
            "/system.slice/ssh.service",
            "/docker/123",
            "/machine.slice/libpod-conmon-ID.scope",
            "/docker/zzf2a7aa8382c3a1e4cbb7a0a6ee2ff46e9e34c1d0fbd9ef7b4b1a0c8d5e6f70",
        ] {
            assert_eq!(manager(path), None, "{path}");
        }
        assert_eq!(container_of(""), None);
        assert_eq!(container_of("nonsense\n::\u{fffd}é"), None);
    }
}
