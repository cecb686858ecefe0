//! A container that is frozen reads nothing.

use super::{Case, Verdict, buffers};
use crate::model::{Container, Impact, State};

/// Row 51, once what comes in no longer fits into the socket's buffer.
pub(super) fn container_paused(case: &Case<'_>) -> Option<Verdict> {
    let is_told = matches!(
        case.evidence.reason(),
        "SOCKET_RCVBUFF" | "PROTO_MEM" | "SOCKET_BACKLOG" | "TCP_LISTEN_OVERFLOW"
    );
    if !is_told && !buffers::may_lack_room(case) {
        return None;
    }
    // One of several in a namespace may hold the socket: only if none of them runs nobody reads it.
    let mut live = case
        .inventory
        .containers_in(case.evidence.netns)
        .filter(|container| container.ended.is_none())
        .peekable();
    let name = &live.peek()?.name;
    if !live.all(|container| is_paused(case, container)) {
        return None;
    }
    // What waits there stays, as nobody reads it.
    let full = buffers::short_of_room(case).filter(|socket| socket.receive_queue > 0);
    if !is_told && full.is_none() {
        return None;
    }
    Some(
        Verdict::when(
            is_told,
            "container-paused",
            format!(
                "{name} is paused: its programs read nothing, and what comes in fills their buffers"
            ),
        )
        .fact(format!("{name} is frozen (docker ps: Paused)"))
        .maybe_fact(full.as_ref().map(buffers::lack_of_room))
        .run(format!("docker unpause {name}"), "host", None, Impact::None),
    )
}

/// By the kernel's own word; by the engine's, which comes a moment later, where that cannot be had.
fn is_paused(case: &Case<'_>, container: &Container) -> bool {
    let frozen = container
        .pid
        .and_then(|pid| u32::try_from(pid).ok())
        .and_then(|pid| case.state.is_frozen(pid).ok());
    frozen.unwrap_or(container.state == State::Paused)
}
