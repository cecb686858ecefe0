//! Dropped packets: out of their ring and to the thread that finds causes; their counts, to the report.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use dockernet_common::{count::Totals, record::DropRecord};

use super::{Pipeline, SETTLE, State};
use crate::{
    bpf::{
        clock::Clock,
        tracer::{CountedKey, Tracer},
    },
    evidence::{Evidence, Names, evidence},
    inventory::Inventory,
    model::{Drop, Endpoint, EndpointKind, Fate, NetnsKey},
    report::Counted,
};

/// From one look at the counts to the next at least so many times as long as the look took: a fifth of a percent of a core.
const LOOK_SHARE: u32 = 500;
/// But never longer than this: who scrapes shall not wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
impl Pipeline {
    pub(super) fn rows(&self) -> Result<Vec<CountedKey>> {
        self.drops.as_ref().map_or(Ok(Vec::new()), Tracer::rows)
    }

    /// The drop program's totals and what it missed; nothing of either without one.
    pub(super) fn totals(&mut self) -> Result<(Totals, Option<u64>)> {
        match &mut self.drops {
            Some(tracer) => Ok((tracer.totals()?, tracer.missed())),
            None => Ok((Totals::default(), None)),
        }
    }

    /// Reads the ring, and asks for the causes of what it held and of what had waited. Returns how many samples came.
    pub(super) fn drain(&mut self, state: &mut State, last: bool) -> Result<usize> {
        let room = if last {
            usize::MAX
        } else {
            state.judging.room()
        };
        let mut records: Vec<DropRecord> = Vec::new();
        if let Some(tracer) = &mut self.drops {
            let is_empty = tracer.drain(room, |record| records.push(*record))?;
            state.behind = (!is_empty).then(|| state.behind.unwrap_or_else(Instant::now));
            // Without room it was not looked at: for a moment, that says nothing.
            if state
                .behind
                .is_some_and(|since| room > 0 || since.elapsed() >= SETTLE)
            {
                state.ring = 1.0;
            }
        }
        let records = state.merge.due(records, last);
        let count = records.len();
        state.ring = state.ring.max(Tracer::ring_share(count));
        if count > 0 {
            // A packet's hops came before its drop, but perhaps after the last look at them.
            let _hops = self.hops();
        }
        let inventory = self.inventory.borrow().clone();
        let clock = state.clock;
        let mut rescan = false;
        let mut asked = Vec::new();
        for record in records {
            let evidence = self.evidence(&record, &inventory, clock);
            if last || is_named(&evidence, &inventory) {
                asked.push(Arc::new(evidence));
                continue;
            }
            rescan = true;
            if let Some(oldest) = state.waiting.push(record) {
                asked.push(Arc::new(self.evidence(&oldest, &inventory, clock)));
            }
        }
        if rescan {
            self.rescan.notify_one();
        }
        if !state.waiting.is_empty() {
            let room = room.saturating_sub(asked.len());
            let ready = state.waiting.take(last, room, |record| {
                is_named(&self.evidence(record, &inventory, clock), &inventory)
            });
            for record in ready {
                asked.push(Arc::new(self.evidence(&record, &inventory, clock)));
            }
        }
        state.judging.ask(asked, &inventory)?;
        Ok(count)
    }

    pub(super) fn evidence(
        &self,
        record: &DropRecord,
        inventory: &Inventory,
        clock: Clock,
    ) -> Evidence {
        evidence(
            record,
            &Names {
                reasons: &self.reasons,
                symbols: &self.symbols,
                clock,
                inventory,
            },
        )
    }

    /// Past `--count` lines nothing more is written but what only completes the sum (`rest`).
    pub(super) fn show(
        &mut self,
        state: &mut State,
        fate: Fate,
        drop: &Drop,
        rest: bool,
    ) -> Result<()> {
        if fate != Fate::Shown || state.closed {
            return Ok(());
        }
        if let Some(left) = state.lines_left.as_mut() {
            if *left == 0 && !rest {
                state.books.withdraw(drop);
                return Ok(());
            }
            *left = left.saturating_sub(1);
        }
        state.note(self.report.dropped(drop)?);
        Ok(())
    }

    /// Looks at the counts: what was only counted finds its column, and maps that are full, or hold
    /// mostly what is over, are retired. Looking costs two calls a
    /// row, so it is left out while nothing was dropped, and done less often the longer it takes.
    pub(super) fn settle(
        &mut self,
        state: &mut State,
        retiring: &mut Option<(Instant, u32)>,
    ) -> Result<bool> {
        let (observed, due) = state.looked;
        let now = Instant::now();
        // Without what was missed: that is a file to be opened and read.
        let total = match &self.drops {
            Some(tracer) => tracer.totals()?.observed,
            None => return Ok(false),
        };
        let is_same = total == observed && retiring.is_none() && !state.books.is_waiting();
        if is_same || now < due {
            return Ok(false);
        }
        let rows = self.rows()?;
        let pause = (now.elapsed() * LOOK_SHARE).min(LONGEST_PAUSE);
        state.looked = (total, now + pause);
        let due = state.due(now);
        let remainders = state
            .books
            .settle(&rows, now, |key, since| due.is_lost(key, since));
        let any = !remainders.is_empty();
        for remainder in remainders {
            self.report
                .accounted(remainder.fate, &remainder.drop, remainder.bytes);
            self.show(state, remainder.fate, &remainder.drop, false)?;
        }
        let Some(tracer) = &mut self.drops else {
            return Ok(any);
        };
        match retiring.take() {
            None if rows.len() > tracer.many_rows() || state.books.is_stale(now) => {
                let old = rows.iter().map(|row| row.generation).max().unwrap_or(0);
                tracer.next_generation()?;
                *retiring = Some((Instant::now(), old));
            }
            // Settled above, a second after the last program could have touched it, and nobody waits for a sample of it.
            Some((since, old)) if since.elapsed() >= SETTLE && !state.books.is_waiting_in(old) => {
                tracer.clear_retired()?;
                state.books.retire(old, &rows);
            }
            other => *retiring = other,
        }
        Ok(any)
    }

    /// Tells the report what the kernel has counted so far.
    pub(super) fn counted(&mut self, state: &mut State) -> Result<()> {
        let (totals, missed) = self.totals()?;
        let ledger = state.books.interim(&totals, state.seconds(), missed);
        let inventory = self.inventory.borrow().clone();
        self.report.counted(&Counted {
            ledger: &ledger,
            totals: &totals,
            reasons: &state.books.reasons,
            names: &self.reasons,
            ring: std::mem::take(&mut state.ring),
            inventory: &inventory,
        });
        Ok(())
    }
}

/// Whether the inventory knows where it died and whose it was.
fn is_named(evidence: &Evidence, inventory: &Inventory) -> bool {
    // The dead keep their addresses for a while, but one of them may already be a new container's.
    let is_dead = |id: &str| {
        inventory
            .container_named(id)
            .is_some_and(|container| container.ended.is_some())
    };
    let nameless = |endpoint: &Endpoint| match &endpoint.container {
        Some(container) => is_dead(&container.id),
        None => endpoint.kind == EndpointKind::Unknown && endpoint.network.is_some(),
    };
    (evidence.netns == NetnsKey(0) || inventory.near(evidence.netns).is_some())
        && !nameless(&evidence.drop.source)
        && !nameless(&evidence.drop.destination)
}
