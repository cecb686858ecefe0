//! Programs: who listens on what is published, who is paused, whose queue is full.

use std::{fs, time::Duration};

use super::forwarding::whole;
use crate::{
    cause::Verdict,
    check::{Finding, Grade, Sight, Subject, finding::Affected},
    host::{
        listeners::{Listener, Transport, listening_on},
        netns::scan,
    },
    model::{Container, Impact, Published, State},
};

/// How long a program may take until it listens.
const STARTING: Duration = Duration::from_secs(10);

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for container in sight.running() {
        if container.state == State::Paused {
            found.push(paused(container));
            continue;
        }
        found.extend(published(sight, container));
    }
    found
}

/// Why nobody answers.
pub(in crate::check) fn paused_verdict(container: &Container) -> Verdict {
    Verdict::confirmed(
        "container-paused",
        format!(
            "{} is paused: connections open and get no answer",
            container.name
        ),
    )
    .fact("Docker says paused; its processes are frozen")
    .run(
        format!("docker unpause {}", container.name),
        "host",
        None,
        Impact::None,
    )
}

fn paused(container: &Container) -> Finding {
    let verdict = paused_verdict(container);
    let grade = if container.published.is_empty() {
        Grade::Risk
    } else {
        Grade::Broken
    };
    Finding::new(grade, Subject::container(container), verdict).affects(whole(container))
}

/// Each port of the container that something of the host leads to.
fn published(sight: &Sight<'_>, container: &Container) -> Vec<Finding> {
    let Some(space) = sight
        .space_of(container)
        .filter(|space| space.key != sight.host.key)
    else {
        return Vec::new();
    };
    let mut ports: Vec<(u16, &str)> = container
        .published
        .iter()
        .map(|published| (published.container_port, published.protocol.as_str()))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    let mut found = Vec::new();
    for (port, protocol) in ports {
        let transport = match protocol {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            // /proc does not list SCTP's sockets alike.
            _ => continue,
        };
        let all: Vec<&Listener> = listening_on(&space.listeners, transport, port)
            .into_iter()
            .filter(|listener| listener.remote.is_none())
            .collect();
        let addresses: Vec<_> = space
            .links
            .iter()
            .flat_map(|link| &link.addresses)
            .map(ipnet::IpNet::addr)
            .filter(|address| !address.is_loopback())
            .collect();
        let served = all
            .iter()
            .any(|listener| addresses.iter().any(|address| listener.accepts(*address)));
        if served {
            continue;
        }
        let here = |published: &&Published| {
            published.container_port == port && published.protocol == protocol
        };
        let affected: Vec<Affected> = container
            .published
            .iter()
            .filter(here)
            .map(|published| Affected::port(container, published))
            .collect();
        let host_port = container
            .published
            .iter()
            .find(here)
            .map_or(port, |published| published.host_port);
        let (grade, verdict) = unserved(space, container, (transport, port, host_port), &all);
        found.push(Finding::new(grade, Subject::container(container), verdict).affects(affected));
    }
    found
}

fn unserved(
    space: &crate::check::space::Space,
    container: &Container,
    (transport, port, host_port): (Transport, u16, u16),
    all: &[&Listener],
) -> (Grade, Verdict) {
    let loopback: Vec<String> = all
        .iter()
        .filter(|listener| listener.is_loopback())
        .map(|listener| listener.local.to_string())
        .collect();
    let (id, verdict) = if loopback.is_empty() {
        let mut open: Vec<&Listener> = space
            .listeners
            .iter()
            .filter(|other| other.transport == transport && other.remote.is_none())
            .filter(|other| !other.is_loopback())
            .collect();
        open.sort_by_key(|other| other.local.port());
        let shown: Vec<String> = open
            .iter()
            .take(5)
            .map(|other| other.local.to_string())
            .collect();
        let verdict = Verdict::confirmed(
            "no-listener",
            format!(
                "nothing in {} listens on {port}/{transport}, which is published",
                container.name
            ),
        )
        .fact(if shown.is_empty() {
            format!("no {transport} socket waits there at all")
        } else {
            format!("it listens on {}", shown.join(", "))
        });
        let suffix = if transport == Transport::Udp {
            "/udp"
        } else {
            ""
        };
        let right = open
            .first()
            .map_or_else(|| "PORT".to_owned(), |other| other.local.port().to_string());
        (
            "no-listener",
            verdict.advise(format!(
                "start the program, or publish the port that it uses: -p {host_port}:{right}{suffix}; docker logs {} says how it fares",
                container.name
            )),
        )
    } else {
        (
            "listener-on-loopback",
            Verdict::confirmed(
                "listener-on-loopback",
                format!("the program in {} listens on loopback only, so nobody outside it reaches {port}/{transport}", container.name),
            )
            .fact(format!("listening on {}", loopback.join(", ")))
            .advise(format!("make it listen on 0.0.0.0 (or [::]) port {port}: a bind, host or listen setting of the program")),
        )
    };
    let young = container.pid.and_then(age).filter(|age| *age < STARTING);
    match young {
        Some(age) if id == "no-listener" => (
            Grade::Note,
            verdict.fact(format!(
                "it started {} s ago and may not be ready yet",
                age.as_secs()
            )),
        ),
        _ => (Grade::Broken, verdict),
    }
}

/// How long a process runs.
fn age(pid: i32) -> Option<Duration> {
    let ticks = scan::started(pid)?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
    Duration::from_secs_f64(uptime.max(0.0)).checked_sub(Duration::from_millis(ticks * 10))
}
