//! Flows whose first packet was seen, and whose answer may come.

use std::collections::HashMap;

use dockernet_common::{conntrack::RawTuple, nat::NatRecord};

/// How many are remembered; those that were never answered fill it.
const CROWD: usize = 1 << 17;
/// How long an answer is awaited: as long as conntrack keeps an entry without one (10 minutes of a protocol that it does not
/// know, 2 minutes of a SYN, half a minute of UDP).
const AWAITED_NS: u64 = 600 * 1_000_000_000;
/// Between two rounds of forgetting.
const SWEEP_NS: u64 = 60 * 1_000_000_000;

/// A flow's first packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened {
    original: RawTuple,
    reply: RawTuple,
    /// When it was seen.
    seen_ns: u64,
    /// When it left; none for a flow that is older than this run.
    pub since_ns: Option<u64>,
    pub masquerade: Option<bool>,
}

/// By the conntrack entry's address. Entries are reused, so the tuples must agree: a time that belongs to another flow is
/// worse than none.
#[derive(Debug, Default)]
pub(super) struct Open {
    flows: HashMap<u64, Opened>,
    /// When it was swept last.
    swept_ns: u64,
}

impl Open {
    /// Remembers a flow's first packet. False if it is remembered already.
    pub(super) fn add(
        &mut self,
        record: &NatRecord,
        masquerade: Option<bool>,
        is_old: bool,
    ) -> bool {
        if self.contains(record.conntrack, &record.original, &record.reply) {
            return false;
        }
        if self.flows.len() >= CROWD {
            self.flows.clear();
        }
        let opened = Opened {
            original: record.original,
            reply: record.reply,
            seen_ns: record.ktime_ns,
            since_ns: (!is_old).then_some(record.ktime_ns),
            masquerade,
        };
        self.flows.insert(record.conntrack, opened);
        true
    }

    /// Forgets, once a minute, flows that will not be answered any more.
    pub(super) fn sweep(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.swept_ns) < SWEEP_NS {
            return;
        }
        self.swept_ns = now_ns;
        self.flows
            .retain(|_, opened| now_ns.saturating_sub(opened.seen_ns) < AWAITED_NS);
        // What a flood of them took is given back.
        self.flows.shrink_to(self.flows.len() * 2);
    }

    /// Whether this flow's answer is still awaited.
    pub(super) fn contains(&self, entry: u64, original: &RawTuple, reply: &RawTuple) -> bool {
        self.flows
            .get(&entry)
            .is_some_and(|opened| opened.original == *original && opened.reply == *reply)
    }

    /// Takes the first packet of a flow that has been answered.
    pub(super) fn take(&mut self, record: &NatRecord) -> Option<Opened> {
        if !self.contains(record.conntrack, &record.original, &record.reply) {
            return None;
        }
        self.flows.remove(&record.conntrack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_entry_has_no_time_from_its_predecessor() {
        let mut open = Open::default();
        let first = NatRecord {
            conntrack: 0xffff_8881_0000_1100,
            ktime_ns: 1000,
            original: RawTuple {
                src_port: [0, 1],
                ..RawTuple::default()
            },
            ..NatRecord::default()
        };
        assert!(open.add(&first, Some(true), false));
        assert!(!open.add(&first, Some(true), false), "told already");
        let mut second = first;
        second.original.src_port = [0, 2];
        assert!(open.take(&second).is_none(), "another flow");
        assert!(
            open.take(&first)
                .is_some_and(|opened| opened.since_ns == Some(1000))
        );
        assert!(open.take(&first).is_none(), "answered once");
    }

    #[test]
    fn flows_that_nobody_answers_are_forgotten() {
        let mut open = Open::default();
        let second = 1_000_000_000;
        // Ten in each second, for two hours.
        for number in 0..72_000_u64 {
            let now = number * second / 10;
            let record = NatRecord {
                conntrack: number,
                ktime_ns: now,
                ..NatRecord::default()
            };
            assert!(open.add(&record, None, false));
            open.sweep(now);
            assert!(open.flows.len() <= 10 * 660, "{}", open.flows.len());
        }
        open.sweep(9_000 * second);
        assert_eq!((open.flows.len(), open.flows.capacity()), (0, 0));
    }
}
