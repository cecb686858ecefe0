//! Every counted packet finds its column, exactly once.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use dockernet_common::count::{CountKey, Totals};

use crate::{
    bpf::tracer::CountedKey,
    model::{Drop, Endpoint, Fate, Ledger},
};

/// How long a sample speaks for its key, and how long a pause is in which a fault may have been mended: it does not name those of
/// next week.
const SPEAKS: Duration = Duration::from_secs(60);
/// How long a key may wait for its first sample before its packets are lost, unless the sample is known to be on its way.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Fewer keys than this may stay for good.
const MANY: usize = 256;
/// A key without new packets for so long is quiet.
const QUIET: Duration = Duration::from_secs(60);

/// What is known about a key from those of its packets that came up in detail.
struct Exemplar {
    fate: Fate,
    drop: Box<Drop>,
    /// What its samples were lately, each with the time of the last.
    verdicts: Vec<(Cow<'static, str>, Fate, Instant)>,
}

/// Packets of one key that were only counted.
pub(super) struct Remainder {
    /// What they stand as.
    pub drop: Drop,
    /// Their column.
    pub fate: Fate,
    /// Their bytes: the key's mean for each.
    pub bytes: u64,
}

/// What of a row has been entered.
#[derive(Default)]
struct Seen {
    /// Packets, sampled or not, entered by reason.
    packets: u64,
    /// Unsampled packets that have found their column.
    unsampled: u64,
    /// Samples that there were when the last of these was entered.
    sampled: u64,
    /// Since when a sample is waited for.
    waiting: Option<Instant>,
    /// When its packets became more.
    moved: Option<Instant>,
    /// There was a pause, and no sample since: what drops now may be another fault.
    has_lapsed: bool,
}

impl Seen {
    /// Takes note of the row's packets. `is_fresh`: a sample of its key came lately.
    fn note(&mut self, packets: u64, is_fresh: bool, now: Instant) {
        if packets > self.packets || self.moved.is_none() {
            let moved = self.moved.replace(now);
            self.has_lapsed |=
                moved.is_some_and(|moved| now.saturating_duration_since(moved) >= SPEAKS);
            self.packets = packets;
        }
        self.has_lapsed &= !is_fresh;
    }
}

/// A drop without its bytes: they are its own, not those of others of its kind.
fn bare(drop: &Drop) -> Drop {
    Drop {
        capture: None,
        sample: None,
        ..drop.clone()
    }
}

/// Whether two ends are the same: a container may have got another name.
fn is_same(one: &Endpoint, other: &Endpoint) -> bool {
    let id = |end: &Endpoint| end.container.as_ref().map(|container| container.id.clone());
    one.kind == other.kind && one.network == other.network && id(one) == id(other)
}

/// The books.
#[derive(Default)]
pub(super) struct Books {
    exemplars: HashMap<CountKey, Exemplar>,
    settled: HashMap<(u32, CountKey), Seen>,
    ledger: Ledger,
    /// Shown, and no noise: what `--expect-no-drops` asks about.
    pub found: u64,
    /// Packets of the count maps by the kernel's number of the reason.
    pub reasons: BTreeMap<u32, u64>,
}

impl Books {
    /// Enters one sampled drop.
    pub(super) fn sample(&mut self, key: CountKey, fate: Fate, drop: &Drop, now: Instant) {
        self.enter(fate, drop, 1);
        let verdict = || (drop.cause.id.clone(), fate, now);
        let exemplar = || Exemplar {
            fate,
            drop: Box::new(bare(drop)),
            verdicts: vec![verdict()],
        };
        match self.exemplars.get_mut(&key) {
            None => {
                self.exemplars.insert(key, exemplar());
            }
            Some(known) => known.add(verdict(), drop, exemplar),
        }
    }

