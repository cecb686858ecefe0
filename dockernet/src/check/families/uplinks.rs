//! Interfaces that lead out of the host: parents of macvlans, uplinks.

use super::{forwarding::whole, wiring::everyone};
use crate::{
    cause::Verdict,
    check::{Finding, Grade, Sight, Subject},
    model::{Impact, LinkKind},
};

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = parents(sight);
    found.extend(uplinks(sight));
    found
}

/// macvlan and ipvlan: the parent, and that the host itself does not reach them.
fn parents(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for network in sight.inventory.networks() {
        if !matches!(network.driver.as_str(), "macvlan" | "ipvlan") {
            continue;
        }
        let members = sight.members(network);
        let subject = Subject::network(&network.name);
        if let Some(parent) = &network.parent {
            let link = sight.host.link(parent);
            let fault = match link {
                None => Some("does not exist"),
                Some(link) if !link.up => Some("is down"),
                Some(link) if !link.carrier => Some("has no carrier"),
                Some(_) => None,
            };
            if let Some(fault) = fault {
                let verdict = Verdict::confirmed(
                    "macvlan-parent-down",
                    format!(
                        "{parent}, which {} sits on, {fault}: its containers are cut off",
                        network.name
                    ),
                )
                .fact(format!("{parent} {fault}"));
                let verdict = if link.is_some_and(|link| !link.up) {
                    verdict.run(
                        format!("ip link set {parent} up"),
                        "host",
                        None,
                        Impact::None,
                    )
                } else {
                    verdict.advise("check the cable, and the device that the network was made on")
                };
                let grade = if members.is_empty() {
                    Grade::Risk
                } else {
                    Grade::Broken
                };
                found.push(
                    Finding::new(grade, subject.clone(), verdict).affects(everyone(&members)),
                );
            }
        }
        if members.is_empty() {
            continue;
        }
        let verdict = Verdict::confirmed(
            "macvlan-host-isolation",
            format!("{}: the host itself does not reach these containers, nor they the host; other machines do", network.driver),
        )
        .fact(format!("{} is a {} network", network.name, network.driver))
        .advise("if the host should: give it a macvlan interface of its own on the same parent, with a route to the containers");
        found.push(Finding::new(Grade::Note, subject, verdict).affects(everyone(&members)));
    }
    found
}

/// An uplink without a carrier.
fn uplinks(sight: &Sight<'_>) -> Vec<Finding> {
    let running = sight.running();
    let mut found = Vec::new();
    for uplink in sight.uplinks() {
        let link = uplink.link;
        // A bridge without ports, of virtual machines for one, has no carrier and misses none.
        let idle = link.kind == LinkKind::Bridge && !uplink.gateway;
        if !link.up || link.carrier || idle {
            continue;
        }
        let verdict = Verdict::confirmed(
            "uplink-no-carrier",
            format!("{} has no carrier: nothing gets out or in by it", link.name),
        )
        .fact(format!("{}: NO-CARRIER", link.name))
        .advise("check the cable, the switch port, or the other end of the veth or virtual machine's network");
        let grade = match (uplink.default, uplink.gateway) {
            (true, _) => Grade::Broken,
            (_, true) => Grade::Risk,
            // A port of the machine that nothing is plugged into.
            _ => Grade::Note,
        };
        let affected = running
            .iter()
            .filter(|_| uplink.default)
            .flat_map(|container| whole(container));
        found.push(Finding::new(grade, Subject::host(), verdict).affects(affected));
    }
    found
}
