//! Containers that do not run, and should.

use super::forwarding::whole;
use crate::{
    cause::Verdict,
    check::{Finding, Grade, Sight, Subject},
    host::docker::Ending,
    inventory::EngineStatus,
    model::{Container, Impact, NetworkMode, State},
};

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut stopped: Vec<&Container> = sight
        .inventory
        .containers()
        .filter(|container| container.ended.is_none() && container.state == State::Stopped)
        .collect();
    stopped.sort_by(|left, right| left.name.cmp(&right.name));
    // Podman tells of networks in other ways, and of some not at all.
    let answers = matches!(
        sight.inventory.engine_status(),
        EngineStatus::Up { podman: false, .. }
    );
    for container in stopped {
        // Without the engine its list of networks is not known, and what it says of itself may be old.
        if answers && let Some(finding) = orphan(sight, container) {
            found.push(finding);
            continue;
        }
        found.extend(ended(sight, container));
    }
    if answers {
        found.extend(sight.running().into_iter().filter_map(cut_off));
    }
    found
}

/// It belongs to a network that no longer exists: it cannot start.
fn orphan(sight: &Sight<'_>, container: &Container) -> Option<Finding> {
    // A container that never started has its networks' names alone.
    let gone = container.attachments.iter().find(|attachment| {
        let id = match attachment.network_id.as_str() {
            "" => attachment.network.as_str(),
            _ => attachment.network_id.as_str(),
        };
        sight.inventory.network(id).is_none()
    })?;
    let again = sight.inventory.network(&gone.network).is_some();
    let verdict = Verdict::confirmed(
        "container-stopped",
        format!(
            "{} cannot start: its network {} no longer exists",
            container.name, gone.network
        ),
    )
    .fact(match gone.network_id.as_str() {
        "" => format!("it was made for network {}", gone.network),
        id => format!(
            "it was on network {} ({})",
            gone.network,
            id.chars().take(12).collect::<String>()
        ),
    })
    .maybe_fact(again.then(|| {
        format!(
            "a new network is called {}, which is another one",
            gone.network
        )
    }));
    let verdict = if again {
        verdict
            .run(
                format!(
                    "docker network disconnect -f {0} {1}; docker network connect {0} {1}",
                    gone.network, container.name
                ),
                "host",
                None,
                Impact::None,
            )
            .advise("or recreate the container (docker compose up -d --force-recreate)")
    } else {
        verdict
            .advise("recreate the container (docker compose up -d --force-recreate), or make the network again and connect it")
    };
    Some(
        Finding::new(Grade::Risk, Subject::container(container), verdict).affects(whole(container)),
    )
}

/// It has ended, though its restart policy says that it should run, or though it publishes ports.
fn ended(sight: &Sight<'_>, container: &Container) -> Option<Finding> {
    let ending = sight.endings.get(&container.id);
    let restart = ending.is_some_and(|ending| !matches!(ending.restart.as_str(), "no" | ""));
    let failed = ending.is_some_and(|ending| !ending.error.is_empty());
    if container.published.is_empty() && !restart && !failed {
        return None;
    }
    let name = &container.name;
    let mut verdict = Verdict::confirmed(
        "container-stopped",
        if container.published.is_empty() {
            format!("{name} does not run")
        } else {
            format!("{name} does not run, so its published ports are refused")
        },
    );
    if let Some(ending) = ending {
        verdict = verdict
            .fact(format!("exit status {}", ending.status))
            .maybe_fact((!ending.error.is_empty()).then(|| ending.error.clone()))
            .maybe_fact(
                ending
                    .out_of_memory
                    .then(|| "the kernel ended it for want of memory".into()),
            )
            .maybe_fact(restart.then(|| format!("its restart policy is {}", ending.restart)))
            .maybe_fact(
                ending
                    .restarting
                    .then(|| "the engine is about to start it again".into()),
            );
    }
    let verdict = verdict
        .run(format!("docker start {name}"), "host", None, Impact::None)
        .advise(format!("docker logs {name} says why it stopped"));
    // Who stopped it by hand knows: with these policies the engine starts anew what ends by itself, whatever its status. An error,
    // or a number of tries that is used up, says that nobody meant it.
    let given_up = |ending: &Ending| ending.gave_up && ending.status != 0;
    let unwanted = failed || ending.is_some_and(|ending| ending.restarting || given_up(ending));
    let grade = if unwanted { Grade::Risk } else { Grade::Note };
    Some(Finding::new(grade, Subject::container(container), verdict).affects(whole(container)))
}

/// It runs, publishes ports, and is on no network.
fn cut_off(container: &Container) -> Option<Finding> {
    let lost = container.mode == NetworkMode::Networks
        && container.attachments.is_empty()
        && !container.published.is_empty();
    if !lost {
        return None;
    }
    let name = &container.name;
    let verdict = Verdict::confirmed(
        "container-stopped",
        format!("{name} runs and publishes ports, but is on no network"),
    )
    .fact("Docker lists no network for it")
    .advise(format!(
        "docker network connect NETWORK {name}, with the one that it was made for"
    ));
    Some(
        Finding::new(Grade::Broken, Subject::container(container), verdict)
            .affects(whole(container)),
    )
}
