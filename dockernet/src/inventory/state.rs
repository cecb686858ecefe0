//! What the service knows, and how news change it.

mod engine;
mod links;
pub(super) use links::Need;
mod spaces;
mod sweep;

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use super::{EngineStatus, Inventory, Parts, observe::Known};
use crate::{
    host::engine_files,
    model::{
        Container, Link, LinkKind, NetnsInfo, NetnsKey, Network, NetworkMode, Owner, State as Run,
    },
};

/// Ended containers, ended namespaces and links that are gone: kept at most, of each.
const GRAVES: usize = 1000;
/// How often a container's files are looked for before it is taken for another engine's.
const TRIES: u8 = 3;

/// All that is known, in a form that can be changed.
#[derive(Debug)]
pub(super) struct State {
    host: NetnsKey,
    host_inum: u32,
    spaces: HashMap<NetnsKey, Space>,
    containers: HashMap<String, Record>,
    networks: Vec<Arc<Network>>,
    /// Whether the engine told the networks; else they are pieced together.
    networks_told: bool,
    endpoint_ids: HashMap<String, u32>,
    last_endpoint_id: u32,
    status: EngineStatus,
    data_roots: Vec<PathBuf>,
    /// Containers of which no file was found, and how often one was looked for.
    nameless: HashMap<String, u8>,
    /// Something was wired to the host by an id that no known namespace has.
    unknown_wire: bool,
    /// Links that are gone; for the host's, also what was behind them.
    gone: VecDeque<Gone>,
    /// Whether something changed since the last snapshot.
    changed: bool,
}

/// A link that is gone.
#[derive(Debug)]
struct Gone {
    key: NetnsKey,
    link: Arc<Link>,
    behind: Option<NetnsKey>,
    since: Instant,
}

/// A namespace.
#[derive(Debug)]
struct Space {
    inum: u32,
    path: PathBuf,
    name: Option<String>,
    sandbox: Option<String>,
    process: Option<(i32, String)>,
    /// Containers with processes in it, and one of these.
    members: Vec<(String, i32)>,
    nsid: Option<i32>,
    links: Vec<Link>,
    /// A port of one of the host's bridges leads, or led, to it.
    bridged: bool,
    ended: Option<Instant>,
}

/// A container.
#[derive(Debug)]
struct Record {
    container: Arc<Container>,
    /// Known from the engine or its files; else a process only.
    described: bool,
    /// No longer among the engine's containers: forgotten some time after its end.
    removed: bool,
}

impl State {
    pub(super) fn new(host: NetnsKey, host_inum: u32) -> Self {
        Self {
            host,
            host_inum,
            spaces: HashMap::new(),
            containers: HashMap::new(),
            networks: Vec::new(),
            networks_told: false,
            endpoint_ids: HashMap::new(),
            last_endpoint_id: 0,
            status: EngineStatus::Unknown,
            data_roots: Vec::new(),
            nameless: HashMap::new(),
            unknown_wire: false,
            gone: VecDeque::new(),
            changed: true,
        }
    }

    /// Whether something changed since the last snapshot.
    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    pub(super) fn status(&self) -> &EngineStatus {
        &self.status
    }

    /// What a look at the machine can leave out.
    pub(super) fn known(&self) -> Known {
        Known {
            members: self
                .live()
                // A namespace that was not wired yet when it was looked at may be the one that is now.
                .filter(|(_, space)| !self.unknown_wire || space.nsid.is_some())
                .map(|(_, space)| {
                    let ids = space.members.iter().map(|(id, _)| id.clone()).collect();
                    (space.inum, ids)
                })
                .collect(),
            containers: self
                .containers
                .iter()
                .filter(|(_, record)| record.described)
                .map(|(id, _)| id.clone())
                .chain(
                    self.nameless
                        .iter()
                        .filter(|(_, tries)| **tries >= TRIES)
                        .map(|(id, _)| id.clone()),
                )
                .collect(),
            in_host: self
                .containers
                .values()
                .filter(|record| record.container.mode == NetworkMode::Host)
                .filter_map(|record| Some((record.container.id.clone(), record.container.pid?)))
                .collect(),
            pids: self
                .containers
                .values()
                .filter_map(|record| Some((record.container.pid?, record.container.id.clone())))
                .collect(),
            data_roots: self.data_roots.clone(),
        }
    }

