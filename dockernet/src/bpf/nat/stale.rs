//! What a run of ours left behind that could not end: clsact filters outlive their process, tcx links do not.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};

use crate::{
    bpf::tc,
    host::{
        netlink::interface_name,
        netns::{NetnsHandle, scan},
    },
};

/// All of our programs are called so.
const OURS: &str = "dockernet_";
/// Handle of our filter on a clsact qdisc that we made: it tells the next run that the qdisc is ours too.
pub(super) const ON_OUR_QDISC: u16 = 0xd0c1;
/// Handle of our filter on somebody else's.
pub(super) const ON_THEIR_QDISC: u16 = 0xd0c2;

/// A filter that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Device.
    pub device: String,
    /// Program.
    pub program: String,
    /// Whether the clsact qdisc went too: we had made it, and nobody else uses it.
    pub qdisc: bool,
    /// The running process that it belongs to; then it stays.
    pub owner: Option<u32>,
}

/// Removes what earlier runs left in the calling thread's namespace. Tells of every filter of ours; those of a run that goes on are
/// left alone.
///
/// # Errors
/// The kernel does not tell, or refuses to remove one.
pub(super) fn clean_here() -> Result<Vec<Leftover>> {
    let mut ours = Vec::new();
    for index in tc::with_clsact().context("listing qdiscs")? {
        let filters = tc::filters(index)
            .with_context(|| format!("listing the filters of {}", interface_name(index)))?;
        ours.extend(filters.into_iter().filter(is_ours));
    }
    if ours.is_empty() {
        return Ok(Vec::new());
    }
    let programs: HashSet<u32> = ours.iter().filter_map(|filter| filter.program).collect();
    let owners = owners(&programs);
    ours.iter()
        .map(|filter| {
            let owner = filter.program.and_then(|id| owners.get(&id).copied());
            let device = interface_name(filter.ifindex);
            let qdisc = owner.is_none()
                && remove(filter).with_context(|| format!("removing our filter from {device}"))?;
            Ok(Leftover {
                program: filter.name.clone().unwrap_or_default(),
                device,
                qdisc,
                owner,
            })
        })
        .collect()
}

fn is_ours(filter: &tc::Filter) -> bool {
    filter.kind == "bpf"
        && filter
            .name
            .as_ref()
            .is_some_and(|name| name.starts_with(OURS))
}

/// Removes a filter, and the qdisc if it was made for it and holds nothing else. Returns whether the qdisc went.
fn remove(filter: &tc::Filter) -> Result<bool> {
    tc::remove(filter)?;
    Ok(filter.handle == u32::from(ON_OUR_QDISC) && remove_empty_qdisc(filter.ifindex)?)
}

/// Removes a clsact qdisc that holds nothing. Returns whether it did.
pub(super) fn remove_empty_qdisc(ifindex: u32) -> Result<bool> {
    let is_empty = tc::filters(ifindex)?.is_empty();
    if is_empty {
        tc::remove_clsact(ifindex)?;
    }
    Ok(is_empty)
}

/// Processes that hold one of these programs open.
fn owners(programs: &HashSet<u32>) -> HashMap<u32, u32> {
    let mut owners = HashMap::new();
    let Ok(processes) = fs::read_dir("/proc") else {
        return owners;
    };
    let pids = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        let folder = Path::new("/proc").join(pid.to_string());
        let Ok(descriptors) = fs::read_dir(folder.join("fd")) else {
            continue;
        };
        for descriptor in descriptors.flatten() {
            let is_program = fs::read_link(descriptor.path())
                .is_ok_and(|target| target.as_os_str() == "anon_inode:bpf-prog");
            if !is_program {
                continue;
            }
            let info = folder.join("fdinfo").join(descriptor.file_name());
            let id = fs::read_to_string(info).ok().and_then(|text| {
                text.lines()
                    .find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
            });
            if let Some(id) = id.filter(|id| programs.contains(id)) {
                owners.insert(id, pid);
            }
        }
    }
    owners
}

/// Processes in this namespace that hold programs of ours: runs that go on.
pub(super) fn running(netns: &NetnsHandle) -> Vec<u32> {
    let programs: HashSet<u32> = aya::programs::loaded_programs()
        .flatten()
        .filter(|program| {
            program
                .name_as_str()
                .is_some_and(|name| name.starts_with(OURS))
        })
        .map(|program| program.id())
        .collect();
    let mut pids: Vec<u32> = owners(&programs)
        .into_values()
        .filter(|pid| scan::inum_of(i32::try_from(*pid).unwrap_or(0)).ok() == Some(netns.inum()))
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}
