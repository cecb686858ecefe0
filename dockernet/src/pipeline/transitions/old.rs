//! Flows that are older than this run: one look at the conntrack table, taken beside everything else.

use std::{
    collections::{HashMap, HashSet},
    sync::mpsc::{Receiver, TryRecvError, channel},
    thread,
};

use anyhow::{Context as _, Result};
use dockernet_common::{
    conntrack::{RawTuple, info, status},
    nat::NatRecord,
};

use crate::{
    bpf::clock::monotonic_ns,
    host::{
        conntrack::{Entry, Table},
        netns::NetnsHandle,
    },
};

/// Translated flows that are remembered.
const LIMIT: usize = 1 << 18;

/// A flow that began so late before the table's end, and is in it, was seen by its first packet a moment later.
const SLACK_NS: u64 = 20_000_000;
/// A flow that has been silent for so long is most likely gone: they are not remembered for longer.
const KEPT_NS: u64 = 3600 * 1_000_000_000;

/// The table's translated flows, whether those are all, and when it had been read.
type Read = (Vec<Entry>, bool, u64);

/// What is known of them.
pub(super) enum Old {
    /// The table is being read. Flows that are seen meanwhile are none of them.
    Reading {
        answer: Receiver<Result<Read>>,
        seen: HashSet<RawTuple>,
    },
    /// By their tuple before NAT; those that were seen since are taken out.
    Known {
        flows: HashMap<RawTuple, Entry>,
        /// When the table had been read (`CLOCK_MONOTONIC`, ns): it may hold flows that began while it was.
        until_ns: u64,
    },
}

impl Old {
    /// Starts to read. Attach first: what begins after that is seen.
    pub(super) fn read(netns: NetnsHandle) -> Self {
        let (sender, answer) = channel();
        let reader = thread::Builder::new()
            .name("conntrack".into())
            .spawn(move || {
                let table = netns.enter_for_good().and_then(|()| {
                    let mut table = Table::open_here()?;
                    let wanted =
                        |entry: &Entry| entry.status & (status::SRC_NAT | status::DST_NAT) != 0;
                    let (entries, is_whole) = table.dump(LIMIT, wanted)?;
                    Ok((entries, is_whole, monotonic_ns()))
                });
                let _nobody_waits = sender.send(table);
            })
            .context("starting a thread");
        if let Err(error) = reader {
            log::warn!("flows older than this run are not known: {error:#}");
        }
        Self::Reading {
            answer,
            seen: HashSet::new(),
        }
    }

    /// The flows, once, when they have been read.
    pub(super) fn arrived(&mut self) -> Option<&HashMap<RawTuple, Entry>> {
        let Self::Reading { answer, seen } = self else {
            return None;
        };
        let (flows, until_ns) = match answer.try_recv() {
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => (HashMap::new(), 0),
            Ok(Err(error)) => {
                log::warn!("flows older than this run are not known: {error:#}");
                (HashMap::new(), 0)
            }
            Ok(Ok((entries, is_whole, until_ns))) => {
                log::info!(
                    "{}{} translated flows are older than this run",
                    if is_whole { "" } else { "more than " },
                    entries.len()
                );
                let unseen = entries
                    .into_iter()
                    .filter(|entry| !seen.contains(&entry.original))
                    .map(|entry| (entry.original, entry));
                (unseen.collect(), until_ns)
            }
        };
        *self = Self::Known { flows, until_ns };
        match self {
            Self::Known { flows, .. } => Some(flows),
            Self::Reading { .. } => None,
        }
    }

    /// Forgets them when their time is over.
    pub(super) fn sweep(&mut self, now_ns: u64) {
        if let Self::Known { flows, until_ns } = self
            && now_ns.saturating_sub(*until_ns) >= KEPT_NS
            && flows.capacity() > 0
        {
            *flows = HashMap::new();
        }
    }

    /// The entry of an old flow, when it is first seen.
    pub(super) fn take(&mut self, record: &NatRecord) -> Option<Entry> {
        match self {
            Self::Reading { seen, .. } => {
                // Only a first packet says that the flow is none of the old.
                if record.info == info::NEW {
                    seen.insert(record.original);
                }
                None
            }
            Self::Known { flows, until_ns } => {
                let entry = flows.remove(&record.original)?;
                let began_meanwhile =
                    record.info == info::NEW && record.ktime_ns <= *until_ns + SLACK_NS;
                // An answered flow has no further first packet: this one is its successor.
                let is_successor =
                    record.info == info::NEW && entry.status & status::SEEN_REPLY != 0;
                (!began_meanwhile && !is_successor && entry.reply == record.reply).then_some(entry)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_flows_are_remembered_for_an_hour() {
        let entry = Entry::default();
        let second = 1_000_000_000;
        let mut old = Old::Known {
            flows: HashMap::from([(entry.original, entry)]),
            until_ns: 5 * second,
        };
        let held = |old: &Old| match old {
            Old::Known { flows, .. } => flows.capacity(),
            Old::Reading { .. } => usize::MAX,
        };
        old.sweep(3604 * second);
        assert!(held(&old) > 0);
        old.sweep(3605 * second);
        assert_eq!(held(&old), 0);
        assert!(old.take(&NatRecord::default()).is_none());
    }
}
