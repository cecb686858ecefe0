//! Listeners without room for one more connection (rows 48 and 49).

use std::net::SocketAddr;

use anyhow::Result;

use super::{Case, Found, paused};
use crate::{
    cause::Verdict,
    check::live,
    host::{
        accept_queue::{AcceptQueue, accept_queues},
        connections::connections,
        netns::NetnsHandle,
        sysctl,
    },
    model::{Container, Endpoint, EndpointKind, Impact},
};

/// An accept queue that was full: the kernel counted a connection that it had no room for.
pub(super) fn accept(case: &Case<'_>) -> Result<Vec<Found>> {
    let Some(container) = case.container() else {
        return hosts_accept(case);
    };
    // It accepts nothing because it does not run: another sign tells that.
    if paused::is_frozen(case) {
        return Ok(Vec::new());
    }
    let netns = live::open(case.info)?;
    let counted = format!("ListenOverflows rose by {}", case.events);
    let known = accept_queues(&netns)?;
    let Some(queue) = fullest(known.as_deref().unwrap_or_default()) else {
        let why = if known.is_some() {
            "there is room again by now, so which one it was is not known"
        } else {
            "the kernel's tcp_diag is not loaded, so which one it was is not known"
        };
        let verdict = live::accept_queue_was_full(container)
            .fact(counted)
            .fact(why);
        return Ok(vec![case.to(container, verdict)]);
    };
    let verdict = live::accept_queue_full(container, queue).fact(counted);
    let mut found = case.to(container, verdict);
    found.published = case.published(container, "tcp", queue.local);
    Ok(vec![found])
}

/// The one with the most connections beyond what may wait.
fn fullest(queues: &[AcceptQueue]) -> Option<&AcceptQueue> {
    queues
        .iter()
        .filter(|queue| queue.is_full())
        .max_by_key(|queue| queue.waiting - queue.limit)
}

/// A program of the host: docker-proxy for a published port, or one that is nobody's business here.
fn hosts_accept(case: &Case<'_>) -> Result<Vec<Found>> {
    let queues = accept_queues(case.host)?.unwrap_or_default();
    let Some(queue) = fullest(&queues) else {
        return Ok(Vec::new());
    };
    let port = queue.local.port();
    let published = case.inventory.published_on("tcp", port).next();
    let verdict = Verdict::confirmed(
        "accept-queue-full",
        format!("the program on the host that listens on port {port} does not accept what waits: new connections time out"),
    )
    .fact(format!("{}: {} connections wait, {} may (Recv-Q > Send-Q)", queue.local, queue.waiting, queue.limit))
    .fact(format!("ListenOverflows rose by {}", case.events))
    .run(format!("ss -ltnp sport = :{port}"), "host", None, Impact::None)
    .advise("if it is alive and only slow: a larger listen backlog in the program, net.core.somaxconn, more workers; if it hangs: restart it");
    Ok(vec![hosts(
        case,
        verdict,
        published.map(|(_, published)| published.to_string()),
    )])
}

fn hosts(case: &Case<'_>, verdict: Verdict, published: Option<String>) -> Found {
    Found {
        verdict,
        source: Endpoint::default(),
        destination: Endpoint {
            kind: EndpointKind::Host,
            ..Endpoint::default()
        },
        is_hosts_own: published.is_none(),
        published,
        device: None,
        events: case.events,
    }
}

/// SYNs that found a queue of half-open connections full and were dropped: without SYN cookies.
pub(super) fn syn(case: &Case<'_>) -> Result<Vec<Found>> {
    const COOKIES: &str = "net/ipv4/tcp_syncookies";
    let container = case.container();
    let netns = match container {
        Some(_) => live::open(case.info)?,
        None => case.host.clone(),
    };
    let number = |key| -> Result<Option<u64>> {
        Ok(sysctl::read(&netns, key)?.and_then(|text| text.trim().parse().ok()))
    };
    let cookies = number(COOKIES)?;
    let whose = container.map_or("the host", |container| &container.name);
    let busiest = busiest(&netns)?;
    let of = busiest.map_or_else(
        || "a port".to_owned(),
        |(local, _)| format!("port {}", local.port()),
    );
    let verdict = Verdict::when(
        cookies == Some(0),
        "syn-queue-full",
        format!("{of} of {whose} has more half-open connections than may wait, and answers no further ones: new connections time out"),
    )
    .maybe_fact(cookies.map(|cookies| format!("net.ipv4.tcp_syncookies = {cookies}")))
    .fact(format!("TCPReqQFullDrop rose by {}", case.events))
    .maybe_fact(busiest.map(|(local, count)| format!("{count} connections to port {} are half open", local.port())));
    let verdict = match container {
        Some(container) => with_cookies(case, container, verdict),
        None => verdict.run(format!("sysctl -w {COOKIES}=1"), "host", None, Impact::None),
    };
    let verdict = verdict.advise("a larger listen backlog in the program; and see who opens connections and does not finish them");
    Ok(vec![match container {
        Some(container) => {
            let mut found = case.to(container, verdict);
            found.published =
                busiest.and_then(|(local, _)| case.published(container, "tcp", local));
            found
        }
        None => hosts(case, verdict, None),
    }])
}

fn with_cookies(case: &Case<'_>, container: &Container, verdict: Verdict) -> Verdict {
    verdict.run(
        format!(
            "{}sysctl -w net/ipv4/tcp_syncookies=1",
            live::enter(case.info)
        ),
        container.name.clone(),
        Some("docker run --sysctl net.ipv4.tcp_syncookies=1".into()),
        Impact::None,
    )
}

/// The port with the most half-open connections, and how many.
fn busiest(netns: &NetnsHandle) -> Result<Option<(SocketAddr, usize)>> {
    let mut counts = std::collections::BTreeMap::new();
    for connection in connections(netns)? {
        if connection.is_half_open() {
            let local = connection.local;
            counts.entry(local.port()).or_insert((local, 0_usize)).1 += 1;
        }
    }
    Ok(counts.into_values().max_by_key(|(_, count)| *count))
}
