//! What a look at the machine found.

use std::time::Instant;

use super::{Space, State, engine::minimal};
use crate::{
    host::netns::scan,
    inventory::{
        EngineStatus,
        observe::{Observation, Seen, bridged},
    },
    model::{NetnsKey, NetworkMode, State as Run},
};

/// A container in a namespace: id, key, one of its processes, whether a bridge leads there.
type Join = (String, NetnsKey, i32, bool);

impl State {
    /// Takes in what was found.
    pub(in crate::inventory) fn observed(&mut self, observation: Observation) {
        self.data_roots = merge(&self.data_roots, observation.data_roots);
        let described = observation.described;
        let mut seen: Vec<u32> = Vec::with_capacity(observation.spaces.len());
        for space in observation.spaces {
            seen.push(space.inum);
            self.see(space, observation.complete);
        }
        if observation.complete {
            self.unknown_wire = false;
            let now = Instant::now();
            let host = self.host;
            for (key, space) in &mut self.spaces {
                if space.ended.is_none() && *key != host && !seen.contains(&space.inum) {
                    space.ended = Some(now);
                    self.changed = true;
                }
            }
        }
        for mut container in described {
            // The engine's answer is newer than its files.
            if self
                .containers
                .get(&container.id)
                .is_some_and(|record| record.described)
            {
                continue;
            }
            let runs = self
                .live()
                .any(|(_, space)| space.members.iter().any(|(id, _)| *id == container.id))
                || observation.alive_in_host.contains(&container.id);
            // The file was written by an engine that may be long gone.
            if runs {
                if container.state == Run::Stopped {
                    container.state = Run::Running;
                }
            } else {
                container.state = Run::Stopped;
                container.pid = None;
            }
            self.describe(container);
        }
        if observation.complete && !matches!(self.status, EngineStatus::Up { .. }) {
            self.end_the_vanished(&observation.alive_in_host);
        }
        self.settle();
        self.count_nameless();
    }

    /// Whether a look found a namespace that was not known.
    pub(in crate::inventory) fn is_news(&self, observation: &Observation) -> bool {
        observation
            .spaces
            .iter()
            .filter_map(|space| space.probe.as_ref())
            .any(|probe| !self.spaces.contains_key(&probe.key))
    }

    fn see(&mut self, seen: Seen, complete: bool) {
        if seen.inum == self.host_inum {
            let host = self.host;
            let space = self.spaces.entry(host).or_insert_with(|| blank(&seen));
            space.path = seen.path;
            if let Some(probe) = seen.probe {
                self.changed |= space.links != probe.links;
                space.links = probe.links;
            }
            return;
        }
        let known = self
            .live()
            .find(|(_, space)| space.inum == seen.inum)
            .map(|(key, _)| *key);
        let key = match (&seen.probe, known) {
            (Some(probe), _) => probe.key,
            (None, Some(key)) => key,
            // Gone before it could be entered.
            (None, None) => return,
        };
        if let Some(old) = known.filter(|old| *old != key)
            && let Some(space) = self.spaces.get_mut(&old)
        {
            // The number was given to another namespace.
            space.ended = Some(Instant::now());
            space.nsid = None;
        }
        let fresh = blank(&seen);
        let space = self.spaces.entry(key).or_insert(fresh);
        let before = (space.ended, space.members.len(), space.links.len());
        space.ended = None;
        space.path = seen.path;
        space.name = seen.name.or_else(|| space.name.take());
        space.sandbox = seen.sandbox.or_else(|| space.sandbox.take());
        space.process = seen.process.or_else(|| space.process.take());
        if complete && !seen.members.is_empty() {
            space.members = seen.members;
        } else {
            // Only some processes were looked at.
            for (id, pid) in seen.members {
                match space.members.iter_mut().find(|(known, _)| *known == id) {
                    Some(member) => member.1 = pid,
                    None => space.members.push((id, pid)),
                }
            }
        }
        if let Some(probe) = seen.probe {
            self.changed |= space.links != probe.links || space.nsid != probe.nsid;
            space.links = probe.links;
            space.nsid = probe.nsid;
        }
        self.changed |= before != (space.ended, space.members.len(), space.links.len());
    }

