//! One look at the machine: which namespaces there are, whose processes are in them, what they hold.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::openers::Openers;
use crate::{
    host::{
        docker::cut,
        engine_files::{self, CgroupContainer, Daemon, Manager},
        link::{self, RouteSocket},
        netns::{NetnsHandle, cookie_here, scan},
        rooted,
    },
    model::{Container, Link, LinkKind, NetnsKey},
};

/// What is known before the look, and need not be looked at again.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Members of every known namespace, by inode number.
    pub(super) members: HashMap<u32, Vec<String>>,
    /// Containers that have a name already.
    pub(super) containers: HashSet<String>,
    /// Containers by init process, for those whose cgroup's path does not tell.
    pub(super) pids: HashMap<i32, String>,
    /// Containers that run in the host's namespace, with their process.
    pub(super) in_host: Vec<(String, i32)>,
    /// Where engines keep their files, as far as learnt.
    pub(super) data_roots: Vec<PathBuf>,
}

/// How much to look at.
#[derive(Clone, Debug)]
pub(super) enum Extent {
    /// Everything, known or not; all of the engine's files too if `files`.
    All { files: bool },
    /// Only what is new.
    New,
    /// Only the namespaces of these processes.
    Processes(Vec<i32>),
}

/// A namespace that was seen.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) inum: u32,
    pub(super) path: PathBuf,
    /// Its name in /run/netns.
    pub(super) name: Option<String>,
    /// Its name among an engine's sandboxes.
    pub(super) sandbox: Option<String>,
    /// Its first process that is in no container, or is a pod's.
    pub(super) process: Option<(i32, String)>,
    /// Containers with a process in it, and that process; the lowest pid first.
    pub(super) members: Vec<(String, i32)>,
    /// What was found inside; none if it was not entered.
    pub(super) probe: Option<Probe>,
}

/// What is inside a namespace.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub(super) key: NetnsKey,
    /// The id that the host gave it, if anything wires the two.
    pub(super) nsid: Option<i32>,
    pub(super) links: Vec<Link>,
}

/// What a look found.
#[derive(Clone, Debug, Default)]
pub(super) struct Observation {
    /// Whether namespaces that are not in the list are gone.
    pub(super) complete: bool,
    pub(super) spaces: Vec<Seen>,
    /// Containers that the engine's files describe.
    pub(super) described: Vec<Container>,
    /// Of the containers in the host's namespace, those whose process lives.
    pub(super) alive_in_host: HashSet<String>,
    pub(super) data_roots: Vec<PathBuf>,
}

