//! `--trace-rules`: asks the kernel itself which rule drops a flow's next packet, by nftables' own tracing.
//!
//! The only part that changes a ruleset: while a flow is traced the host has a table of ours, `dockernet_trace`, whose
//! rules set `meta nftrace` for that flow and nothing else. It belongs to a socket of this process (`owner` flag, 5.12+)
//! and goes with it, however the process ends; on older kernels it is removed at the end, by the next run or by `detach`.

mod encode;
mod event;
mod flow;
mod table;

use std::{
    collections::HashMap,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv},
};

pub use self::table::remove_leftovers;
use self::{event::Packets, flow::Flow, table::Table};
use crate::{
    evidence::Evidence,
    host::{
        changes,
        firewall::{Backend, Firewall, Traced},
        inside::Kind,
        netns::NetnsHandle,
    },
    model::{NetnsOwner, Rule},
};

/// `NFNLGRP_NFTABLES` and `NFNLGRP_NFTRACE` (include/uapi/linux/netfilter/nfnetlink.h).
const GROUPS: &[u32] = &[7, 9];
/// They have no tracing of their own that a program could hear.
const INVISIBLE: [Backend; 2] = [Backend::IptablesLegacy, Backend::EbtablesLegacy];
/// Longer than any notice.
const DATAGRAM: usize = 64 << 10;
/// Flows traced at a time.
const FLOWS: usize = 8;
/// How long a flow's next packet is waited for; a lost SYN is sent again after 1 s and 3 s.
const WAIT: Duration = Duration::from_secs(5);
/// How long an answer holds while the rules stay as they are.
const HOLDS: Duration = Duration::from_secs(60);
/// Answers remembered.
const ANSWERS: usize = 256;

/// Traces flows in the host's namespace.
pub(crate) struct RuleTracer {
    table: Table,
    events: OwnedFd,
    buffer: Vec<u8>,
    slots: Vec<Slot>,
    packets: Packets,
    /// By packets as they are dropped.
    answers: HashMap<Flow, (Instant, Traced)>,
    /// A failure was told.
    warned: bool,
}

/// A flow that is traced. One that was answered keeps its place for its time: that bounds how often rules are written.
struct Slot {
    entering: Flow,
    dropped: Flow,
    since: Instant,
    bridged: bool,
    answered: bool,
}

impl RuleTracer {
    /// Gets ready in a namespace, removes what an earlier run left there; writes no rule yet.
    ///
    /// # Errors
    /// The netlink sockets cannot be opened.
    pub(crate) fn start(netns: &NetnsHandle) -> Result<Self> {
        for family in remove_leftovers(netns)? {
            log::info!(
                "removed the table {family} {} of an earlier run",
                table::NAME
            );
        }
        let has_legacy = Firewall::read(netns)
            .tables()
            .any(|(backend, _)| INVISIBLE.contains(&backend));
        if has_legacy {
            log::warn!(
                "--trace-rules cannot see iptables-legacy's and ebtables-legacy's rules, and this host has some"
            );
        }
        let events = netns
            .run(|| changes::listen(Kind::Netfilter, GROUPS))?
            .context("opening a netlink socket for nftables' traces")?;
        Ok(Self {
            table: Table::open(netns)?,
            events,
            buffer: vec![0; DATAGRAM],
            slots: Vec::new(),
            packets: Packets::default(),
            answers: HashMap::new(),
            warned: false,
        })
    }

    /// The rule that was seen to drop packets of this drop's flow.
    pub(crate) fn known(&mut self, evidence: &Evidence) -> Option<Traced> {
        if evidence.drop.netns.owner != NetnsOwner::Host {
            return None;
        }
        self.hear();
        let (_, traced) = self.answers.get(&Flow::dropped(evidence)?)?;
        Some(traced.clone())
    }

    /// Has the next packet of this drop's flow traced, unless that is known or too many are.
    pub(crate) fn want(&mut self, evidence: &Evidence, rule: Option<&Rule>) {
        let is_netfilter = evidence.reason() == "NETFILTER_DROP"
            || evidence.reason().is_empty() && evidence.hook.is_some();
        let is_visible = rule.is_none_or(|rule| {
            rule.how != "traced"
                && !INVISIBLE
                    .iter()
                    .any(|backend| rule.backend == backend.name())
        });
        if !is_netfilter || !is_visible || evidence.drop.netns.owner != NetnsOwner::Host {
            return;
        }
        let flows = Flow::entering(evidence).zip(Flow::dropped(evidence));
        let Some((entering, dropped)) = flows else {
            return;
        };
        if self.slots.len() >= FLOWS || self.slots.iter().any(|slot| slot.dropped == dropped) {
            return;
        }
        self.slots.push(Slot {
            entering,
            dropped,
            since: Instant::now(),
            bridged: evidence.hook.is_some_and(|point| point.bridge),
            answered: false,
        });
        self.write();
    }

    /// Hears what was traced, and lets go of flows whose time is over.
    pub(crate) fn tick(&mut self) {
        self.hear();
        self.answers.retain(|_, (since, _)| since.elapsed() < HOLDS);
        let is_over = |slot: &Slot| slot.since.elapsed() >= WAIT;
        let is_changed = self
            .slots
            .iter()
            .any(|slot| is_over(slot) && !slot.answered);
        self.slots.retain(|slot| !is_over(slot));
        if is_changed {
            self.write();
        }
    }

    fn hear(&mut self) {
        let mut is_answered = false;
        loop {
            let read = recv(
                self.events.as_raw_fd(),
                &mut self.buffer,
                MsgFlags::MSG_DONTWAIT,
            );
            let length = match read {
                Ok(length) => length,
                Err(Errno::EINTR) => continue,
                // A burst was too much for the buffer: the flow's next packet will do.
                Err(Errno::ENOBUFS) => {
                    self.packets = Packets::default();
                    continue;
                }
                Err(Errno::EAGAIN) => break,
                Err(error) => {
                    self.warn("hearing nftables' traces", &error.into());
                    break;
                }
            };
            let datagram = self.buffer.get(..length).unwrap_or_default();
            for (kind, message) in changes::messages(datagram) {
                if changes::is_foreign_generation(kind, message) {
                    // Rules have changed: what was true of them need not be any more.
                    self.answers.clear();
                }
                let Some((flow, traced)) = self.packets.take(kind, message) else {
                    continue;
                };
                for slot in self.slots.iter_mut().filter(|slot| slot.dropped == flow) {
                    slot.answered = true;
                    is_answered = true;
                }
                if self.answers.len() < ANSWERS {
                    self.answers.insert(flow, (Instant::now(), traced));
                }
            }
        }
        if is_answered {
            self.write();
        }
    }

    /// Makes the table what the slots say; without a flow to trace there is none.
    fn write(&mut self) {
        let open = || self.slots.iter().filter(|slot| !slot.answered);
        let flows: Vec<&Flow> = open().map(|slot| &slot.entering).collect();
        let bridged = open().any(|slot| slot.bridged);
        if let Err(error) = self.table.write(&flows, bridged) {
            self.warn("writing the table dockernet_trace", &error);
        }
    }

    fn warn(&mut self, what: &str, error: &io::Error) {
        if !self.warned {
            self.warned = true;
            // The kernel keeps everybody but its owner from it.
            let hint = match error.raw_os_error() {
                Some(libc::EPERM) => "; another dockernet-trace --trace-rules runs here",
                _ => "",
            };
            log::warn!("--trace-rules names no rule: {what} failed: {error}{hint}");
        }
    }
}
