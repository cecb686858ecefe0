//! Programs and filters that may drop packets at a device or for a cgroup: TCX, tc, XDP, cgroup-BPF.

mod cgroup;
mod query;

use std::fmt;

use anyhow::{Context as _, Result};
use aya::programs::{
    ProgramInfo,
    links::{LinkInfo, LinkType},
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage, LinkXdp},
    tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
};
use serde::{Deserialize, Serialize};

pub(super) use self::cgroup::on_process_here;
use super::{helper, inside, netlink, netns::NetnsHandle};

/// Where something hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum At {
    /// TCX, packets coming in (6.6+).
    TcxIngress,
    /// TCX, packets going out (6.6+).
    TcxEgress,
    /// A tc filter, packets coming in.
    TcIngress,
    /// A tc filter, packets going out.
    TcEgress,
    /// XDP.
    Xdp,
    /// A cgroup's sockets, packets coming in.
    CgroupIngress,
    /// A cgroup's sockets, packets going out.
    CgroupEgress,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TcxIngress => "tcx ingress",
            Self::TcxEgress => "tcx egress",
            Self::TcIngress => "tc ingress",
            Self::TcEgress => "tc egress",
            Self::Xdp => "xdp",
            Self::CgroupIngress => "cgroup ingress",
            Self::CgroupEgress => "cgroup egress",
        })
    }
}

/// A program, or a filter of another kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attached {
    /// Where.
    pub at: At,
    /// Id of the BPF program, where it is one and the kernel tells.
    pub id: Option<u32>,
    /// Its name; for a filter of another kind that kind (`flower`, `u32` …).
    pub name: String,
    /// Id of the link that holds it, where one does.
    pub link: Option<u32>,
    /// For a tc filter its priority.
    pub priority: Option<u16>,
}

impl fmt::Display for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.at)?;
        match self.id {
            Some(id) => write!(f, "BPF program {id} ({})", self.name)?,
            None => write!(f, "{} filter", self.name)?,
        }
        match self.priority {
            Some(priority) => write!(f, ", priority {priority}"),
            None => Ok(()),
        }
    }
}

/// Everything of others at a device. What of it the kernel does not tell (no TCX before 6.6) is left out.
///
/// # Errors
/// The namespace cannot be entered, or it has no such device.
pub fn on_device(netns: &NetnsHandle, device: &str) -> Result<Vec<Attached>> {
    let found = if helper::is_there() {
        helper::on_device(netns, device)
    } else {
        netns.run(|| at_device_here(device))?
    };
    let mut found = found.with_context(|| format!("asking what is attached to {device}"))?;
    found.retain(|one| !one.name.starts_with(OURS));
    Ok(found)
}

/// Everything at a device of the calling thread's namespace.
pub(super) fn at_device_here(device: &str) -> Result<Vec<Attached>> {
    let index = inside::device_index(device)?;
    let mut found = Vec::new();
    // BPF_TCX_INGRESS and _EGRESS (enum bpf_attach_type, include/uapi/linux/bpf.h).
    for (kind, at) in [(46, At::TcxIngress), (47, At::TcxEgress)] {
        let programs = query::at_device(index, kind).unwrap_or_default();
        found.extend(programs.into_iter().map(|(id, link)| Attached {
            link: Some(link).filter(|&link| link != 0),
            ..named(at, id)
        }));
    }
    for (minor, at) in [
        (TcHandle::MIN_INGRESS, At::TcIngress),
        (TcHandle::MIN_EGRESS, At::TcEgress),
    ] {
        found.extend(filters(index, minor, at).unwrap_or_default());
    }
    found.extend(xdp(index)?.into_iter().map(|id| Attached {
        link: xdp_link(id),
        ..named(At::Xdp, id)
    }));
    Ok(found)
}

/// Programs that apply to a process' cgroup, its parents' included.
///
/// # Errors
/// There is no cgroup v2, the process is gone, or the kernel does not tell.
pub fn on_process(pid: u32) -> Result<Vec<Attached>> {
    if helper::is_there() {
        helper::on_process(pid)
    } else {
        on_process_here(pid)
    }
}

/// What this tool itself attaches watches and never drops.
const OURS: &str = "dockernet_";

fn program(at: At, info: &ProgramInfo) -> Attached {
    Attached {
        at,
        id: Some(info.id()),
        name: info.name_as_str().unwrap_or("").to_owned(),
        link: None,
        priority: None,
    }
}

/// A program by its id; nameless where it cannot be asked for its name.
fn named(at: At, id: u32) -> Attached {
    let found = aya::programs::loaded_programs()
        .flatten()
        .find(|info| info.id() == id);
    found.map_or_else(
        || Attached {
            at,
            id: Some(id),
            name: String::new(),
            link: None,
            priority: None,
        },
        |info| program(at, &info),
    )
}

fn filters(index: u32, minor: u16, at: At) -> Result<Vec<Attached>> {
    let mut request = TcMessage::default();
    request.header.index = i32::try_from(index)?;
    request.header.parent = TcHandle {
        major: TcHandle::CLSACT.major,
        minor,
    };
    let mut found: Vec<Attached> = netlink::dump(
        RouteNetlinkMessage::GetTrafficFilter(request),
        |message| match message {
            RouteNetlinkMessage::NewTrafficFilter(filter) => filter_of(&filter, at),
            _ => None,
        },
    )?;
    // cls_bpf, flower and u32 send a head line without options first.
    found.dedup();
    Ok(found)
}

fn filter_of(filter: &TcMessage, at: At) -> Option<Attached> {
    let mut kind = None;
    let mut options = None;
    for attribute in &filter.attributes {
        match attribute {
            TcAttribute::Kind(name) => kind = Some(name.clone()),
            TcAttribute::Options(given) => options = Some(given),
            _ => {}
        }
    }
    let mut found = Attached {
        at,
        id: None,
        name: kind?,
        link: None,
        // tcm_info holds the priority in its upper half.
        priority: u16::try_from(filter.header.info >> 16).ok(),
    };
    for option in options? {
        match option {
            TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => found.id = Some(*id),
            TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => found.name.clone_from(name),
            _ => {}
        }
    }
    Some(found)
}

/// The link that holds an XDP program, where one does: the device does not tell it, and takes nothing off that one holds.
fn xdp_link(program: u32) -> Option<u32> {
    let mut links = aya::programs::loaded_links().flatten();
    let is_its = |link: &LinkInfo| {
        link.program_id() == program && matches!(link.link_type(), Ok(LinkType::Xdp))
    };
    links.find(is_its).map(|link| link.id())
}

fn xdp(index: u32) -> Result<Option<u32>> {
    let mut request = LinkMessage::default();
    request.header.index = index;
    let answer = netlink::get(RouteNetlinkMessage::GetLink(request))?;
    let Some(RouteNetlinkMessage::NewLink(link)) = answer else {
        return Ok(None);
    };
    let given = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Xdp(given) => Some(given),
            _ => None,
        });
    Ok(given.and_then(|given| {
        given.iter().find_map(|one| match one {
            LinkXdp::ProgId(id) => Some(*id),
            _ => None,
        })
    }))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// A device that is there is asked for all that can hang at it; one that is not is an error.
    #[test]
    fn the_kernel_is_asked() {
        let netns = NetnsHandle::current().unwrap();
        assert!(on_device(&netns, "no-such-device").is_err());
        if nix::unistd::geteuid().is_root() {
            assert_eq!(on_device(&netns, "lo").unwrap(), []);
        }
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(on_process(u32::MAX).is_err());
    }
}
