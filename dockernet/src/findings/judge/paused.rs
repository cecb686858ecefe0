//! Packets that came for a container that is frozen (row 51): its kernel half answers, its programs do not.

use std::net::SocketAddr;

use anyhow::Result;

use super::{Case, Found};
use crate::{
    check::live,
    host::{
        connections::connections,
        freezer,
        listeners::{Transport, listeners},
    },
    model::{Container, State},
    report::counted,
};

/// A namespace all of whose containers are frozen, with something that waits to be read.
pub(super) fn judge(case: &Case<'_>) -> Result<Vec<Found>> {
    let Some(container) = case.container() else {
        return Ok(Vec::new());
    };
    if !is_frozen(case) {
        return Ok(Vec::new());
    }
    let netns = live::open(case.info)?;
    let mut waiting: Vec<(SocketAddr, &str)> = Vec::new();
    let (mut unread, mut open, mut datagrams) = (0_u64, 0_u64, 0_u64);
    for connection in connections(&netns)? {
        if connection.is_open() && connection.unread > 0 {
            open += 1;
            unread += u64::from(connection.unread);
            waiting.push((connection.local, "tcp"));
        }
    }
    let mut unaccepted = 0_u64;
    for listener in listeners(&netns)? {
        let queue = u64::from(listener.receive_queue);
        if queue == 0 {
            continue;
        }
        match listener.transport {
            Transport::Tcp => {
                unaccepted += queue;
                waiting.push((listener.local, "tcp"));
            }
            Transport::Udp => {
                datagrams += queue;
                waiting.push((listener.local, "udp"));
            }
        }
    }
    let Some(&(local, protocol)) = waiting.first() else {
        return Ok(Vec::new());
    };
    let parts = [
        (unaccepted > 0).then(|| format!("{} to be accepted", counted(unaccepted, "connection"))),
        (open > 0).then(|| {
            format!(
                "{} on {}",
                counted(unread, "byte"),
                counted(open, "connection")
            )
        }),
        (datagrams > 0).then(|| "datagrams".to_owned()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let verdict = live::paused(container).fact(format!("waiting there: {}", parts.join(", ")));
    let mut found = case.to(container, verdict);
    found.published = case.published(container, protocol, local);
    Ok(vec![found])
}

/// Whether every container of the namespace is frozen: one of several may hold the socket.
pub(super) fn is_frozen(case: &Case<'_>) -> bool {
    let mut any = false;
    let all = case
        .inventory
        .containers_in(case.key())
        .filter(|container| container.ended.is_none())
        .inspect(|_| any = true)
        .all(frozen);
    any && all
}

/// By the kernel's own word; by the engine's, which comes a moment later, where that cannot be had.
fn frozen(container: &Container) -> bool {
    container
        .pid
        .and_then(|pid| u32::try_from(pid).ok())
        .and_then(|pid| freezer::is_frozen(pid).ok())
        .unwrap_or(container.state == State::Paused)
}
