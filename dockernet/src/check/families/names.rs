//! Name resolution, as far as it can be told without asking.

use crate::{
    cause::{Verdict, accept, delete},
    check::{
        Finding, Grade, Sight, Subject,
        finding::Affected,
        resolution::{Chain, Embedded, Origin, Server, Trouble, chain},
    },
    host::firewall::Owner,
    model::{Container, Impact, NetworkMode, Rule},
};

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for container in sight.running() {
        let Some(space) = sight
            .space_of(container)
            .filter(|space| space.key != sight.host.key)
        else {
            continue;
        };
        if container.mode != NetworkMode::Networks {
            continue;
        }
        match chain(sight, container, space) {
            Ok(chain) => found.extend(judge(sight, container, &chain)),
            Err(error) => sight.unread(Subject::container(container), "its resolv.conf", &error),
        }
    }
    found
}

fn judge(sight: &Sight<'_>, container: &Container, chain: &Chain) -> Vec<Finding> {
    let name = &container.name;
    let mut found = Vec::new();
    let mut add = |grade, verdict| {
        let affected = Affected::container(container);
        found.push(Finding::new(grade, Subject::container(container), verdict).affects([affected]));
    };
    if let Some((state, at)) = chain.embedded
        && state != Embedded::Works
    {
        let udp_alone = state == Embedded::UdpAlone;
        let what = if udp_alone {
            "answers by UDP alone: names with long answers do not resolve"
        } else {
            "nobody answers there: no name resolves"
        };
        let verdict = Verdict::confirmed(
            "embedded-dns-broken",
            format!("{name} asks Docker's own resolver for names, and {what}"),
        );
        let verdict = match (state, at) {
            (Embedded::NobodyListens, Some((address, port))) => {
                let up = sight.daemon.pid.is_some();
                let verdict = verdict.fact(format!(
                    "127.0.0.11:53 leads to {address}:{port}, where nothing listens"
                ));
                if up {
                    verdict
                } else {
                    verdict.fact("the resolver is a part of dockerd, which does not run")
                }
            }
            _ => {
                let what = if udp_alone {
                    "TCP to 127.0.0.11:53"
                } else {
                    "127.0.0.11:53"
                };
                verdict.fact(format!("no rule of table nat inside the container leads {what} to it: something has flushed them"))
            }
        };
        let verdict = if udp_alone {
            verdict.advise(format!(
                "docker restart {name} brings it back; find what writes firewall rules inside the container"
            ))
        } else if sight.daemon.pid.is_some() {
            verdict
                .run(
                    format!("docker restart {name}"),
                    "host",
                    None,
                    Impact::RestartsContainers,
                )
                .advise("find what writes firewall rules inside the container")
        } else {
            verdict.run("systemctl start docker", "host", None, Impact::None)
        };
        let grade = if udp_alone {
            Grade::Risk
        } else {
            Grade::Broken
        };
        add(grade, verdict);
    }
    let internal = container.attachments.iter().all(|attachment| {
        sight
            .inventory
            .network(&attachment.network_id)
            .is_some_and(|network| network.internal || network.driver != "bridge")
    });
    // Without a way out at all, that is the finding; and an internal network is to have none.
    let lost =
        !chain.servers.is_empty() && chain.servers.iter().all(|server| server.trouble.is_some());
    let bad = chain
        .servers
        .iter()
        .filter(|server| !server.from_host || server.address.is_loopback());
    for server in bad {
        let grade = if lost { Grade::Broken } else { Grade::Risk };
        let Some(verdict) = unreachable(sight, container, chain, server, internal) else {
            continue;
        };
        add(grade, verdict);
    }
    if let Some(verdict) = fallback(sight, container, chain) {
        add(Grade::Risk, verdict);
    }
    found
}

