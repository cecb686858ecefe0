//! Narrowing by container, network and project.

use super::finding::{Affected, Finding, Kind};
use crate::{
    cli::{Filter, Pattern, Usage, suggest},
    inventory::Inventory,
    model::Container,
};

/// Demands that every plain name of the filter is one of this host's.
///
/// # Errors
/// Names the one that is not, and the nearest.
pub(super) fn check_names(filter: &Filter, inventory: &Inventory) -> Result<(), Usage> {
    let known: Vec<(&str, &str)> = inventory
        .containers()
        .map(|container| (container.id.as_str(), container.name.as_str()))
        .collect();
    for wanted in &filter.containers {
        if !known
            .iter()
            .any(|(id, name)| wanted.matches_container(id, name))
        {
            let hint = suggest::hint(wanted.text(), known.iter().map(|(_, name)| *name));
            return Err(Usage(format!("no container is called '{wanted}'{hint}")));
        }
    }
    let networks: Vec<&str> = inventory
        .networks()
        .flat_map(|network| [Some(network.name.as_str()), network.bridge.as_deref()])
        .flatten()
        .collect();
    filter.check_networks(&networks)?;
    for wanted in &filter.projects {
        let mut projects = inventory
            .containers()
            .filter_map(|container| container.project.as_deref());
        if !projects.any(|project| wanted.matches(project)) {
            return Err(Usage(format!("no project is called '{wanted}'")));
        }
    }
    Ok(())
}

/// Whether anything is left out.
pub(super) fn narrows(filter: &Filter) -> bool {
    !(filter.containers.is_empty() && filter.networks.is_empty() && filter.projects.is_empty())
}

/// Whether a container is one of those asked for.
pub(super) fn admits(filter: &Filter, inventory: &Inventory, container: &Container) -> bool {
    let any = |patterns: &[Pattern], fits: &dyn Fn(&Pattern) -> bool| {
        patterns.is_empty() || patterns.iter().any(fits)
    };
    any(&filter.containers, &|wanted| {
        wanted.matches_container(&container.id, &container.name)
    }) && any(&filter.projects, &|wanted| {
        container
            .project
            .as_deref()
            .is_some_and(|project| wanted.matches(project))
    }) && any(&filter.networks, &|wanted| {
        container.attachments.iter().any(|attachment| {
            wanted.matches(&attachment.network)
                || inventory
                    .network(&attachment.network_id)
                    .and_then(|network| network.bridge.as_deref())
                    .is_some_and(|bridge| wanted.matches(bridge))
        })
    })
}

/// Keeps what concerns the containers and networks asked for: findings about them, those that make them suffer, and
/// those of the host that concern everybody.
pub(super) fn keep(filter: &Filter, inventory: &Inventory, findings: &mut Vec<Finding>) {
    if !narrows(filter) {
        return;
    }
    let named = |name: &str| {
        inventory
            .containers()
            .any(|container| container.name == name && admits(filter, inventory, container))
    };
    let of_network = |name: &str| {
        let wanted = filter.networks.iter().any(|wanted| {
            wanted.matches(name)
                || inventory
                    .network(name)
                    .and_then(|network| network.bridge.as_deref())
                    .is_some_and(|bridge| wanted.matches(bridge))
        });
        wanted
            || inventory.containers().any(|container| {
                admits(filter, inventory, container)
                    && container
                        .attachments
                        .iter()
                        .any(|attachment| attachment.network == name)
            })
    };
    findings.retain(|finding| {
        let affected = finding
            .affects
            .iter()
            .any(|Affected { container, .. }| named(container));
        match finding.subject.kind {
            Kind::Container => affected || named(&finding.subject.name),
            Kind::Network => {
                affected || finding.affects.is_empty() && of_network(&finding.subject.name)
            }
            Kind::Host | Kind::Engine => affected || finding.affects.is_empty(),
        }
    });
}