    /// With no engine to tell, a container whose processes are gone has ended.
    fn end_the_vanished(&mut self, alive_in_host: &std::collections::HashSet<String>) {
        let gone: Vec<String> = self
            .containers
            .iter()
            .filter(|(_, record)| record.container.state != Run::Stopped)
            .filter(|(id, _)| {
                !alive_in_host.contains(*id)
                    && !self
                        .live()
                        .any(|(_, space)| space.members.iter().any(|(member, _)| member == *id))
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.end(&id);
        }
    }

    /// Joins containers and namespaces, and marks what the host's bridges lead to.
    pub(super) fn settle(&mut self) {
        let wired = self
            .spaces
            .get(&self.host)
            .map(|space| bridged(&space.links))
            .unwrap_or_default();
        let mut joins: Vec<Join> = Vec::new();
        for (key, space) in &mut self.spaces {
            if space.ended.is_some() {
                continue;
            }
            if space.nsid.is_some_and(|id| wired.contains(&id)) && !space.bridged {
                space.bridged = true;
                self.changed = true;
            }
            for (id, pid) in &space.members {
                joins.push((id.clone(), *key, *pid, space.bridged));
            }
        }
        // After a restart the old namespace may not be known to be gone yet: the living process decides.
        joins.sort();
        let twice = |pair: &[Join]| matches!(pair, [left, right] if left.0 == right.0);
        if joins.windows(2).any(twice) {
            joins.sort_by_cached_key(|(id, key, pid, _)| (id.clone(), !alive(*pid), *key));
            joins.dedup_by(|later, earlier| later.0 == earlier.0);
        }
        for (id, key, pid, bridged) in joins {
            match self.containers.get(&id) {
                Some(record) => {
                    let container = &record.container;
                    // Nobody but its namespaces tells of it: with a new one it has been started again.
                    let is_back = !record.described && container.ended.is_some();
                    if (container.ended.is_none() || is_back)
                        && (container.netns != Some(key) || container.pid.is_none())
                        && container.mode != NetworkMode::Host
                    {
                        self.edit(&id, |container| {
                            container.netns = Some(key);
                            container.pid.get_or_insert(pid);
                            if is_back {
                                container.state = Run::Running;
                                container.ended = None;
                            }
                        });
                    }
                }
                // Of another engine, but wired to this host: a number is better than no name.
                None if bridged => {
                    let mut container = minimal(&id, None, None, None, None, Run::Running);
                    container.netns = Some(key);
                    container.pid = Some(pid);
                    self.put(container, false);
                }
                None => {}
            }
        }
    }

    fn count_nameless(&mut self) {
        let ids: Vec<String> = self
            .live()
            .flat_map(|(_, space)| &space.members)
            .map(|(id, _)| id)
            .filter(|id| {
                self.containers
                    .get(*id)
                    .is_none_or(|record| !record.described)
            })
            .cloned()
            .collect();
        for id in ids {
            let tries = self.nameless.entry(id).or_default();
            *tries = tries.saturating_add(1);
        }
    }
}

pub(super) fn alive(pid: i32) -> bool {
    scan::lives(pid)
}

fn blank(seen: &Seen) -> Space {
    Space {
        inum: seen.inum,
        path: seen.path.clone(),
        name: seen.name.clone(),
        sandbox: seen.sandbox.clone(),
        process: seen.process.clone(),
        members: Vec::new(),
        nsid: None,
        links: Vec::new(),
        bridged: false,
        ended: None,
    }
}

fn merge<T: PartialEq + Clone>(old: &[T], new: Vec<T>) -> Vec<T> {
    let mut all = old.to_vec();
    for item in new {
        if !all.contains(&item) {
            all.push(item);
        }
    }
    all
}
