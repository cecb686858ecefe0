//! Followed flows between their ring and the report.

use std::time::Duration;

use anyhow::Result;
use dockernet_common::hop::HopRecord;

use crate::{
    bpf::{
        clock::{Clock, monotonic_ns},
        hops::HopTracer,
    },
    cli::Exit,
    inventory::Inventory,
    model::{FlowSum, FlowVerdict, PathEvent},
    path::{Follower, prober::Prober},
};

/// The view of one flow, or of those to one end.
pub struct Paths {
    /// The attached programs.
    pub tracer: HopTracer,
    /// Who puts hops together.
    pub follower: Follower,
    /// Who sends, if anybody.
    pub prober: Option<Prober>,
}

impl Paths {
    /// Its ends may be other addresses by now.
    pub(super) fn follow(&mut self, inventory: &Inventory) -> Result<()> {
        let wanted = self.follower.look_up(inventory);
        self.tracer.follow(wanted)
    }

    /// Reads the ring. Returns how many hops came.
    pub(super) fn drain(&mut self, inventory: &Inventory) -> usize {
        let mut records: Vec<HopRecord> = Vec::new();
        self.tracer.drain(|record| records.push(*record));
        // Each CPU writes in its own order.
        records.sort_by_key(|record| record.ktime_ns);
        for record in &records {
            self.follower.seen(record, inventory);
        }
        records.len()
    }

    /// What can be told by now, of packets that were last seen at least `held` ago. `None`: a probe was asked for, and it is over.
    pub(super) fn due(
        &mut self,
        inventory: &Inventory,
        held: Duration,
    ) -> Result<Option<Vec<PathEvent>>> {
        let held = u64::try_from(held.as_nanos()).unwrap_or(u64::MAX);
        let now = monotonic_ns().saturating_sub(held);
        let mut events = self.follower.due(now, Clock::now(), inventory);
        let busy = self.follower.is_busy();
        let Some(prober) = &mut self.prober else {
            return Ok(Some(events));
        };
        if prober.is_watch() {
            prober.hold(std::mem::take(&mut events));
        }
        let Some(told) = prober.step(inventory, busy)? else {
            return Ok(None);
        };
        events.extend(told);
        Ok(Some(events))
    }

    /// What is still open, what the flows came to, and what was not seen.
    pub(super) fn finish(
        &mut self,
        inventory: &Inventory,
    ) -> Result<(Vec<PathEvent>, Vec<FlowSum>, Option<String>)> {
        self.tracer.detach();
        self.drain(inventory);
        let (mut events, sums) = self.follower.finish(Clock::now(), inventory);
        if self.prober.as_ref().is_some_and(Prober::is_watch) {
            events.clear();
        }
        let totals = self.tracer.totals()?;
        let mut lost = Vec::new();
        if totals.ring_full > 0 {
            lost.push(format!(
                "{} of {} hops found no room in the ring: journeys have gaps",
                totals.ring_full, totals.seen
            ));
        }
        if totals.unlearned > 0 {
            lost.push(format!(
                "{} translated ends found no room: first hops of answers may be missing",
                totals.unlearned
            ));
        }
        if self.follower.forgotten() > 0 {
            lost.push(format!(
                "{} flows were forgotten, there were too many at once: narrow it with --from and --to",
                self.follower.forgotten()
            ));
        }
        Ok((events, sums, (!lost.is_empty()).then(|| lost.join("; "))))
    }

    /// How it ended, for scripts.
    pub(super) fn exit(&self, sums: &[FlowSum]) -> Exit {
        let answered = self.prober.as_ref().and_then(|prober| prober.answered);
        if answered == Some(true) {
            return Exit::Done;
        }
        if sums.is_empty() {
            return Exit::NoPacket;
        }
        let is_answered = |sum: &FlowSum| sum.verdict == FlowVerdict::Answered;
        // Beside flows that were answered, one that began a moment ago is no failure.
        let failed = |sum: &FlowSum| !is_answered(sum) && !sum.is_open;
        if answered == Some(false) || sums.iter().any(failed) || !sums.iter().any(is_answered) {
            return Exit::Found;
        }
        Exit::Done
    }
}
