//! What a rule is for, and so what its drop is called.

use dockernet_common::{conntrack::info, record::flag};

use super::{
    Case, Verdict,
    fix::{accept, accept_answers, delete},
    forward::{foreign, forward},
    manager, rules_missing,
};
use crate::{
    cause::socket,
    host::firewall::{Attribution, Backend, DropKind, Family, Owner},
    model::{EndpointKind, Impact, Network, Rule},
};

pub(super) fn verdict(case: &Case<'_>, found: &Attribution, certain: bool) -> Option<Verdict> {
    let rule = Rule::from(found);
    let place = found.place();
    let text = found.sentence();
    let drop = &case.evidence.drop;
    let from_container = drop.source.kind == EndpointKind::Container;
    let network = |endpoint: &crate::model::Endpoint| -> Option<&Network> {
        case.inventory.network(endpoint.network.as_deref()?)
    };
    let (source, destination) = (network(&drop.source), network(&drop.destination));
    let internal = [destination, source]
        .into_iter()
        .flatten()
        .find(|network| network.internal);
    let base =
        |id: &'static str, summary: String| Verdict::when(certain, id, summary).fact(text.clone());
    let verdict = if case.in_container() {
        base(
            "container-firewall-drop",
            format!("a firewall inside {} drops it", case.place()),
        )
        .advise("if this should pass: change the rules in the image or in what sets them at start")
        .run(
            case.command(&delete(&found.dropped)),
            case.place(),
            None,
            Impact::OpensFirewall,
        )
    } else {
        match found.kind {
            DropKind::DockerUser => base("docker-user-drop", format!("a rule of yours in DOCKER-USER drops it: {place}"))
                .advise("if this should pass: delete the rule, or put an ACCEPT for this traffic before it (answers too: --ctstate RELATED,ESTABLISHED)")
                .run(delete(&found.dropped), "host", None, Impact::OpensFirewall),
            DropKind::InternalNetwork => internal_network(base, internal.or(destination).or(source)),
            DropKind::NetworkIsolation | DropKind::DirectAccess | DropKind::UnpublishedPort | DropKind::ForwardPolicy
                if internal.is_some() && source.map(|network| &network.id) != destination.map(|network| &network.id) =>
            {
                internal_network(base, internal)
            }
            DropKind::NetworkIsolation => isolation(base, case, source, destination),
            DropKind::DirectAccess if from_container => isolation(base, case, source, destination),
            DropKind::DirectAccess => direct_access(base, case, destination),
            DropKind::LoopbackPublished => {
                let packet = case.packet()?;
                let port = packet.dst_port?;
                let (container, published) = case.inventory.published_on(&packet.protocol, port).next()?;
                let verdict = socket::loopback_verdict(&container.name, &published.to_string(), port, published.container_port, &packet.protocol);
                let verdict = if certain { verdict } else { verdict.likely() };
                verdict.fact(text.clone())
            }
            DropKind::Icc => {
                let name = source.or(destination).map_or("the network", |network| network.name.as_str());
                let meant = source.or(destination).is_none_or(|network| !network.icc);
                let verdict = Verdict::when(certain && meant, "icc-disabled", format!("containers of {name} may not talk to each other"))
                    .fact(text.clone())
                    .maybe_fact(source.filter(|network| !network.icc).map(|network| format!("{} was made with enable_icc=false", network.name)));
                if meant {
                    verdict.advise("if this should pass: publish the port and use the host's address, or recreate the network with com.docker.network.bridge.enable_icc=true")
                } else {
                    verdict
                        .fact(format!("{name} was not made with enable_icc=false: the rule is left over, or somebody else's"))
                        .advise("if this should pass: delete the rule")
                        .run(delete(&found.dropped), "host", None, Impact::OpensFirewall)
                }
            }
            DropKind::UnpublishedPort => {
                let port = case.packet()?.dst_port.map_or_else(String::new, |port| format!(" {port}"));
                base("port-not-published", format!("the container's port{port} is not published"))
                    .advise("if this should pass: recreate the container with -p for that port")
            }
            DropKind::Input => host_input(base, case, found),
            DropKind::ForwardPolicy | DropKind::ForwardRule => forward(base, case, found)?,
            DropKind::Bridge => base("bridge-filter-drop", format!("a bridge filter rule drops it: {place}"))
                .advise("if this should pass: delete the rule")
                .run(delete(&found.dropped), "host", None, Impact::OpensFirewall),
            DropKind::Output | DropKind::Other if found.dropped.backend == Backend::Nft => foreign(base, case, found),
            // No cause of the catalogue; but the rule is known, and says more than a function's name.
            DropKind::Output | DropKind::Other => Verdict::unexplained(format!(
                "a rule on the {} hook drops it: {place} in table {}",
                found.dropped.hook.name(),
                found.dropped.table
            ))
            .fact(text.clone())
            .advise("if this should pass: delete the rule")
            .run(delete(&found.dropped), "host", None, Impact::OpensFirewall),
        }
    };
    Some(verdict.rule(rule))
}