/// Looks. Blocking: some 3 µs a process and 150 µs for each namespace that is entered.
pub(super) fn observe(host: &NetnsHandle, known: &Known, extent: &Extent) -> Result<Observation> {
    let processes = match extent {
        Extent::Processes(pids) => pids
            .iter()
            .filter_map(|pid| Some((*pid, scan::inum_of(*pid).ok()?)))
            .collect(),
        Extent::All { .. } | Extent::New => {
            scan::processes().context("looking at the machine's processes")?
        }
    };
    let daemons: Vec<Daemon> = match extent {
        Extent::Processes(_) => Vec::new(),
        Extent::All { .. } | Extent::New => engine_files::daemons(&processes),
    };
    let mut spaces = group(host, &processes, &known.pids);
    if !matches!(extent, Extent::Processes(_)) {
        add_kept(&mut spaces, &daemons, host.inum());
    }
    let mut spaces: Vec<Seen> = spaces.into_values().collect();
    enter(host, known, extent, &mut spaces)?;

    let mut data_roots = known.data_roots.clone();
    let mut add_root = |root: PathBuf| {
        if !data_roots.contains(&root) {
            data_roots.push(root);
        }
    };
    for daemon in daemons.iter().filter(|daemon| daemon.inum == host.inum()) {
        add_root(daemon.data_root.clone());
    }
    // On a machine of one host the usual places count even if no daemon runs.
    if matches!(extent, Extent::All { .. }) && scan::inum_of(1).ok() == Some(host.inum()) {
        for root in engine_files::default_data_roots() {
            add_root(root);
        }
    }
    let mut described = Vec::new();
    let wired = wired_to_bridges(host, known, &spaces);
    for space in &spaces {
        let is_wired = space
            .probe
            .as_ref()
            .and_then(|probe| probe.nsid)
            .is_some_and(|id| wired.contains(&id));
        for (id, pid) in space
            .members
            .iter()
            .filter(|(id, _)| !known.containers.contains(id))
        {
            let in_roots = data_roots
                .iter()
                .map(|root| root.join("containers").join(id))
                .find_map(|folder| engine_files::read_container(&folder));
            if let Some(container) = in_roots {
                described.push(container);
            } else if is_wired && let Some(folder) = engine_files::folder_of(*pid, id) {
                described.extend(engine_files::read_container(&folder));
                if let Some(root) = folder.parent().and_then(Path::parent)
                    && !data_roots.iter().any(|known| known == root)
                {
                    data_roots.push(root.to_owned());
                }
            }
        }
    }
    if matches!(extent, Extent::All { files: true }) {
        let have: HashSet<String> = described
            .iter()
            .map(|container: &Container| container.id.clone())
            .collect();
        described.extend(
            data_roots
                .iter()
                .flat_map(|root| engine_files::read_containers(root))
                .filter(|container| !have.contains(&container.id)),
        );
    }
    let in_host = known.in_host.iter().cloned().chain(
        described
            .iter()
            .filter_map(|container| Some((container.id.clone(), container.pid?))),
    );
    let alive_in_host = in_host
        .filter(|(id, pid)| engine_files::of_process(*pid).is_some_and(|found| found.id == *id))
        .map(|(id, _)| id)
        .collect();
    Ok(Observation {
        complete: !matches!(extent, Extent::Processes(_)),
        spaces,
        described,
        alive_in_host,
        data_roots,
    })
}

/// Processes by namespace.
fn group(
    host: &NetnsHandle,
    processes: &[(i32, u32)],
    pids: &HashMap<i32, String>,
) -> BTreeMap<u32, Seen> {
    let mut spaces: BTreeMap<u32, Seen> = BTreeMap::new();
    let mut openers: HashMap<u32, Openers> = HashMap::new();
    for (pid, inum) in processes {
        let space = spaces.entry(*inum).or_insert_with(|| Seen {
            inum: *inum,
            path: scan::netns_path(*pid),
            name: None,
            sandbox: None,
            process: None,
            members: Vec::new(),
            probe: None,
        });
        // The host's processes are many and their containers (host mode) hold no address of their own.
        if *inum == host.inum() {
            continue;
        }
        let openers = openers.entry(*inum).or_default();
        match engine_files::of_process(*pid) {
            Some(CgroupContainer {
                id,
                manager: Manager::Docker | Manager::Podman | Manager::Other,
            }) => {
                openers.own.push(*pid);
                if pids.get(pid) == Some(&id) {
                    openers.inits.push(*pid);
                }
                let known = space.members.iter().any(|(known, _)| *known == id);
                space.members.extend((!known).then_some((id, *pid)));
            }
            None if pids.contains_key(pid) => {
                openers.inits.push(*pid);
                space
                    .members
                    .extend(pids.get(pid).map(|id| (id.clone(), *pid)));
            }
            pod => {
                openers.others.push(*pid);
                if space.process.is_none() {
                    let name = pod
                        .and_then(|_| pod_name(*pid))
                        .or_else(|| scan::comm(*pid));
                    space.process = Some((*pid, name.unwrap_or_default()));
                }
            }
        }
    }
    for (inum, openers) in openers {
        if let (Some(space), Some(pid)) = (spaces.get_mut(&inum), openers.best()) {
            space.path = scan::netns_path(pid);
        }
    }
    spaces
}