    /// Enters what was counted since the last look and did not come up in detail. `is_lost`: whether no sample will come of a key
    /// any more that has been waited for since then.
    pub(super) fn settle(
        &mut self,
        rows: &[CountedKey],
        now: Instant,
        is_lost: impl Fn(&CountKey, Instant) -> bool,
    ) -> Vec<Remainder> {
        let mut remainders = Vec::new();
        for row in rows {
            let seen = self.settled.entry((row.generation, row.key)).or_default();
            let packets = row.count.packets;
            *self.reasons.entry(row.key.reason).or_default() +=
                packets.saturating_sub(seen.packets);
            let exemplar = self.exemplars.get(&row.key);
            let is_fresh = exemplar.is_some_and(|exemplar| !exemplar.is_old(now));
            seen.note(packets, is_fresh, now);
            let unsampled = packets.saturating_sub(row.count.sampled);
            let new = unsampled.saturating_sub(seen.unsampled);
            if new == 0 {
                seen.sampled = row.count.sampled;
                continue;
            }
            // What was mended ten minutes ago is not what drops again; a key of which no more samples are taken has no other.
            let speaks = is_fresh || row.count.sampled <= seen.sampled;
            let Some(exemplar) = exemplar.filter(|_| speaks) else {
                let since = *seen.waiting.get_or_insert(now);
                if is_lost(&row.key, since) {
                    seen.unsampled += new;
                    seen.waiting = None;
                    self.ledger.lost += new;
                }
                continue;
            };
            seen.unsampled += new;
            seen.sampled = row.count.sampled;
            seen.waiting = None;
            let mut drop = exemplar.speak(seen.has_lapsed);
            drop.time = jiff::Timestamp::now();
            drop.count = new;
            let bytes = u128::from(row.count.bytes) * u128::from(new) / u128::from(packets.max(1));
            remainders.push(Remainder {
                drop,
                fate: exemplar.fate,
                bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
            });
        }
        for remainder in &remainders {
            self.enter(remainder.fate, &remainder.drop, remainder.drop.count);
        }
        remainders
    }

    /// What the samples of a key were, if they agree.
    pub(super) fn agreed(&self, key: &CountKey) -> Option<(Fate, &Drop)> {
        let known = self.exemplars.get(key)?;
        (known.verdicts.len() == 1).then_some((known.fate, known.drop.as_ref()))
    }

    /// Whether packets wait for a sample of their key: another look at the counts may be needed without new drops.
    pub(super) fn is_waiting(&self) -> bool {
        self.settled.values().any(|seen| seen.waiting.is_some())
    }

    /// Whether many keys are kept and most of them belong to what is over: containers that are gone, faults that were
    /// mended. Keys never leave a map that counts, so that only another map forgets them.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        let is_quiet = |seen: &&Seen| {
            seen.moved
                .is_none_or(|moved| now.saturating_duration_since(moved) >= QUIET)
        };
        self.settled.len() >= MANY
            && self.settled.values().filter(is_quiet).count() >= self.settled.len().div_ceil(2)
    }

    /// Whether packets of a generation wait for a sample of their key: it must not be forgotten yet.
    pub(super) fn is_waiting_in(&self, generation: u32) -> bool {
        self.settled
            .iter()
            .any(|((of, _), seen)| *of == generation && seen.waiting.is_some())
    }

    fn enter(&mut self, fate: Fate, drop: &Drop, count: u64) {
        if fate == Fate::Shown && drop.noise.is_none() {
            self.found += count;
        }
        *self.ledger.column(fate) += count;
    }

    /// Takes a shown drop back: `--count` was reached before its line was written.
    pub(super) fn withdraw(&mut self, drop: &Drop) {
        self.ledger.shown -= drop.count;
        self.ledger.filtered += drop.count;
    }

    /// Forgets a generation whose map has been read for the last time (`rows`), and exemplars that the new one does not
    /// have. What of it never came up in detail is lost.
    pub(super) fn retire(&mut self, generation: u32, rows: &[CountedKey]) {
        for row in rows.iter().filter(|row| row.generation == generation) {
            let unsampled = row.count.packets.saturating_sub(row.count.sampled);
            let entered = self
                .settled
                .get(&(generation, row.key))
                .map_or(0, |seen| seen.unsampled);
            self.ledger.lost += unsampled.saturating_sub(entered);
        }
        self.settled.retain(|(of, _), _| *of != generation);
        let kept: HashSet<&CountKey> = self.settled.keys().map(|(_, key)| key).collect();
        self.exemplars.retain(|key, _| kept.contains(key));
        self.settled.shrink_to_fit();
        self.exemplars.shrink_to_fit();
    }

    /// The ledger now. While the tracer runs, packets whose detail is still on its way are not in it at all.
    pub(super) fn interim(&self, totals: &Totals, seconds: f64, missed: Option<u64>) -> Ledger {
        let mut ledger = self.ledger.clone();
        ledger.seconds = seconds;
        ledger.missed = missed;
        ledger.filtered += totals.filtered;
        ledger.out_of_scope += totals.out_of_scope;
        ledger.lost += totals.other;
        ledger.observed = ledger.shown
            + ledger.filtered
            + ledger.out_of_scope
            + ledger.benign
            + ledger.expected
            + ledger.lost;
        ledger
    }

    /// The last ledger. What the kernel counted in total and the columns must be one number.
    pub(super) fn last(&self, totals: &Totals, seconds: f64, missed: Option<u64>) -> Ledger {
        let mut ledger = self.interim(totals, seconds, missed);
        ledger.is_final = true;
        if ledger.observed != totals.observed {
            log::error!(
                "the kernel half counted {} drops and user space accounts for {}",
                totals.observed,
                ledger.observed
            );
            ledger.lost += totals.observed.saturating_sub(ledger.observed);
            ledger.observed = totals.observed.max(ledger.observed);
        }
        ledger
    }
}