fn internal_network(
    base: impl Fn(&'static str, String) -> Verdict,
    network: Option<&Network>,
) -> Verdict {
    let name = network.map_or("the network", |network| network.name.as_str());
    base("internal-network", format!("{name} is internal: it has no way out of the host and none in"))
        .maybe_fact(network.filter(|network| network.internal).map(|network| format!("{} was made with --internal", network.name)))
        .advise("if this should pass: connect the container to a second network that is not internal (docker network connect NETWORK CONTAINER)")
}

fn isolation(
    base: impl Fn(&'static str, String) -> Verdict,
    case: &Case<'_>,
    source: Option<&Network>,
    destination: Option<&Network>,
) -> Verdict {
    let drop = &case.evidence.drop;
    let name = |network: Option<&Network>| {
        network
            .map_or("another network", |network| network.name.as_str())
            .to_owned()
    };
    let (from, to) = (name(source), name(destination));
    let verdict = base(
        "network-isolation",
        format!("Docker keeps networks apart: the sender is on {from}, the receiver on {to}"),
    );
    match (&drop.source.container, destination) {
        (Some(container), Some(network)) => verdict.run(
            format!("docker network connect {} {}", network.name, container.name),
            "host",
            Some("name both networks in the compose file or at docker run".into()),
            // Its gateway may become the new network's, and its published ports are made anew then.
            Impact::Interrupts,
        ),
        _ => verdict.advise(
            "put both containers on one network, or publish the port and use the host's address",
        ),
    }
}

fn direct_access(
    base: impl Fn(&'static str, String) -> Verdict,
    case: &Case<'_>,
    network: Option<&Network>,
) -> Verdict {
    let address = case.dst().map_or_else(String::new, |dst| format!(" {dst}"));
    base(
        "direct-access-drop",
        format!("a container's own address{address} is not reached from outside the host (Docker 28 and later)"),
    )
    .fact(format!("came in by {}", case.ingress()))
    .maybe_fact(network.map(|network| format!("not by {}'s own bridge", network.name)))
    .advise(format!(
        "if this should pass: publish the port and use the host's address; or for a network that is to be routed, recreate it with \
         com.docker.network.bridge.trusted_host_interfaces=INTERFACE or gateway_mode_{}=nat-unprotected; or for all, \
         \"allow-direct-routing\": true in /etc/docker/daemon.json",
        if case.is_ipv6() { "ipv6" } else { "ipv4" }
    ))
}

fn host_input(
    base: impl Fn(&'static str, String) -> Verdict,
    case: &Case<'_>,
    found: &Attribution,
) -> Verdict {
    if case.evidence.drop.published.is_some()
        && let Some(verdict) = manager::firewalld_reload(case, found)
    {
        return verdict;
    }
    let device = case.ingress();
    let packet = case.packet();
    // What is not translated comes to the host itself.
    let missing = packet.filter(|_| case.in_host()).and_then(|packet| {
        let port = packet.dst_port?;
        let (container, published) =
            case.inventory
                .published(&packet.protocol, case.dst()?, port)?;
        rules_missing(case, container, published)
    });
    let has_chains = case.host_firewall().has_docker_chains(Family::Ip);
    // Without any chain of Docker's it may have been told to write none.
    let swept = missing.is_some() && !has_chains;
    if let Some(missing) = missing.filter(|_| has_chains) {
        return missing.fact(format!(
            "it came to the host itself instead, where {} drops it",
            found.place()
        ));
    }
    let protocol = packet.map_or("tcp", |packet| packet.protocol.as_ref());
    let port = packet.and_then(|packet| packet.dst_port);
    let conntrack = &case.evidence.record.conntrack;
    let is_answer = case.evidence.record.flags & flag::CONNTRACK != 0
        && (info::IS_REPLY..=info::IS_REPLY + info::RELATED).contains(&conntrack.info);
    if is_answer && found.dropped.backend != Backend::EbtablesLegacy {
        return base(
            "host-input-drop",
            format!("the host's own firewall drops answers to the host's own connections: they come in by {device}"),
        )
        .advise(format!("if the host is to reach what is behind {device}: accept answers before that rule"))
        .run(accept_answers(found, &[("i", device)]), "host", None, Impact::OpensFirewall);
    }
    let target = port.map_or_else(
        || "the host".to_owned(),
        |port| format!("the host's port {port}/{protocol}"),
    );
    let verdict = base(
        "host-input-drop",
        format!("the host's own firewall drops what comes from {device} to {target}"),
    )
    .maybe_fact(swept.then(|| {
        "the port is published, and no chain of Docker's is in the firewall: if they were swept away, systemctl restart docker brings them back"
            .to_owned()
    }));
    let verdict = verdict.advise(match port {
        Some(port) => format!("if this should pass: accept port {port}/{protocol} from {device}"),
        None => format!("if this should pass: accept {protocol} from {device}"),
    });
    let command = match (found.owner, port) {
        (Owner::Ufw, Some(port)) => manager::allow_by_ufw(found, device, port, protocol),
        (Owner::Firewalld, Some(port)) => manager::add_to_zone(found, device, port, protocol),
        (Owner::Firewalld, None) => return verdict,
        _ => accept(found, &[("i", device)], Some((protocol, port))),
    };
    verdict.run(command, "host", None, Impact::OpensFirewall)
}
