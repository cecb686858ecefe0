//! Queues that are full: a device's, and a CPU's.

use super::{Case, Verdict};
use crate::{host::queue::Queue, model::Impact};

/// Reasons of single queueing disciplines (6.12 and later; before that all are `QDISC_DROP`).
const OVER_LIMIT: &[&str] = &[
    "QDISC_OVERLIMIT",
    "QDISC_CONGESTED",
    "FQ_BAND_LIMIT",
    "FQ_HORIZON_LIMIT",
    "FQ_FLOW_LIMIT",
];

/// Row 73.
pub(super) fn queue_overflow(case: &Case<'_>) -> Option<Verdict> {
    if case.evidence.reason() == "CPU_BACKLOG" {
        return backlog(case);
    }
    if !OVER_LIMIT.contains(&case.evidence.reason()) && !super::device::refused_by_queue(case) {
        return None;
    }
    let link = case
        .inventory
        .link(case.evidence.netns, case.evidence.record.key.ifindex)?;
    // A device that is down or without a carrier has a queue that takes nothing: another cause.
    if !link.up || !link.carrier {
        return None;
    }
    let queues = case.state.queues(&case.netns()?, &link.name).ok()?;
    let queue = queues
        .iter()
        // What hangs at clsact drops by itself: no queue is full there.
        .filter(|queue| queue.drops > 0 && !matches!(queue.kind.as_str(), "clsact" | "ingress"))
        // The one at the leaf: those above it count its drops as theirs.
        .max_by_key(|queue| (queue.drops, !queue.root))?;
    let (device, place) = (&link.name, case.place());
    // It loses packets where it is told to, or has its limit reached.
    let may_mean_it = queue.kind == "netem";
    let verdict = Verdict::when(
        !may_mean_it,
        "queue-overflow",
        format!(
            "the {} queue of {device} in {place} is full: more is sent than it lets through",
            queue.kind
        ),
    )
    .fact(format!(
        "qdisc {} on {device} has dropped {} packets, {} wait in it",
        queue.kind, queue.drops, queue.length
    ))
    .maybe_fact(
        may_mean_it
            .then(|| "netem loses packets on purpose where it is told to (loss), too".to_owned()),
    );
    Some(mend(case, verdict, device, queue))
}

fn mend(case: &Case<'_>, verdict: Verdict, device: &str, queue: &Queue) -> Verdict {
    let look = case.command(&format!("tc -s qdisc show dev {device}"));
    // The others' limits are those that they were made with (`pfifo_fast_change_tx_queue_len`, net/sched/sch_generic.c, 4.16+).
    let length = queue.txqueuelen.filter(|_| queue.kind == "pfifo_fast");
    if let Some(length) = length {
        let longer = length.saturating_mul(2).max(2000);
        return verdict
            .run(
                case.command(&format!("ip link set {device} txqueuelen {longer}")),
                case.place(),
                None,
                Impact::None,
            )
            .advise("a longer queue only helps against bursts");
    }
    if queue.kind == "pfifo_fast" {
        return verdict.advise(format!(
            "a longer one (txqueuelen) only helps against bursts; {look} shows it"
        ));
    }
    if matches!(queue.kind.as_str(), "pfifo" | "bfifo") {
        return verdict.advise(format!(
            "somebody gave {device} a queue with a limit: make it longer (tc qdisc change dev {device} … limit N), which only helps against bursts; {look} shows it"
        ));
    }
    verdict.advise(format!(
        "somebody shapes {device}: give it a higher rate or limit (tc qdisc change dev {device} …), or let the sender send less; {look} shows it"
    ))
}

/// `enqueue_to_backlog` (net/core/dev.c): packets for this CPU come faster than it handles them.
fn backlog(case: &Case<'_>) -> Option<Verdict> {
    let drops = case.state.backlog_drops().ok()?;
    let limit = case.state.backlog_limit().ok().flatten().unwrap_or(1000);
    let raised = limit.saturating_mul(2);
    let verdict = Verdict::when(
        drops > 0,
        "queue-overflow",
        "packets between containers and host come faster than a CPU handles them: its backlog is full",
    )
    .fact(format!("the CPUs' backlogs have dropped {drops} packets since the start (/proc/net/softnet_stat)"))
    .fact(format!("net.core.netdev_max_backlog = {limit}"));
    let key = "net/core/netdev_max_backlog";
    Some(
        verdict
            .run(
                format!("sysctl -w {key}={raised}"),
                "host",
                Some(case.state.sysctl_files().persist(key)),
                Impact::None,
            )
            .advise("spread the load over the CPUs (RPS: rps_cpus of the veths) if one of them is busy with it alone: mpstat -P ALL"),
    )
}
