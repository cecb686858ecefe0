//! Forwarding that is switched off, and IPv6 that is.

use crate::{
    cause::{Verdict, at_stake},
    check::{
        Finding, Grade, Sight, Subject,
        finding::Affected,
        sight::{Member, Uplink},
    },
    host::sysctl::{display_key, interface_key},
    model::{Container, Impact, Network, Published},
};

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = ipv4(sight);
    found.extend(ipv6(sight));
    found.extend(ipv6_disabled(sight));
    found
}

/// Networks whose traffic the host forwards: bridges with containers on them and a way out.
pub(super) fn forwarded<'s>(sight: &'s Sight<'_>) -> Vec<(&'s Network, &'s str, Vec<Member<'s>>)> {
    sight
        .bridge_networks()
        .filter(|(network, _)| !network.internal)
        .map(|(network, bridge)| (network, bridge, sight.members(network)))
        .filter(|(_, _, members)| !members.is_empty())
        .collect()
}

/// A container and its published ports.
pub(super) fn whole(container: &Container) -> Vec<Affected> {
    if container.published.is_empty() {
        return vec![Affected::container(container)];
    }
    container
        .published
        .iter()
        .map(|published| Affected::port(container, published))
        .collect()
}

fn everyone<'m, 's: 'm>(members: impl IntoIterator<Item = &'m Member<'s>>) -> Vec<Affected> {
    members
        .into_iter()
        .flat_map(|member| whole(member.container))
        .collect()
}

fn ipv4(sight: &Sight<'_>) -> Vec<Finding> {
    let networks = forwarded(sight);
    let all = || networks.iter().flat_map(|(.., members)| members);
    if networks.is_empty() {
        return Vec::new();
    }
    if sight.number(&sight.host, "net/ipv4/ip_forward") == Some(0) {
        let verdict = Verdict::confirmed(
            "ip-forward-disabled",
            "the host forwards nothing: no packet gets from one interface to another, so containers reach nothing outside \
             and nobody outside reaches them",
        )
        .fact("net.ipv4.ip_forward = 0")
        .set_host_sysctl(&sight.files, "net/ipv4/ip_forward", "0", "1");
        return vec![
            Finding::new(Grade::Broken, Subject::host(), verdict).affects(everyone(all())),
        ];
    }
    let mut found = Vec::new();
    for (_, bridge, members) in &networks {
        let what = format!(
            "{bridge} does not forward: what its containers send reaches the host itself and nothing behind it"
        );
        found.extend(
            interface(sight, bridge, what, Grade::Broken)
                .map(|finding| finding.affects(everyone(members))),
        );
    }
    for uplink in sight.uplinks() {
        let name = &uplink.link.name;
        let suffering = reached_by(&uplink, &networks);
        let grade = match (uplink.default, uplink.gateway) {
            (true, _) => Grade::Broken,
            _ if suffering
                .iter()
                .any(|(.., published)| !published.host_ip.is_unspecified()) =>
            {
                Grade::Broken
            }
            (_, true) => Grade::Risk,
            _ => Grade::Note,
        };
        let what = if uplink.default {
            format!(
                "{name} does not forward: what comes in by it reaches the host itself and no container, answers to containers included"
            )
        } else {
            format!("{name} does not forward: what comes in by it reaches no container")
        };
        found.extend(interface(sight, name, what, grade).map(|finding| {
            let ports = suffering
                .iter()
                .map(|(container, published)| Affected::port(container, published));
            if uplink.default {
                finding.affects(everyone(all()))
            } else {
                finding.affects(ports)
            }
        }));
    }
    found
}

/// Published ports that clients may reach by an uplink.
fn reached_by<'m>(
    uplink: &Uplink<'_>,
    networks: &'m [(&Network, &str, Vec<Member<'_>>)],
) -> Vec<(&'m Container, &'m Published)> {
    networks
        .iter()
        .flat_map(|(.., members)| members)
        .flat_map(|member| {
            let container = member.container;
            container
                .published
                .iter()
                .map(move |published| (container, published))
        })
        .filter(|(_, published)| {
            let host = published.host_ip;
            (host.is_unspecified() && host.is_ipv4())
                || uplink.link.addresses.iter().any(|net| net.addr() == host)
        })
        .collect()
}