fn unreachable(
    sight: &Sight<'_>,
    container: &Container,
    chain: &Chain,
    server: &Server,
    internal: bool,
) -> Option<Verdict> {
    let (name, address) = (&container.name, server.address);
    let came = format!("it came from {}", server.origin.words());
    match server.trouble.as_ref()? {
        Trouble::NobodyThere => {
            let place = if server.from_host {
                "the host"
            } else {
                name.as_str()
            };
            // Behind Docker's resolver it is one of its servers; without it the file itself is wrong.
            let id = if chain.embedded.is_some() {
                "dns-upstream-unreachable"
            } else {
                "dns-wrong-resolver"
            };
            Some(
                Verdict::confirmed(
                    id,
                    format!("{name}'s name server {address} is a loopback address, and nothing listens there in {place}"),
                )
                .fact(format!("asked from the network namespace of {place}"))
                .fact(came)
                .advise(match server.origin {
                    Origin::Container => format!("recreate {name} with a --dns that it can reach (the host's address instead of loopback)"),
                    Origin::Daemon => "name a server in \"dns\" of /etc/docker/daemon.json that containers can reach".to_owned(),
                    _ => "give the host's resolv.conf a server that containers can reach, or \"dns\" to /etc/docker/daemon.json".to_owned(),
                }),
            )
        }
        Trouble::NoRoute if internal => None,
        // No route at all is a finding of its own.
        Trouble::NoRoute => None,
        Trouble::Dropped(found) => {
            // A rule against everything is told once, by its own name.
            let about = found.dropped.rule.as_ref().is_some_and(|rule| {
                let address = address.to_string();
                rule.text
                    .split([' ', '/', '"', ',', '{', '}'])
                    .any(|word| word == "53" || word == "domain" || word == address)
            });
            if !about && !sight.host.has_address(address) {
                return None;
            }
            Some(
                Verdict::confirmed(
                    "dns-upstream-unreachable",
                    format!("{name} cannot reach its name server {address}: the firewall drops what it asks"),
                )
                .fact(format!(
                    "{} in table {}: {}",
                    found.place(),
                    found.dropped.table,
                    found.dropped.rule.as_ref().map_or("policy drop", |rule| &rule.text)
                ))
                .fact(came)
                .rule(Rule::from(&**found)),
            )
            .map(|verdict| {
                if about {
                    return verdict
                        .advise("if this should pass: delete the rule, or name another server (--dns)")
                        .run(delete(&found.dropped), "host", None, Impact::OpensFirewall);
                }
                // It keeps out more than this: what containers ask the host's resolver is let in, and nothing else.
                let bridge = bridge_of(sight, container);
                let verdict = verdict.advise("if this should pass: accept port 53 (UDP and TCP) from containers, or name another server (--dns)");
                match (found.owner, bridge) {
                    (_, None) | (Owner::Firewalld, _) => verdict,
                    (Owner::Ufw, Some(bridge)) => verdict.run(
                        format!("ufw allow in on {bridge} to any port 53"),
                        "host",
                        None,
                        Impact::OpensFirewall,
                    ),
                    (_, Some(bridge)) => verdict.run(
                        accept(found, &[("i", &bridge)], Some(("udp", Some(53)))),
                        "host",
                        None,
                        Impact::OpensFirewall,
                    ),
                }
            })
        }
    }
}

/// The bridge that a container asks others by.
fn bridge_of(sight: &Sight<'_>, container: &Container) -> Option<String> {
    let mut attachments = container.attachments.iter();
    attachments
        .find(|attachment| attachment.gateway.is_some())
        .and_then(|attachment| {
            sight
                .inventory
                .network(&attachment.network_id)?
                .bridge
                .clone()
        })
}

/// The host has a resolver of its own on loopback, and containers ask the internet's instead: internal zones are lost.
fn fallback(sight: &Sight<'_>, container: &Container, chain: &Chain) -> Option<Verdict> {
    let chosen = chain
        .servers
        .iter()
        .all(|server| server.origin == Origin::Fallback);
    let host = sight.state.resolver(None).ok()?;
    let loopback: Vec<String> = host
        .nameservers
        .iter()
        .filter(|address| address.is_loopback())
        .map(ToString::to_string)
        .collect();
    if !chosen || chain.servers.is_empty() || loopback.is_empty() {
        return None;
    }
    Some(
        Verdict::confirmed(
            "dns-wrong-resolver",
            format!("{} asks servers of the internet, not the host's own: names of internal zones do not resolve", container.name),
        )
        .fact(format!("the host asks {}", loopback.join(", ")))
        .fact(format!(
            "{} asks {}: {}",
            container.name,
            chain.servers.iter().map(|server| server.address.to_string()).collect::<Vec<_>>().join(", "),
            Origin::Fallback.words()
        ))
        .advise("put it on a network of your own (docker network create), or name a server that containers can reach in \"dns\" of /etc/docker/daemon.json"),
    )
}
