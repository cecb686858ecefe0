//! What the engine has told of its containers: with the next list only those that have changed since are asked about again.

use std::collections::HashMap;

use super::Details;
use crate::{
    host::netns::scan,
    model::{Container, State},
};

/// Of each container, by id.
#[derive(Default)]
pub(super) struct Told {
    entries: HashMap<String, Entry>,
}

#[derive(Default)]
struct Entry {
    /// Its line of the last list.
    listed: Option<Container>,
    /// Its process, by the last answer.
    pid: Option<i32>,
    /// It was asked about, and nothing was told.
    is_open: bool,
}

impl Told {
    /// Takes a list in, and what was answered when `asked` were asked about. Who is not in it is forgotten.
    pub(super) fn listed(&mut self, list: &[Container], asked: &[String], details: &Details) {
        let mut before = std::mem::take(&mut self.entries);
        for container in list {
            let mut entry = before.remove(&container.id).unwrap_or_default();
            entry.listed = Some(container.clone());
            self.entries.insert(container.id.clone(), entry);
        }
        for id in asked {
            if let Some(container) = details.containers.get(id) {
                self.answered(container);
            } else if details.gone.contains(id) {
                self.gone(id);
            } else {
                self.unanswered(id);
            }
        }
    }

    /// An answer about one.
    pub(super) fn answered(&mut self, container: &Container) {
        let entry = self.entries.entry(container.id.clone()).or_default();
        entry.pid = container.pid;
        entry.is_open = false;
    }

    /// Something happened to one: what its line of the last list was says nothing of what it is now, should the next event be lost.
    pub(super) fn event(&mut self, id: &str) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.listed = None;
        }
    }

    /// No answer about one.
    pub(super) fn unanswered(&mut self, id: &str) {
        self.entries.entry(id.to_owned()).or_default().is_open = true;
    }

    /// The engine has it no more.
    pub(super) fn gone(&mut self, id: &str) {
        self.entries.remove(id);
    }

    /// Whether the engine owes an answer.
    pub(super) fn is_open(&self) -> bool {
        self.entries.values().any(|entry| entry.is_open)
    }

    /// Whether its line is another one than in the last list.
    pub(super) fn differs(&self, container: &Container) -> bool {
        self.entries
            .get(&container.id)
            .is_none_or(|entry| entry.listed.as_ref() != Some(container))
    }

    /// Those of a list that are to be asked about.
    pub(super) fn outdated(&self, list: &[Container]) -> Vec<String> {
        list.iter()
            .filter(|container| self.differs(container) || self.is_outdated(container))
            .map(|container| container.id.clone())
            .collect()
    }

    /// Its line may be the same after a restart, but not its process.
    fn is_outdated(&self, container: &Container) -> bool {
        self.entries.get(&container.id).is_some_and(|entry| {
            entry.is_open
                || (container.state != State::Stopped
                    && entry.pid.is_some_and(|pid| !scan::lives(pid)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::engine::tests::container;

    /// Its start was told, its end was not: its line is the one of the list before, and yet it is asked about.
    #[test]
    fn what_had_an_event_is_asked_about_with_the_next_list() {
        let list = [container("job", false), container("idle", false)];
        let mut told = Told::default();
        told.listed(&list, &[], &Details::default());
        assert!(told.outdated(&list).is_empty());
        told.event("job");
        told.answered(&container("job", true));
        assert_eq!(told.outdated(&list), ["job"]);
        told.listed(&list, &[], &Details::default());
        assert!(told.outdated(&list).is_empty());
    }
}