fn interface(sight: &Sight<'_>, name: &str, what: String, grade: Grade) -> Option<Finding> {
    let key = interface_key(false, name, "forwarding");
    if sight.number(&sight.host, &key)? != 0 {
        return None;
    }
    let verdict = Verdict::confirmed("interface-forwarding-disabled", what)
        .fact(format!("{} = 0", display_key(&key)))
        .fact("ip_forward = 1, so setting that again mends nothing")
        .set_host_sysctl(&sight.files, &key, "0", "1");
    Some(Finding::new(grade, Subject::host(), verdict))
}

/// Adds the command that has the host forward IPv6.
pub(in crate::check) fn forward_ipv6(sight: &Sight<'_>, verdict: Verdict) -> Verdict {
    let host = &sight.host;
    let uplink = at_stake(&host.links, &host.neighbours, &host.routes, |key| {
        sight.state.sysctl(&host.handle, key).ok().flatten()
    });
    verdict.forward_ipv6(&sight.files, uplink.as_deref())
}

fn ipv6(sight: &Sight<'_>) -> Option<Finding> {
    let networks = forwarded(sight);
    let members: Vec<&Member<'_>> = networks
        .iter()
        .flat_map(|(.., members)| members)
        .filter(|member| member.attachment.ipv6.is_some())
        .collect();
    if members.is_empty() || sight.number(&sight.host, "net/ipv6/conf/all/forwarding") != Some(0) {
        return None;
    }
    let verdict = Verdict::confirmed(
        "ipv6-forwarding-disabled",
        "the host forwards no IPv6, so containers reach nothing outside by IPv6 and nobody outside reaches them by it",
    )
    .fact("net.ipv6.conf.all.forwarding = 0");
    let verdict = forward_ipv6(sight, verdict);
    let affected = members
        .iter()
        .map(|member| Affected::container(member.container));
    Some(Finding::new(Grade::Broken, Subject::host(), verdict).affects(affected))
}

/// An interface with IPv6 switched off, though Docker gave it an IPv6 address.
fn ipv6_disabled(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for container in sight.running() {
        let Some(space) = sight.space_of(container) else {
            continue;
        };
        for attachment in &container.attachments {
            let Some(address) = attachment.ipv6.map(|net| net.addr()) else {
                continue;
            };
            let Some(interface) = sight.interface_of(container, &attachment.network) else {
                continue;
            };
            let name = &interface.device.name;
            let key = interface_key(true, name, "disable_ipv6");
            if sight.number(space, &key) != Some(1) {
                continue;
            }
            let verdict = Verdict::confirmed(
                "ipv6-disabled",
                format!("IPv6 is switched off on {name}, so it takes nothing that comes by IPv6"),
            )
            .fact(format!("{} = 1", display_key(&key)))
            .fact(format!("Docker gave {address} to it"))
            .run(
                space.command(&format!("sysctl -w {key}=0")),
                container.name.clone(),
                None,
                Impact::None,
            )
            .advise(
                "then restart the container, for its address went with it; for good: recreate it without the --sysctl that \
                 disables IPv6, or find what sets it inside",
            );
            found.push(Finding::new(
                Grade::Broken,
                Subject::container(container),
                verdict,
            ));
        }
    }
    for (network, bridge) in sight.bridge_networks() {
        let members = sight.members(network);
        let with: Vec<&Member<'_>> = members
            .iter()
            .filter(|member| member.attachment.ipv6.is_some())
            .collect();
        let key = interface_key(true, bridge, "disable_ipv6");
        if with.is_empty() || sight.number(&sight.host, &key) != Some(1) {
            continue;
        }
        let verdict = Verdict::confirmed(
            "ipv6-disabled",
            format!(
                "IPv6 is switched off on {bridge}, the gateway of {}",
                network.name
            ),
        )
        .fact(format!("{} = 1", display_key(&key)))
        .set_host_sysctl(&sight.files, &key, "1", "0");
        let affected = with
            .iter()
            .map(|member| Affected::container(member.container));
        found.push(
            Finding::new(Grade::Broken, Subject::network(&network.name), verdict).affects(affected),
        );
    }
    found
}