    /// An inventory of this moment.
    pub(super) fn snapshot(&mut self) -> Inventory {
        self.settle();
        self.changed = false;
        let host_links = self
            .spaces
            .get(&self.host)
            .map_or(&[][..], |space| &space.links);
        let by_nsid: HashMap<i32, NetnsKey> = self
            .live()
            .filter_map(|(key, space)| Some((space.nsid?, *key)))
            .collect();
        let buried = self
            .gone
            .iter()
            .filter_map(|gone| Some((gone.link.ifindex, gone.behind?)));
        let live = host_links
            .iter()
            .filter(|link| link.kind == LinkKind::Veth)
            .filter_map(|link| Some((link.ifindex, *by_nsid.get(&link.peer_netnsid?)?)));
        let behind = buried.chain(live).collect();
        let networks = if self.networks_told {
            self.networks.clone()
        } else {
            let containers: Vec<&Container> = self
                .containers
                .values()
                .filter(|record| record.described)
                .map(|record| record.container.as_ref())
                .collect();
            engine_files::networks(&containers, host_links)
                .into_iter()
                .map(Arc::new)
                .collect()
        };
        // The dead first: a number that is used again belongs to the living.
        let mut namespaces: Vec<(bool, Arc<NetnsInfo>)> = self
            .spaces
            .iter()
            .map(|(key, space)| (space.ended.is_none(), Arc::new(self.info(*key, space))))
            .collect();
        namespaces.sort_by_key(|(live, _)| *live);
        Inventory::new(Parts {
            host: self.host,
            status: self.status.clone(),
            namespaces: namespaces.into_iter().map(|(_, info)| info).collect(),
            containers: self
                .containers
                .values()
                .map(|record| Arc::clone(&record.container))
                .collect(),
            networks,
            endpoint_ids: self.endpoint_ids.clone(),
            behind: Some(behind),
            gone: self
                .gone
                .iter()
                .map(|gone| (gone.key, Arc::clone(&gone.link)))
                .collect(),
        })
    }

    fn info(&self, key: NetnsKey, space: &Space) -> NetnsInfo {
        let members = self.owners(space);
        let owner = if key == self.host {
            Owner::Host
        } else if !members.is_empty() {
            Owner::Containers(members)
        } else if let Some(name) = &space.name {
            Owner::Named(name.clone())
        } else if let Some(name) = &space.sandbox {
            Owner::EngineSandbox(name.clone())
        } else if let Some((pid, comm)) = &space.process {
            Owner::Process {
                pid: *pid,
                comm: comm.clone(),
            }
        } else {
            let pid = space.members.first().map_or(0, |(_, pid)| *pid);
            Owner::Process {
                pid,
                comm: "container of another engine".to_owned(),
            }
        };
        let near = match owner {
            Owner::Host | Owner::Containers(_) | Owner::EngineSandbox(_) => true,
            Owner::Named(_) | Owner::Process { .. } => space.bridged || space.sandbox.is_some(),
        };
        NetnsInfo {
            key,
            inum: space.inum,
            owner,
            path: space.path.clone(),
            near,
            links: space.links.clone(),
        }
    }

    /// The containers in a namespace, the one that made it first: the others joined it (`container:`).
    fn owners(&self, space: &Space) -> Vec<String> {
        let mut owners: Vec<&Container> = space
            .members
            .iter()
            .filter_map(|(id, _)| Some(self.containers.get(id)?.container.as_ref()))
            .collect();
        owners.sort_by_key(|container| matches!(container.mode, NetworkMode::Container(_)));
        owners
            .iter()
            .map(|container| container.id.clone())
            .collect()
    }

    fn live(&self) -> impl Iterator<Item = (&NetnsKey, &Space)> {
        self.spaces
            .iter()
            .filter(|(_, space)| space.ended.is_none())
    }

    /// Changes a container.
    fn edit(&mut self, id: &str, change: impl FnOnce(&mut Container)) {
        if let Some(record) = self.containers.get_mut(id) {
            let before = Arc::clone(&record.container);
            change(Arc::make_mut(&mut record.container));
            self.changed |= before != record.container;
        }
    }

    /// Puts a container in, or in the place of what was known of it.
    fn put(&mut self, container: Container, described: bool) {
        let id = container.id.clone();
        if !self.endpoint_ids.contains_key(&id) {
            self.last_endpoint_id += 1;
            self.endpoint_ids.insert(id.clone(), self.last_endpoint_id);
        }
        self.nameless.remove(&id);
        self.changed = true;
        self.containers.insert(
            id,
            Record {
                container: Arc::new(container),
                described,
                removed: false,
            },
        );
    }

    /// A container's process ended.
    fn end(&mut self, id: &str) {
        self.edit(id, |container| {
            container.state = Run::Stopped;
            container.pid = None;
            container.ended.get_or_insert_with(Instant::now);
        });
    }
}

#[cfg(test)]
mod tests;