/// A pod's name is its host name.
fn pod_name(pid: i32) -> Option<String> {
    let name = rooted::read_of(u32::try_from(pid).ok()?, "etc/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| cut(&format!("pod {name}")))
}

/// Namespaces that files keep alive, with or without processes.
fn add_kept(spaces: &mut BTreeMap<u32, Seen>, daemons: &[Daemon], host: u32) {
    let empty = |inum, path: PathBuf| Seen {
        inum,
        path,
        name: None,
        sandbox: None,
        process: None,
        members: Vec::new(),
        probe: None,
    };
    let folder = Path::new("/run/netns");
    for (name, inum) in scan::kept_in(folder) {
        let path = folder.join(&name);
        let space = spaces
            .entry(inum)
            .or_insert_with(|| empty(inum, path.clone()));
        // A file outlives the process by which it was found.
        space.path = path;
        space.name = Some(name);
    }
    let mut folders = vec![PathBuf::from("/run/docker/netns")];
    for daemon in daemons.iter().filter(|daemon| daemon.inum == host) {
        let folder = daemon.exec_root.join("netns");
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    for folder in folders {
        for (name, inum) in scan::kept_in(&folder) {
            let path = folder.join(&name);
            let space = spaces.entry(inum).or_insert_with(|| empty(inum, path));
            space.sandbox = Some(name);
        }
    }
}

/// Enters the namespaces that need a look: the host first, so that its veths' peers have ids.
fn enter(host: &NetnsHandle, known: &Known, extent: &Extent, spaces: &mut [Seen]) -> Result<()> {
    let all = matches!(extent, Extent::All { .. });
    let (host_links, mut socket) =
        host.run(|| -> Result<(Option<Vec<Link>>, RouteSocket)> {
            let links = if all { Some(link::dump_here()?) } else { None };
            Ok((links, RouteSocket::open()?))
        })??;
    if let Some(links) = host_links
        && let Some(space) = spaces.iter_mut().find(|space| space.inum == host.inum())
    {
        space.probe = Some(Probe {
            key: host.key()?,
            nsid: None,
            links,
        });
    }
    let unchanged = |space: &Seen| {
        known.members.get(&space.inum).is_some_and(|members| {
            // A container gone or a new one in the same number: it may be another namespace.
            members.len() == space.members.len()
                && space.members.iter().all(|(id, _)| members.contains(id))
        })
    };
    let visits: Vec<(usize, PathBuf)> = spaces
        .iter()
        .enumerate()
        .filter(|(_, space)| space.inum != host.inum())
        .filter(|(_, space)| !matches!(extent, Extent::New) || !unchanged(space))
        .map(|(place, space)| (place, space.path.clone()))
        .collect();
    if visits.is_empty() {
        return Ok(());
    }
    let probes = NetnsHandle::visit(
        visits,
        |(_, path)| path,
        |_, namespace| {
            Ok(Probe {
                key: NetnsKey(cookie_here().unwrap_or_else(|_| u64::from(namespace.inum()))),
                nsid: socket.nsid_of(namespace.as_fd())?,
                links: link::dump_here()?,
            })
        },
    )
    .context("looking into network namespaces")?;
    for ((place, path), probe) in probes {
        match probe {
            Ok(probe) => {
                if let Some(space) = spaces.get_mut(place) {
                    space.probe = Some(probe);
                }
            }
            // Its last process ended just now.
            Err(error) => log::debug!("{}: {error:#}", path.display()),
        }
    }
    Ok(())
}

/// Ids of the namespaces that a port of one of the host's bridges leads to.
fn wired_to_bridges(host: &NetnsHandle, known: &Known, spaces: &[Seen]) -> HashSet<i32> {
    let dumped = spaces
        .iter()
        .find(|space| space.inum == host.inum())
        .and_then(|space| space.probe.as_ref())
        .map(|probe| probe.links.clone());
    let unnamed = spaces
        .iter()
        .flat_map(|space| &space.members)
        .any(|(id, _)| !known.containers.contains(id));
    match dumped {
        Some(links) => bridged(&links),
        None if unnamed => link::dump(host)
            .map(|links| bridged(&links))
            .unwrap_or_default(),
        None => HashSet::new(),
    }
}

/// Ids of the namespaces behind veths that are ports of bridges.
pub(super) fn bridged(links: &[Link]) -> HashSet<i32> {
    let is_bridge = |index: u32| {
        links
            .iter()
            .any(|link| link.ifindex == index && link.kind == LinkKind::Bridge)
    };
    links
        .iter()
        .filter(|link| link.kind == LinkKind::Veth && link.master.is_some_and(is_bridge))
        .filter_map(|link| link.peer_netnsid)
        .collect()
}
