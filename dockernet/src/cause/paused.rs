//! A container that is frozen reads nothing.

use super::{Case, Verdict};
use crate::model::{Impact, State};

/// Row 51, once what comes in no longer fits into the socket's buffer.
pub(super) fn container_paused(case: &Case<'_>) -> Option<Verdict> {
    if !matches!(
        case.evidence.reason(),
        "SOCKET_RCVBUFF" | "PROTO_MEM" | "SOCKET_BACKLOG" | "TCP_LISTEN_OVERFLOW"
    ) {
        return None;
    }
    let container = case.container_here()?;
    // One of several in a namespace may hold the socket: only if none of them runs nobody reads it.
    let all_paused = case
        .inventory
        .containers_in(case.evidence.netns)
        .all(|container| container.state == State::Paused);
    if !all_paused {
        return None;
    }
    let name = &container.name;
    Some(
        Verdict::confirmed(
            "container-paused",
            format!(
                "{name} is paused: its programs read nothing, and what comes in fills their buffers"
            ),
        )
        .fact(format!("Docker says {name} is paused"))
        .run(format!("docker unpause {name}"), "host", None, Impact::None),
    )
}
