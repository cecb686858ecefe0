//! Listeners whose accept queue is full: the program does not take what waits.

use super::forwarding::whole;
use crate::{
    cause::Verdict,
    check::{Finding, Grade, Sight, Subject, finding::Affected},
    host::accept_queue::{AcceptQueue, accept_queues},
    model::{Container, Impact},
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
        // Several containers may share a namespace: its owner's name is on the finding.
        if sight
            .inventory
            .containers_in(space.key)
            .next()
            .map(|first| &first.id)
            != Some(&container.id)
        {
            continue;
        }
        match accept_queues(&space.handle) {
            Ok(queues) => {
                let full = queues.into_iter().flatten().filter(AcceptQueue::is_full);
                found.extend(full.map(|queue| finding(container, &queue)));
            }
            Err(error) => sight.unread(
                Subject::container(container),
                "accept queues of its listeners",
                &error,
            ),
        }
    }
    found
}

/// Why connections to a full queue time out.
pub(in crate::check) fn verdict(container: &Container, queue: &AcceptQueue) -> Verdict {
    mend(
        Verdict::confirmed(
            "accept-queue-full",
            format!(
                "the program in {} does not accept what waits on port {}: new connections time out",
                container.name,
                queue.local.port()
            ),
        ),
        container,
    )
    .fact(format!(
        "{}: {} connections wait, {} may (Recv-Q > Send-Q)",
        queue.local, queue.waiting, queue.limit
    ))
}

/// What to do about it.
pub(in crate::check) fn mend(verdict: Verdict, container: &Container) -> Verdict {
    verdict
        .run(format!("docker logs --tail 50 {}", container.name), "host", None, Impact::None)
        .advise("if it is alive and only slow: a larger listen backlog in the program, net.core.somaxconn with --sysctl, more workers; if it hangs: docker restart")
}

fn finding(container: &Container, queue: &AcceptQueue) -> Finding {
    let port = queue.local.port();
    let verdict = verdict(container, queue);
    let ports: Vec<Affected> = container
        .published
        .iter()
        .filter(|published| published.container_port == port && published.protocol == "tcp")
        .map(|published| Affected::port(container, published))
        .collect();
    let affected = if ports.is_empty() {
        whole(container)
    } else {
        ports
    };
    Finding::new(Grade::Broken, Subject::container(container), verdict).affects(affected)
}
