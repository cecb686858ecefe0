//! Containers and networks by name, and what to call them.

use super::{EngineStatus, Inventory};
use crate::model::{Container, ContainerRef, Network, Owner};

/// Characters of an id that are shown.
const SHORT: usize = 12;

impl Inventory {
    /// The engine, as far as known.
    #[must_use]
    pub fn engine_status(&self) -> &EngineStatus {
        &self.status
    }

    /// A container by full id.
    #[must_use]
    pub fn container(&self, id: &str) -> Option<&Container> {
        self.containers.get(id).map(AsRef::as_ref)
    }

    /// A container by name, id, or beginning of an id (12 characters and more); one that runs is preferred.
    #[must_use]
    pub fn container_named(&self, name: &str) -> Option<&Container> {
        let fits = |container: &&Container| {
            container.name == name || (name.len() >= SHORT && container.id.starts_with(name))
        };
        self.containers().filter(fits).min_by_key(|container| {
            (
                container.ended.is_some(),
                container.ended.map(|ended| ended.elapsed()),
            )
        })
    }

    /// All containers, stopped and lately ended ones too, by id.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        self.containers.values().map(AsRef::as_ref)
    }

    /// Networks of the engine.
    pub fn networks(&self) -> impl Iterator<Item = &Network> {
        self.networks.iter().map(AsRef::as_ref)
    }

    /// A network by name or id.
    #[must_use]
    pub fn network(&self, name: &str) -> Option<&Network> {
        self.networks()
            .find(|network| network.name == name || network.id == name)
    }

    /// The network behind a bridge device of the host.
    #[must_use]
    pub fn network_by_bridge(&self, device: &str) -> Option<&Network> {
        self.networks()
            .find(|network| network.bridge.as_deref() == Some(device))
    }

    /// A container as a packet's line names it.
    #[must_use]
    pub fn container_ref(&self, container: &Container) -> ContainerRef {
        let shared_with = container.netns.and_then(|key| self.netns(key)).map_or_else(
            Vec::new,
            |info| match &info.owner {
                Owner::Containers(ids) => ids
                    .iter()
                    .filter(|id| **id != container.id)
                    .filter_map(|id| self.container(id))
                    .map(|other| other.name.clone())
                    .collect(),
                _ => Vec::new(),
            },
        );
        ContainerRef {
            id: container.id.chars().take(SHORT).collect(),
            name: container.name.clone(),
            image: container.image.clone(),
            project: container.project.clone(),
            service: container.service.clone(),
            shared_with,
        }
    }

    /// A small number for a container, never used twice in a run, for kernel maps. 0: no such container.
    #[must_use]
    pub fn endpoint_id(&self, id: &str) -> u32 {
        self.endpoint_ids.get(id).copied().unwrap_or(0)
    }

    /// The container's name that is nearest to `name`, to suggest one after a typing error.
    #[must_use]
    pub fn nearest_name(&self, name: &str) -> Option<String> {
        nearest(name, self.containers().map(|container| &*container.name))
    }

    /// The network's or bridge's name that is nearest to `name`.
    #[must_use]
    pub fn nearest_network(&self, name: &str) -> Option<String> {
        nearest(
            name,
            self.networks().flat_map(|network| {
                std::iter::once(&*network.name).chain(network.bridge.as_deref())
            }),
        )
    }
}

fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    candidates
        .map(|candidate| {
            // The one knows common beginnings, the other letters that changed places.
            let similarity = strsim::jaro_winkler(name, candidate)
                .max(strsim::normalized_damerau_levenshtein(name, candidate));
            (similarity, candidate)
        })
        .filter(|(similarity, _)| *similarity > 0.65)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate.to_owned())
}
