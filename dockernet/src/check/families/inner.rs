//! Firewalls inside containers.

use std::net::IpAddr;

use super::{
    firewall::{number, uplink},
    forwarding::forwarded,
};
use crate::{
    cause::{Verdict, delete},
    check::{
        Finding, Grade, Sight, Subject,
        finding::Affected,
        gather::Gather,
        probe::{Judged, Probe, judge, somewhere, translation},
        sight::Member,
        space::Space,
    },
    host::{
        firewall::{Hook, Translation},
        route::Family,
    },
    model::{Impact, Published, Rule},
};

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut gather = Gather::default();
    for (.., members) in forwarded(sight) {
        for member in &members {
            let space = member.space.filter(|space| space.key != sight.host.key);
            if let Some(space) = space.filter(|space| space.firewall.tables().next().is_some()) {
                ports(sight, member, space, &mut gather);
            }
        }
    }
    gather.findings
}

/// Whether the host leads a published port to this address of its container.
fn leads_here(sight: &Sight<'_>, member: &Member<'_>, published: &Published, own: IpAddr) -> bool {
    let Some(proto) = number(&published.protocol) else {
        return false;
    };
    let from = somewhere(Family::of(own));
    let to = if published.host_ip.is_unspecified() {
        let uplink = uplink(sight, Family::of(own));
        let own = uplink.and_then(|uplink| {
            let mut addresses = uplink.link.addresses.iter().map(ipnet::IpNet::addr);
            addresses.find(|address| Family::of(*address) == Family::of(from))
        });
        own.unwrap_or(published.host_ip)
    } else {
        published.host_ip
    };
    let packet = Probe::new(proto, from, to, published.host_port).untranslated(None, None);
    match translation(&sight.host, &packet, Hook::Prerouting) {
        Translation::To(target, _) => target.address == Some(own),
        // By docker-proxy or by routes: to one of its networks, and which is not known where it has several.
        _ => member.container.attachments.len() == 1,
    }
}

/// Published ports that the container's own rules close.
fn ports(sight: &Sight<'_>, member: &Member<'_>, space: &Space, gather: &mut Gather) {
    let container = member.container;
    for published in &container.published {
        let family = Family::of(published.host_ip);
        let own = match family {
            Family::V4 => member.attachment.ipv4,
            Family::V6 => member.attachment.ipv6,
        };
        let (Some(own), Some(proto)) = (own, number(&published.protocol)) else {
            continue;
        };
        let Some(device) = space.holder(own.addr()).map(|link| link.name.as_str()) else {
            continue;
        };
        if !leads_here(sight, member, published, own.addr()) {
            continue;
        }
        // Clients come with their own addresses, or with the bridge's where docker-proxy serves them.
        let outside = (!published.host_ip.is_loopback()).then(|| somewhere(family));
        let clients = outside.into_iter().chain(member.attachment.gateway);
        let clients: Vec<_> = clients
            .filter(|client| Family::of(*client) == family)
            .map(|client| {
                stopped(
                    space,
                    device,
                    &Probe::new(proto, client, own.addr(), published.container_port),
                )
            })
            .collect();
        let all = !clients.is_empty()
            && clients
                .iter()
                .all(|judged| matches!(judged, Judged::Drops(_)));
        let subject = Subject::container(container);
        for judged in clients {
            let finding = match judged {
                Judged::Passes => continue,
                Judged::Doubt(at) => Finding::unknown(
                    subject.clone(),
                    format!(
                        "whether the firewall inside {} lets its published ports' clients in",
                        container.name
                    ),
                    format!("it depends on a rule that cannot be told from outside: {at}"),
                ),
                Judged::Drops(found) => {
                    let rule = found.dropped.rule.as_ref();
                    let verdict = Verdict::confirmed(
                        "container-firewall-drop",
                        format!("a firewall inside {} drops what comes to its published port", container.name),
                    )
                    .fact(format!(
                        "{} in table {} {}: {}",
                        found.place(),
                        found.dropped.family.name(),
                        found.dropped.table,
                        rule.map_or("policy drop", |rule| &rule.text)
                    ))
                    .maybe_fact((!all).then(|| "other clients pass".to_owned()))
                    .advise("if this should pass: accept the port in the container's own rules, which its image or its entrypoint wrote")
                    .run(
                        space.command(&delete(&found.dropped)),
                        space.label.clone(),
                        None,
                        Impact::OpensFirewall,
                    )
                    .rule(Rule::from(&*found));
                    let grade = if all { Grade::Broken } else { Grade::Note };
                    Finding::new(grade, subject.clone(), verdict)
                }
            };
            gather.add(finding, [Affected::port(container, published)]);
        }
    }
}

fn stopped(space: &Space, device: &str, probe: &Probe) -> Judged {
    let mut doubt = None;
    // One that is led on inside the container is judged by what it is led to, which is not followed.
    let packet = probe.untranslated(Some(device), None);
    if !matches!(
        translation(space, &packet, Hook::Prerouting),
        Translation::Nothing
    ) {
        return Judged::Passes;
    }
    for (packet, hook) in [
        (probe.first(Some(device), None), Hook::Prerouting),
        (probe.first(Some(device), None), Hook::Input),
        (probe.back(None, Some(device)), Hook::Output),
        (probe.back(None, Some(device)), Hook::Postrouting),
    ] {
        match judge(space, &packet, hook) {
            Judged::Passes => {}
            drops @ Judged::Drops(_) => return drops,
            unsure @ Judged::Doubt(_) => doubt = doubt.or(Some(unsure)),
        }
    }
    doubt.unwrap_or(Judged::Passes)
}
