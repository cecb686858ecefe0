//! Programs: who listens on what is published, who is paused, whose queue is full.

use std::{fs, net::IpAddr, time::Duration};

use super::forwarding::whole;
use crate::{
    cause::Verdict,
    check::{
        Finding, Grade, Sight, Subject,
        finding::Affected,
        probe::{Probe, somewhere, translation},
        space::Space,
    },
    host::{
        firewall::{Hook, Translation},
        listeners::{Listener, Transport, listening_on},
        netns::scan,
        route::Family,
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

/// So many ports in a row may be a range that a program serves on demand.
const RANGE: usize = 4;

/// Each port of the container that something of the host leads to.
fn published(sight: &Sight<'_>, container: &Container) -> Vec<Finding> {
    let Some(space) = sight
        .space_of(container)
        .filter(|space| space.key != sight.host.key)
    else {
        return Vec::new();
    };
    let mut ports: Vec<(Transport, u16)> = container
        .published
        .iter()
        .filter_map(|published| Some((transport(&published.protocol)?, published.container_port)))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    let serves = ports.iter().any(|port| is_served(space, *port));
    let mut found = Vec::new();
    for run in ports.chunk_by(|one, next| one.0 == next.0 && one.1.checked_add(1) == Some(next.1)) {
        let mut missing = Vec::new();
        for port in run.iter().copied().filter(|port| !is_served(space, *port)) {
            match redirected(space, port) {
                Redirected::No => missing.push(port),
                Redirected::Served => {}
                Redirected::Unknown(at) => found.push(Finding::unknown(
                    Subject::container(container),
                    format!(
                        "whether anything in {} takes port {}/{}",
                        container.name, port.1, port.0
                    ),
                    format!("it depends on a rule that cannot be told from outside: {at}"),
                )),
            }
        }
        match (missing.as_slice(), run) {
            ([], _) => {}
            (_, [first, .., last]) if is_range(space, run, &missing, serves) => {
                found.push(range(container, *first, last.1, missing.len()));
            }
            _ => found.extend(
                missing
                    .into_iter()
                    .map(|port| nobody(space, container, port)),
            ),
        }
    }
    found
}

/// Whether ports in a row are served on demand: by datagrams (RTP), or beside a port that is served (FTP). A program that
/// waits at one of them, where nobody reaches it, means each.
fn is_range(
    space: &Space,
    run: &[(Transport, u16)],
    missing: &[(Transport, u16)],
    serves: bool,
) -> bool {
    let is_long = run.len() >= RANGE;
    let by_datagrams = run
        .iter()
        .all(|(transport, _)| *transport == Transport::Udp);
    is_long
        && (by_datagrams || serves)
        && missing.iter().all(|port| waiting(space, *port).is_empty())
}

/// /proc does not list SCTP's sockets alike.
fn transport(protocol: &str) -> Option<Transport> {
    match protocol {
        "tcp" => Some(Transport::Tcp),
        "udp" => Some(Transport::Udp),
        _ => None,
    }
}

/// Who waits at a port, for anybody.
fn waiting(space: &Space, (transport, port): (Transport, u16)) -> Vec<&Listener> {
    listening_on(&space.listeners, transport, port)
        .into_iter()
        .filter(|listener| listener.remote.is_none())
        .collect()
}

fn addresses(space: &Space) -> impl Iterator<Item = IpAddr> {
    let nets = space.links.iter().flat_map(|link| &link.addresses);
    nets.map(ipnet::IpNet::addr)
        .filter(|address| !address.is_loopback())
}

fn is_served(space: &Space, port: (Transport, u16)) -> bool {
    let all = waiting(space, port);
    all.iter()
        .any(|listener| addresses(space).any(|address| listener.accepts(address)))
}

/// What rules of the container's own make of a port.
enum Redirected {
    No,
    /// They lead it to one that is served, or out of the container again.
    Served,
    /// It depends on this one.
    Unknown(String),
}

fn redirected(space: &Space, (transport, port): (Transport, u16)) -> Redirected {
    for address in addresses(space) {
        let probe = Probe::new(
            transport.number(),
            somewhere(Family::of(address)),
            address,
            port,
        );
        let device = space.holder(address).map(|link| link.name.as_str());
        let packet = probe.untranslated(device, None);
        match translation(space, &packet, Hook::Prerouting) {
            Translation::To(target, _) => {
                let is_own = target.address.is_none_or(|to| space.has_address(to));
                if !is_own || is_served(space, (transport, target.port.unwrap_or(port))) {
                    return Redirected::Served;
                }
            }
            Translation::CannotTell(at) => return Redirected::Unknown(at),
            Translation::Nothing | Translation::Untracked { .. } => {}
        }
    }
    Redirected::No
}

fn range(
    container: &Container,
    (transport, first): (Transport, u16),
    last: u16,
    missing: usize,
) -> Finding {
    let verdict = Verdict::confirmed(
        "no-listener",
        format!(
            "of the published ports {first}-{last}/{transport} of {} {missing} have no listener now",
            container.name
        ),
    )
    .advise("a range is served on demand, as a rule; if the program should wait on all of them: docker logs says how it fares");
    Finding::new(Grade::Note, Subject::container(container), verdict).affects(whole(container))
}

/// Nobody takes what comes to a port.
fn nobody(space: &Space, container: &Container, (transport, port): (Transport, u16)) -> Finding {
    let here: Vec<&Published> = container
        .published
        .iter()
        .filter(|published| {
            published.container_port == port
                && self::transport(&published.protocol) == Some(transport)
        })
        .collect();
    let affected = here
        .iter()
        .map(|published| Affected::port(container, published));
    let host_port = here.first().map_or(port, |published| published.host_port);
    let all = waiting(space, (transport, port));
    let (grade, verdict) = unserved(space, container, (transport, port, host_port), &all);
    Finding::new(grade, Subject::container(container), verdict).affects(affected)
}

fn unserved(
    space: &Space,
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
