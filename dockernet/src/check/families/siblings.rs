//! Containers of one network: what the host's rules do to frames that only cross a bridge.

use std::net::IpAddr;

use crate::{
    cause::{Verdict, accept, delete},
    check::{
        Finding, Grade, Sight, Subject,
        finding::Affected,
        gather::Gather,
        probe::{Judged, Probe, Side, bridge_nf, judge, judge_bridged},
        sight::Member,
        walk::ACROSS,
    },
    host::{
        firewall::{Attribution, Backend, DropKind, Hook, Owner},
        route::Family,
    },
    inventory::EngineStatus,
    model::{Impact, Network, Rule},
};

/// Services of a container that are tried.
const SERVICES: usize = 8;

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut gather = Gather::default();
    for (network, bridge) in sight.bridge_networks() {
        // Without icc they are not to reach each other.
        if !network.icc {
            continue;
        }
        let members = sight.members(network);
        for member in &members {
            let mut others = members.iter();
            let Some(other) = others.find(|other| other.container.id != member.container.id) else {
                continue;
            };
            for family in [Family::V4, Family::V6] {
                between(sight, network, bridge, (other, member), family, &mut gather);
            }
        }
    }
    gather.findings
}

/// The host's end of a container's cable.
fn port_of<'m>(member: &Member<'m>) -> Option<&'m str> {
    let peer = member.interface?.peer.as_ref()?;
    Some(&peer.device.name)
}

/// What a container serves to others.
fn services(member: &Member<'_>, own: IpAddr) -> Vec<(u8, u16)> {
    let listeners = member.space.map_or(&[][..], |space| &space.listeners);
    let mut all: Vec<(u8, u16)> = listeners
        .iter()
        .filter(|listener| listener.remote.is_none() && listener.accepts(own))
        .map(|listener| (listener.transport.number(), listener.local.port()))
        .collect();
    all.sort_unstable();
    all.dedup();
    all.truncate(SERVICES);
    all
}

fn between(
    sight: &Sight<'_>,
    network: &Network,
    bridge: &str,
    (client, server): (&Member<'_>, &Member<'_>),
    family: Family,
    gather: &mut Gather,
) {
    let (Some(from), Some(to)) = (client.address(family), server.address(family)) else {
        return;
    };
    for (proto, port) in services(server, to) {
        let probe = Probe::new(proto, from, to, port);
        let ports = (port_of(client), port_of(server));
        let subject = Subject::network(&network.name);
        let affected = [Affected::container(server.container)];
        match stopped(sight, bridge, &probe, ports) {
            Judged::Passes => {}
            Judged::Doubt(at) => {
                let what = "whether containers of one network reach each other";
                let why = format!("it depends on a rule that cannot be told from outside: {at}");
                gather.add(Finding::unknown(Subject::host(), what, why), affected);
            }
            Judged::Drops(found) => {
                let is_up = matches!(sight.inventory.engine_status(), EngineStatus::Up { .. });
                if let Some((grade, verdict)) = verdict(network, bridge, &found, is_up) {
                    gather.add(Finding::new(grade, subject, verdict), affected);
                }
            }
        }
    }
}

/// What stops it, in either direction, or cannot be told.
fn stopped(
    sight: &Sight<'_>,
    bridge: &str,
    probe: &Probe,
    (client, server): (Option<&str>, Option<&str>),
) -> Judged {
    let host = &sight.host;
    let seen = sight.number(host, bridge_nf(probe.original.src)) == Some(1);
    let directions = [(false, (client, server)), (true, (server, client))];
    Judged::first(directions.into_iter().flat_map(|(reply, ports)| {
        let frame = probe.untouched(reply, Side::Client, ports);
        let bridged = ACROSS
            .iter()
            .map(move |hook| judge_bridged(host, &frame, *hook));
        let routed = seen.then(|| {
            let packet = probe.at_device(reply, Side::Client, (Some(bridge), Some(bridge)));
            judge(host, &packet, Hook::Forward)
        });
        bridged.chain(routed)
    }))
}

fn verdict(
    network: &Network,
    bridge: &str,
    found: &Attribution,
    is_up: bool,
) -> Option<(Grade, Verdict)> {
    let place = found.place();
    let (id, summary) = match found.kind {
        DropKind::DockerUser => (
            "docker-user-drop",
            format!(
                "a rule of yours in DOCKER-USER drops what containers of {} send each other: {place}",
                network.name
            ),
        ),
        DropKind::Bridge => (
            "bridge-filter-drop",
            format!(
                "a bridge filter drops what containers of {} send each other: {place}",
                network.name
            ),
        ),
        // With the engine down it is not known what the network was made with.
        DropKind::Icc if is_up => (
            "icc-disabled",
            format!(
                "a rule keeps containers of {} from each other, though the network was not made so",
                network.name
            ),
        ),
        // Its own rules say what it is meant to be.
        _ if found.owner == Owner::Docker => return None,
        _ if found.dropped.backend == Backend::Nft => (
            "foreign-table-drop",
            format!(
                "the nft table {} {} drops what containers of {} send each other",
                found.dropped.family.name(),
                found.dropped.table,
                network.name
            ),
        ),
        _ => (
            "bridge-nf-foreign-drop",
            format!(
                "containers of {} talk through the bridge, and {place} applies to bridged packets too (bridge-nf-call-iptables)",
                network.name
            ),
        ),
    };
    let verdict = Verdict::confirmed(id, summary).fact(found.sentence());
    // A rule may be meant so; that no rule accepts it is an oversight.
    let (grade, verdict) = if found.dropped.rule.is_some() {
        let verdict = verdict
            .advise("if this should pass: delete the rule, or accept this traffic before it")
            .run(delete(&found.dropped), "host", None, Impact::OpensFirewall);
        (Grade::Risk, verdict)
    } else if found.kind == DropKind::Bridge {
        let verdict = verdict.advise("if this should pass: accept this traffic before the policy");
        (Grade::Broken, verdict)
    } else {
        let verdict = verdict
            .advise(format!("if this should pass: accept what {bridge} bridges"))
            .run(
                accept(found, &[("i", bridge), ("o", bridge)], None),
                "host",
                None,
                Impact::OpensFirewall,
            );
        (Grade::Broken, verdict)
    };
    Some((grade, verdict.rule(Rule::from(found))))
}
