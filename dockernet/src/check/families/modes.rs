//! What is so on purpose, or cannot be judged from here.

use super::forwarding::whole;
use crate::{
    cause::{Verdict, tunnel_down},
    check::{Finding, Grade, Sight, Subject, finding::Affected, sight::open},
    host::vxlan::Vxlan,
    inventory::EngineStatus,
    model::{Impact, Owner},
};

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = internal(sight);
    found.extend(overlay(sight));
    found.extend(tunnels(sight));
    found.extend(rootless(sight));
    found
}

fn internal(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for network in sight
        .inventory
        .networks()
        .filter(|network| network.internal)
    {
        let members = sight.members(network);
        if members.is_empty() {
            continue;
        }
        let alone = members
            .iter()
            .filter(|member| member.container.attachments.len() == 1)
            .flat_map(|member| whole(member.container));
        let verdict = Verdict::confirmed(
            "internal-network",
            format!("{} is internal: its containers reach nothing outside, and nobody outside reaches them", network.name),
        )
        .fact("it was made with --internal")
        .advise("if this should pass: connect the container to a second network that is not internal (docker network connect NETWORK CONTAINER)");
        found.push(
            Finding::new(Grade::Note, Subject::network(&network.name), verdict).affects(alone),
        );
    }
    found
}

fn overlay(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for network in sight
        .inventory
        .networks()
        .filter(|network| network.driver == "overlay")
    {
        let members = sight.members(network);
        let ingress = network.name == "ingress";
        let (id, what) = if ingress {
            (
                "swarm-ingress",
                "Swarm's ingress spreads published ports over the nodes (IPVS): whether its tasks answer is not checked",
            )
        } else {
            (
                "overlay-network",
                "an overlay network reaches to other nodes: only this one's side is checked",
            )
        };
        let verdict = Verdict::confirmed(id, what)
            .fact(format!("{} is an overlay network", network.name))
            .advise("nodes need 4789/udp, 7946/tcp and 7946/udp from each other; docker node ls and docker service ps SERVICE say more");
        let affected = members
            .iter()
            .map(|member| Affected::container(member.container));
        found.push(
            Finding::new(Grade::Note, Subject::network(&network.name), verdict).affects(affected),
        );
    }
    found
}

/// Tunnels of overlays that are down, in the namespaces that the engine made for them. One in the host's own need not be an
/// overlay's.
fn tunnels(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for info in sight.inventory.namespaces() {
        if !info.near || !info.links.iter().any(|link| link.kind.is_vxlan()) {
            continue;
        }
        let place = sight.inventory.namespace_label(info.key);
        let place = place.unwrap_or_else(|| info.path.display().to_string());
        let read = || -> anyhow::Result<_> { sight.state.vxlans(&open(sight.state, info)?) };
        let devices = read().unwrap_or_else(|error| {
            let what = format!("the VXLAN devices in {place}");
            sight.unread(Subject::host(), what, &error);
            Vec::new()
        });
        for device in devices.iter().filter(|device| !device.up) {
            if info.key == sight.host.key {
                found.push(idle(device));
                continue;
            }
            let command = format!(
                "nsenter --net={} ip link set {} up",
                info.path.display(),
                device.name
            );
            let verdict = tunnel_down(device, place.clone(), command);
            // In a container it may be anybody's.
            let grade = match info.owner {
                Owner::EngineSandbox(_) => Grade::Broken,
                _ => Grade::Note,
            };
            found.push(Finding::new(grade, Subject::host(), verdict));
        }
    }
    found
}

/// A tunnel of the host's that is down: somebody's own, or what an overlay has left there, which then cannot be made anew.
fn idle(device: &Vxlan) -> Finding {
    let name = &device.name;
    let verdict = Verdict::when(
        false,
        "overlay-broken",
        format!(
            "{name}, a tunnel (VNI {}) in the host's namespace, is down",
            device.id
        ),
    )
    .fact(format!("{name} is not UP"));
    let verdict = if name.starts_with("vx-") {
        verdict
            .fact("Docker names its overlays' tunnels so, and moves them into namespaces of their own")
            .run(format!("ip link del {name}"), "host", None, Impact::None)
            .advise("if docker says \"error creating vxlan interface: file exists\"")
    } else {
        verdict.advise(format!("if an overlay is to use it: ip link set {name} up"))
    };
    Finding::new(Grade::Note, Subject::host(), verdict)
}

fn rootless(sight: &Sight<'_>) -> Option<Finding> {
    match sight.inventory.engine_status() {
        EngineStatus::Up { rootless: true, .. } => {
            let verdict = Verdict::confirmed(
                "rootless-engine",
                "the engine runs without root: its networks are in a namespace of its own, and published ports come in by a proxy",
            )
            .fact("the engine says rootless")
            .advise("to check its networks: --netns /proc/PID/ns/net with the pid of its dockerd");
            Some(Finding::new(Grade::Note, Subject::engine(), verdict))
        }
        EngineStatus::Remote { why } => Some(Finding::unknown(
            Subject::engine(),
            "containers of an engine that runs elsewhere",
            why.clone(),
        )),
        _ => None,
    }
}
