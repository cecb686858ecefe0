//! News from the engine.

use std::collections::HashSet;

use super::{State, spaces::alive};
use crate::{
    host::docker::{Action, Event},
    inventory::{EngineStatus, engine::Update},
    model::{Attachment, Container, Network, NetworkMode, State as Run},
};

impl State {
    /// Takes news in; returns a process whose namespace is to be looked at, if there is one.
    pub(in crate::inventory) fn update(&mut self, update: Update) -> Vec<i32> {
        match update {
            Update::Status(status) => {
                self.changed |= self.status != status;
                // Names of another machine's engine are worse than none.
                if matches!(status, EngineStatus::Remote { .. }) {
                    self.networks.clear();
                    self.networks_told = false;
                }
                self.status = status;
                Vec::new()
            }
            Update::DataRoot(root) => {
                if !self.data_roots.contains(&root) {
                    self.data_roots.push(root);
                }
                Vec::new()
            }
            Update::Networks(networks) => {
                self.replace_networks(networks);
                Vec::new()
            }
            Update::All(containers) => self.replace_containers(containers),
            Update::Listed(ids) => {
                self.remove_others(|id| ids.contains(id));
                Vec::new()
            }
            Update::One(container) => self.describe(container).into_iter().collect(),
            Update::Gone(id) => {
                self.remove(&id);
                Vec::new()
            }
            Update::Event(event) => {
                self.happened(event);
                Vec::new()
            }
        }
    }

    fn replace_networks(&mut self, networks: Vec<Network>) {
        self.networks = networks.into_iter().map(std::sync::Arc::new).collect();
        self.networks_told = true;
        self.changed = true;
    }

    fn replace_containers(&mut self, containers: Vec<Container>) -> Vec<i32> {
        let listed: HashSet<&str> = containers
            .iter()
            .map(|container| container.id.as_str())
            .collect();
        self.remove_others(|id| listed.contains(id));
        containers
            .into_iter()
            .filter_map(|container| self.describe(container))
            .collect()
    }

    /// Those that the engine's list lacks are gone.
    fn remove_others(&mut self, is_listed: impl Fn(&str) -> bool) {
        let gone: Vec<String> = self
            .containers
            .iter()
            .filter(|(id, _)| !is_listed(id))
            .filter(|(_, record)| record.described || is_told_only(&record.container))
            // Another engine's, wired to the same host, lives on.
            .filter(|(_, record)| record.container.pid.is_none_or(|pid| !alive(pid)))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.remove(&id);
        }
    }

    /// Takes a description in, without losing what only the past can tell.
    pub(super) fn describe(&mut self, mut container: Container) -> Option<i32> {
        let old = self
            .containers
            .get(&container.id)
            .map(|record| record.container.clone());
        if let Some(old) = old {
            if container.state == Run::Stopped {
                // A stopped container's addresses are gone from the engine's answer.
                container.netns = old.netns;
                keep_addresses(&mut container.attachments, &old.attachments);
                if container.published.is_empty() {
                    container.published.clone_from(&old.published);
                }
                container.ended = match (old.ended, old.state) {
                    (Some(ended), _) => Some(ended),
                    (None, Run::Stopped) => None,
                    (None, _) => Some(std::time::Instant::now()),
                };
            } else if container.pid.is_none() || container.pid == old.pid {
                // A list tells no pid; what was found in /proc stays.
                container.pid = old.pid;
                container.netns = old.netns;
            }
        }
        if container.mode == NetworkMode::Host && container.state != Run::Stopped {
            container.netns = Some(self.host);
        }
        let unseen = container.netns.is_none().then_some(container.pid).flatten();
        self.put(container, true);
        unseen
    }

    /// The engine knows it no more.
    fn remove(&mut self, id: &str) {
        self.end(id);
        if let Some(record) = self.containers.get_mut(id) {
            record.removed = true;
        }
    }

    fn happened(&mut self, event: Event) {
        let Some(id) = event.container else { return };
        match event.action {
            Action::Create | Action::Start => {
                if !self.containers.contains_key(&id) {
                    let container = minimal(
                        &id,
                        event.name,
                        event.image,
                        event.project,
                        event.service,
                        if event.action == Action::Start {
                            Run::Running
                        } else {
                            Run::Stopped
                        },
                    );
                    self.put(container, false);
                } else if event.action == Action::Start {
                    // Details come with the next answer, if the engine gives one.
                    let host = self.host;
                    self.edit(&id, |container| {
                        if !container.runs() {
                            container.state = Run::Running;
                            (container.ended, container.pid) = (None, None);
                            container.netns = (container.mode == NetworkMode::Host).then_some(host);
                        }
                    });
                }
            }
            Action::Die => self.end(&id),
            Action::Pause => self.edit(&id, |container| container.state = Run::Paused),
            Action::Unpause => self.edit(&id, |container| container.state = Run::Running),
            Action::Rename => {
                if let Some(name) = event.name {
                    self.edit(&id, |container| container.name = name);
                }
            }
            Action::Destroy => self.remove(&id),
            Action::Connect | Action::Disconnect | Action::Networks => {}
        }
    }
}

/// Whether nobody knows of it but the engine, by an event: another engine's is found by its processes.
fn is_told_only(container: &Container) -> bool {
    container.netns.is_none() && container.pid.is_none()
}

/// A container of which little is known.
pub(super) fn minimal(
    id: &str,
    name: Option<String>,
    image: Option<String>,
    project: Option<String>,
    service: Option<String>,
    state: Run,
) -> Container {
    Container {
        id: id.to_owned(),
        name: name.unwrap_or_else(|| id.chars().take(12).collect()),
        image,
        project,
        service,
        state,
        pid: None,
        mode: NetworkMode::Networks,
        netns: None,
        attachments: Vec::new(),
        published: Vec::new(),
        exposed: Vec::new(),
        dns: Vec::new(),
        sysctls: Vec::new(),
        ended: None,
    }
}

fn keep_addresses(now: &mut Vec<Attachment>, before: &[Attachment]) {
    for old in before {
        match now
            .iter_mut()
            .find(|attachment| attachment.network == old.network)
        {
            Some(attachment) if attachment.ipv4.is_none() && attachment.ipv6.is_none() => {
                *attachment = old.clone();
            }
            Some(_) => {}
            None => now.push(old.clone()),
        }
    }
}
