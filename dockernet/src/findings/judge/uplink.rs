//! Packets that were lost before the kernel had them in hand: in the network card, or by XDP in its driver.

use anyhow::Result;

use super::{Case, Found};
use crate::{
    cause::{Verdict, detach},
    host::attached::{At, on_device},
    model::{Endpoint, EndpointKind, Impact, NetworkMode, State},
};

/// The card had no buffer for what it received (row 73).
pub(super) fn missed(case: &Case<'_>, index: u32) -> Vec<Found> {
    let Some(device) = name(case, index) else {
        return Vec::new();
    };
    let verdict = Verdict::confirmed(
        "queue-overflow",
        format!("packets come by {device} faster than the host takes them: the card had no buffer for them, and no skb was made"),
    )
    .fact(format!(
        "{device}: rx_missed_errors (or rx_over_errors, rx_fifo_errors) rose by {}",
        case.events
    ))
    .run(format!("ethtool -g {device}"), "host", None, Impact::None)
    .advise(format!("a larger receive ring if it is below its maximum (ethtool -G {device} rx N; interrupts connections); spread its queues over the CPUs"));
    vec![found(case, verdict, device)]
}

/// An XDP program in the driver drops (row 39).
pub(super) fn xdp(case: &Case<'_>, index: u32) -> Result<Vec<Found>> {
    let Some(device) = name(case, index) else {
        return Ok(Vec::new());
    };
    let attached = on_device(case.host, &device)?;
    let Some(program) = attached.iter().find(|one| one.at == At::Xdp) else {
        return Ok(Vec::new());
    };
    let verdict = Verdict::confirmed(
        "bpf-drop",
        format!("a BPF program in the driver of {device} drops packets (xdp): no skb is made of them"),
    )
    .fact(program.to_string())
    .fact(format!("the driver's count of what it dropped rose by {}", case.events))
    .advise("if this should pass: find who loaded it (bpftool net, bpftool prog show id ID: a network plugin, a DDoS filter) and let that allow it");
    let verdict = match detach(program, &device) {
        Some(commands) => verdict.run(commands.join(" && "), "host", None, Impact::OpensFirewall),
        None => verdict,
    };
    Ok(vec![found(case, verdict, device)])
}

fn name(case: &Case<'_>, index: u32) -> Option<String> {
    let link = case.inventory.link(case.inventory.host_key(), index)?;
    Some(link.name.clone())
}

/// What comes in there is for the containers too, if there are any.
fn found(case: &Case<'_>, verdict: Verdict, device: String) -> Found {
    let has_containers = case.inventory.containers().any(|container| {
        container.ended.is_none()
            && container.state != State::Stopped
            && container.mode == NetworkMode::Networks
    });
    Found {
        verdict,
        source: Endpoint {
            kind: EndpointKind::External,
            ..Endpoint::default()
        },
        destination: Endpoint {
            kind: EndpointKind::Host,
            ..Endpoint::default()
        },
        published: None,
        device: Some(device),
        events: case.events,
        is_hosts_own: !has_containers,
    }
}
