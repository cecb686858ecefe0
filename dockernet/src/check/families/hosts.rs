//! Names in containers' hosts files that lead to addresses of others.

use std::net::IpAddr;

use super::forwarding::whole;
use crate::{
    cause::Verdict,
    check::{Finding, Grade, Sight, Subject, sight::has_been_given},
    host::hosts::of_process,
    model::{Container, Impact, State},
};

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for container in sight.running() {
        let Some(pid) = container.pid.and_then(|pid| u32::try_from(pid).ok()) else {
            continue;
        };
        // A container without such a file has no such names.
        let Ok(entries) = of_process(pid) else {
            continue;
        };
        for entry in entries {
            found.extend(stale(sight, container, entry.address, &entry.names));
        }
    }
    found
}

/// An entry that names a container, and its address is another's or nobody's.
fn stale(
    sight: &Sight<'_>,
    container: &Container,
    address: IpAddr,
    names: &[String],
) -> Option<Finding> {
    if !sight.inventory.is_docker_address(address) {
        return None;
    }
    let meant = sight.inventory.containers().find(|other| {
        other.ended.is_none()
            && names.iter().any(|name| {
                *name == other.name || (name.len() >= 12 && other.id.starts_with(name.as_str()))
            })
    })?;
    let has = |container: &Container| has_been_given(container, address);
    // Its own name, which another has too, and the host's own address (host-gateway), are what they are meant to be.
    if has(meant) || meant.id == container.id || has(container) || sight.host.has_address(address) {
        return None;
    }
    let now = sight.running().into_iter().find(|other| has(other));
    // Who does not run is not reached by any address: that its own would be another is no news.
    if meant.state == State::Stopped && now.is_none() {
        return None;
    }
    let actual: Vec<String> = meant
        .attachments
        .iter()
        .filter_map(|attachment| attachment.ipv4.map(|net| net.addr().to_string()))
        .collect();
    let verdict = Verdict::confirmed(
        "stale-hosts-entry",
        match now {
            Some(other) => format!("{} finds {} at {address}, which is {}'s now", container.name, meant.name, other.name),
            None => format!("{} finds {} at {address}, which nobody has", container.name, meant.name),
        },
    )
    .fact(format!("/etc/hosts in {}: {address} {}", container.name, names.join(" ")))
    .fact(if meant.state == State::Stopped {
        format!("{} does not run", meant.name)
    } else {
        format!("{} has {}", meant.name, actual.join(", "))
    })
    .advise("use a network of your own and names instead of --link or fixed entries: Docker's resolver knows the address of the moment");
    // With a link to one that does not run it would not come up again.
    let verdict = match meant.state {
        State::Stopped => verdict.advise(format!("start {0} first: docker start {0}", meant.name)),
        _ => verdict.run(
            format!("docker restart {}", container.name),
            "host",
            None,
            Impact::RestartsContainers,
        ),
    };
    Some(
        Finding::new(Grade::Broken, Subject::container(container), verdict)
            .affects(whole(container)),
    )
}
