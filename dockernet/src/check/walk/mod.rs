//! One connection, walked through both directions as the kernel would, without sending anything.

mod back;
mod device;
mod ends;
mod forth;
mod hop;
mod nat;
mod ports;
mod program;
mod show;
mod wires;

use std::net::IpAddr;

use serde::Serialize;

use super::{
    finding::{Finding, Grade, Subject},
    probe::Probe,
    sight::Sight,
    space::Space,
};
use crate::{
    cause::{Verdict, suit},
    cli::Usage,
    host::firewall::Dropped,
    model::{Cause, Container},
};

pub(super) use device::ACROSS;
#[cfg(test)]
pub(super) use show::schemas;
pub(super) use show::{json, text};

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(super) enum Direction {
    /// From the client.
    Forth,
    /// The answer.
    Back,
}

/// How a step comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// It goes on.
    Pass,
    /// It ends here.
    Stop,
    /// It cannot be told.
    Unknown,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Step {
    /// Which way.
    pub direction: Direction,
    /// In whose network namespace: `host`, or a container's name.
    pub netns: String,
    /// What is looked at: `route`, `forward`, `dnat` …
    pub what: &'static str,
    /// How it comes out.
    pub outcome: Outcome,
    /// What was found.
    pub says: String,
}

/// A walk and its end.
#[derive(Debug)]
pub(super) struct Walked {
    /// `outside (1.1.1.1) → 198.51.100.10:10001/tcp`.
    pub title: String,
    /// All steps, the one that stops it last.
    pub steps: Vec<Step>,
    /// What stops it.
    pub stopped: Option<Finding>,
}

impl Walked {
    /// Whether answers come back; none where a step could not be told.
    pub(super) fn reaches(&self) -> Option<bool> {
        if self.stopped.is_some() {
            return Some(false);
        }
        let doubt = self
            .steps
            .iter()
            .any(|step| step.outcome == Outcome::Unknown);
        (!doubt).then_some(true)
    }

    /// The cause of the stop.
    pub(super) fn cause(&self) -> Option<&Cause> {
        self.stopped.as_ref().map(|finding| &finding.cause)
    }
}

/// Who is at an end of the connection.
#[derive(Clone, Copy)]
enum Party<'s> {
    /// The host itself.
    Host,
    /// A container with a namespace of its own.
    Container(&'s Container, &'s Space),
    /// Another machine.
    Outside,
}

/// Nothing goes on from here.
struct Halted;

type Go<T> = Result<T, Halted>;

/// A walk under way.
struct Walk<'s> {
    sight: &'s Sight<'s>,
    from: Party<'s>,
    probe: Probe,
    /// The host's rule that keeps it out of conntrack.
    untracked: Option<Box<Dropped>>,
    /// The interface of the host that it comes in by; none for the host's own.
    iif: Option<String>,
    direction: Direction,
    steps: Vec<Step>,
    stopped: Option<Finding>,
}

impl Walk<'_> {
    fn add(&mut self, netns: &str, what: &'static str, outcome: Outcome, says: String) {
        self.steps.push(Step {
            direction: self.direction,
            netns: netns.to_owned(),
            what,
            outcome,
            says,
        });
    }

    fn pass(&mut self, netns: &str, what: &'static str, says: impl Into<String>) {
        self.add(netns, what, Outcome::Pass, says.into());
    }

    fn unknown(&mut self, netns: &str, what: &'static str, says: impl Into<String>) {
        self.add(netns, what, Outcome::Unknown, says.into());
    }

    fn stop<T>(&mut self, netns: &str, what: &'static str, verdict: Verdict) -> Go<T> {
        self.add(netns, what, Outcome::Stop, verdict.cause.summary.clone());
        let subject = if netns == "host" {
            Subject::host()
        } else {
            Subject {
                kind: super::finding::Kind::Container,
                name: netns.to_owned(),
            }
        };
        self.stopped = Some(Finding::new(Grade::Broken, subject, verdict));
        Err(Halted)
    }

    fn dst(&self) -> IpAddr {
        self.probe.original.dst
    }
}

/// Walks from one to the other.
///
/// # Errors
/// One of them makes no sense here (bad usage).
pub(super) fn walk(sight: &Sight<'_>, from: &str, to: &str) -> Result<Walked, Usage> {
    let ends = ends::resolve(sight, from, to)?;
    let title = ends.title();
    let mut walk = Walk {
        sight,
        from: ends.from,
        probe: Probe::new(ends.proto, ends.source, ends.address, ends.port),
        iif: None,
        direction: Direction::Forth,
        steps: Vec::new(),
        untracked: None,
        stopped: None,
    };
    // What stops it is in the walk.
    let _ = walk.go();
    let mut stopped = walk.stopped;
    if let Some(finding) = &mut stopped {
        suit(&mut finding.cause.fix, sight.inventory.engine_status());
    }
    Ok(Walked {
        title,
        steps: walk.steps,
        stopped,
    })
}
