//! Programs that see the packets of a cgroup's sockets.

use std::{
    fs::{self, File},
    os::fd::AsRawFd as _,
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail};

use super::{At, Attached, named, query};

/// Programs that apply to a process' cgroup, its parents' included, asked with what this process may do.
pub(in crate::host) fn on_process_here(pid: u32) -> Result<Vec<Attached>> {
    let folder = folder(pid)?;
    let cgroup =
        File::open(&folder).with_context(|| format!("opening the cgroup {}", folder.display()))?;
    let mut found = Vec::new();
    // BPF_CGROUP_INET_INGRESS and _EGRESS (enum bpf_attach_type, include/uapi/linux/bpf.h).
    for (kind, at) in [(0, At::CgroupIngress), (1, At::CgroupEgress)] {
        let target = u32::try_from(cgroup.as_raw_fd())?;
        let programs = query::effective(target, kind)?;
        found.extend(programs.into_iter().map(|id| named(at, id)));
    }
    Ok(found)
}

/// The folder of a process' cgroup in the v2 hierarchy.
fn folder(pid: u32) -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
    let mount = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&"cgroup2"))
        .and_then(|fields| fields.get(1).map(ToString::to_string));
    let Some(mount) = mount else {
        bail!("no cgroup v2 hierarchy is mounted");
    };
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .with_context(|| format!("reading the cgroup of process {pid}"))?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let Some(path) = path else {
        bail!("process {pid} is in no cgroup of the v2 hierarchy");
    };
    Ok(PathBuf::from(mount).join(path))
}
