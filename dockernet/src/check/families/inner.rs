//! Firewalls inside containers.

use std::net::IpAddr;

use super::{
    firewall::{number, uplink},
    forwarding::forwarded,
    nat::client,
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
    let family = Family::of(own);
    let Some(probe) =
        number(&published.protocol).and_then(|proto| client(sight, published, proto, family))
    else {
        return false;
    };
    let uplink = uplink(sight, family);
    let iif = uplink.map(|uplink| uplink.link.name.as_str());
    match translation(
        &sight.host,
        &probe.untranslated(iif, None),
        Hook::Prerouting,
    ) {
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
        let (Some(own), Some(proto)) = (member.address(family), number(&published.protocol)) else {
            continue;
        };
        let Some(device) = space.holder(own).map(|link| link.name.as_str()) else {
            continue;
        };
        if !leads_here(sight, member, published, own) {
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
                    &Probe::new(proto, client, own, published.container_port),
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
                    let verdict = Verdict::confirmed(
                        "container-firewall-drop",
                        format!("a firewall inside {} drops what comes to its published port", container.name),
                    )
                    .fact(found.sentence())
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
    // One that is led on inside the container is judged by what it is led to, which is not followed.
    let packet = probe.untranslated(Some(device), None);
    if !matches!(
        translation(space, &packet, Hook::Prerouting),
        Translation::Nothing
    ) {
        return Judged::Passes;
    }
    let asked = [
        (probe.first(Some(device), None), Hook::Prerouting),
        (probe.first(Some(device), None), Hook::Input),
        (probe.back(None, Some(device)), Hook::Output),
        (probe.back(None, Some(device)), Hook::Postrouting),
    ];
    Judged::first(
        asked
            .iter()
            .map(|(packet, hook)| judge(space, packet, *hook)),
    )
}