impl Exemplar {
    /// Another sample of the key.
    fn add(
        &mut self,
        verdict: (Cow<'static, str>, Fate, Instant),
        drop: &Drop,
        anew: impl FnOnce() -> Self,
    ) {
        let (id, fate, now) = verdict;
        let had_others = self.verdicts.iter().any(|(known, ..)| *known != id);
        self.verdicts
            .retain(|(known, _, at)| *known != id && now - *at < SPEAKS);
        if had_others && self.verdicts.is_empty() {
            // What it was before has not been seen for a while.
            *self = anew();
            return;
        }
        // What may be shown is not hidden by a neighbour that is not; one cause may come to be ignored.
        if fate == Fate::Shown || self.verdicts.is_empty() {
            self.fate = fate;
        }
        self.verdicts.push((id, fate, now));
        // The newest speaks for them: with the rule that is there now, and the names. Nor is it noise, or out of reach, if one of them is
        // not.
        let known = std::mem::replace(&mut self.drop, Box::new(bare(drop)));
        self.drop.reach = known.reach.min(drop.reach);
        if known.noise.is_none() {
            self.drop.noise = None;
        }
        if !is_same(&known.destination, &drop.destination) {
            self.drop.destination.container = None;
        }
        if !is_same(&known.source, &drop.source) {
            self.drop.source.container = None;
        }
    }

    /// Whether nothing was heard of it for so long that a sample which is on its way is to be waited for.
    fn is_old(&self, now: Instant) -> bool {
        let mut verdicts = self.verdicts.iter();
        verdicts.all(|(.., at)| now.saturating_duration_since(*at) >= SPEAKS)
    }

    /// What its samples say of a packet that was only counted. `has_lapsed`: after a pause, and none came since. What was hidden, or
    /// noise, is so after a pause too.
    fn speak(&self, has_lapsed: bool) -> Drop {
        let mut drop = (*self.drop).clone();
        let doubt = if has_lapsed && self.fate == Fate::Shown && drop.noise.is_none() {
            "what was looked at of its kind before a pause was"
        } else if self.verdicts.len() > 1 {
            "samples of the same kind were"
        } else {
            return drop;
        };
        drop.cause = crate::evidence::unexplained(drop.reason.as_deref(), drop.location.as_deref());
        let evidence = format!("counted only; {doubt}: {}", self.ids());
        drop.cause.evidence.push(evidence);
        drop.rule = None;
        drop
    }

    fn ids(&self) -> String {
        let mut ids: Vec<&str> = self.verdicts.iter().map(|(id, ..)| id.as_ref()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.join(", ")
    }
}

#[cfg(test)]
mod tests;
