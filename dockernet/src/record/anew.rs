//! Causes judged again: a recording of another version, by this version's catalogue and what was recorded of the host.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::line::Header;
use crate::{
    cause::{self, Case, FirewallCache, Verdict},
    evidence::Evidence,
    host::{
        netns::NetnsHandle,
        state::{Asked, RecordedState},
    },
    inventory::{Inventory, Parts},
    model::{Cause, Drop, Rule},
    pipeline::Question,
};

/// Verdicts remembered, and how long each holds there.
const VERDICTS: usize = 1024;
const HOLDS: SignedDuration = SignedDuration::from_secs(1);
/// Kinds of packets that were only counted.
const KINDS: usize = 4096;
/// Bytes of evidence that are remembered for one.
const LONG: usize = 16_384;

/// What of packets that were only counted tells which samples speak for them.
type Kind = (String, Option<String>, Option<String>, u32, Option<String>);

/// What became of a drop's cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It is as it was recorded.
    Same,
    /// It is another.
    Other,
    /// It is as it was recorded, because too little is there to judge it.
    Left,
}

/// Judges.
#[derive(Default)]
pub(super) struct Anew {
    inventory: Option<(Inventory, NetnsHandle)>,
    state: RecordedState,
    firewalls: FirewallCache,
    /// Verdicts by question, until the host changes or time has passed, and since when.
    verdicts: HashMap<Question, Option<Verdict>>,
    since: Timestamp,
    /// What the latest sample of a kind became.
    became: HashMap<Kind, Option<(Cause, Option<Rule>)>>,
}

impl Anew {
    /// None if this version judged it.
    pub(super) fn of(header: &Header) -> Option<Box<Self>> {
        let is_same = header.catalogue == super::catalogue_hash()
            && header.version == env!("CARGO_PKG_VERSION");
        (!is_same).then(Box::default)
    }

    /// Who is who from now on.
    pub(super) fn inventory(&mut self, mut parts: Parts) {
        // A file of ours has them; to guess them takes long.
        parts.behind.get_or_insert_default();
        let inventory = Inventory::new(parts);
        let inum = inventory
            .netns(inventory.host_key())
            .map_or(0, |info| info.inum);
        self.inventory = NetnsHandle::recorded(inum)
            .ok()
            .map(|host| (inventory, host));
        self.verdicts.clear();
    }

    /// What the host answered, from now on.
    pub(super) fn asked(&mut self, asked: Asked) {
        if self.state.put(asked) {
            self.firewalls = FirewallCache::default();
        }
        self.verdicts.clear();
    }

    /// Gives a drop the cause that this version finds, if it finds another that is as sure at least: what it would ask and the
    /// recording does not have leaves a cause as it was found.
    pub(super) fn judge(&mut self, drop: &mut Drop) -> Judged {
        if drop.noise.is_some() {
            return Judged::Same;
        }
        let kind = kind(drop);
        let (found, unless) = match drop.sample.take() {
            Some(sample) => {
                let (verdict, is_whole) =
                    self.verdict(Evidence::recorded(drop, (&*sample).into()), drop.time);
                let found = verdict
                    // Of one that is still the cause this version may know more, where all that it asked was recorded.
                    .filter(|found| {
                        (found.cause.id != drop.cause.id || is_whole)
                            && found.cause.confidence >= drop.cause.confidence
                    })
                    .map(|found| (with_facts(found.cause, &drop.cause), found.rule));
                self.remember(kind, found.as_ref());
                let unless = if is_whole { Judged::Same } else { Judged::Left };
                (found, unless)
            }
            // Only counted.
            None => match self.became.get(&kind) {
                Some(found) => (found.clone(), Judged::Same),
                None => (None, Judged::Left),
            },
        };
        match found {
            Some((cause, rule)) => {
                let is_other = cause.id != drop.cause.id;
                (drop.cause, drop.rule) = (cause, rule);
                if is_other {
                    Judged::Other
                } else {
                    Judged::Same
                }
            }
            None => unless,
        }
    }

    /// And whether everything that was asked had an answer.
    fn verdict(&mut self, evidence: Evidence, now: Timestamp) -> (Option<Verdict>, bool) {
        let Some((inventory, host)) = self.inventory.as_ref() else {
            return (None, false);
        };
        if now.duration_since(self.since).abs() > HOLDS {
            self.verdicts.clear();
            self.since = now;
            // A ruleset that was taken from an answer is no fresher than that.
            self.firewalls = FirewallCache::default();
        }
        self.state.at(now);
        let question = Question::of(&evidence, None);
        if let Some(known) = self.verdicts.get(&question) {
            return (known.clone(), true);
        }
        let _before = self.state.missed();
        let verdict = cause::explain(&Case {
            evidence: &evidence,
            inventory,
            state: &self.state,
            firewalls: &self.firewalls,
            host,
            traced: None,
        });
        let is_whole = !self.state.missed();
        if is_whole && self.verdicts.len() < VERDICTS && verdict.as_ref().is_none_or(is_short) {
            self.verdicts.insert(question, verdict.clone());
        }
        (verdict, is_whole)
    }

    fn remember(&mut self, kind: Kind, found: Option<&(Cause, Option<Rule>)>) {
        let has_room = self.became.len() < KINDS || self.became.contains_key(&kind);
        if has_room && found.is_none_or(|(cause, _)| length(cause) < LONG) {
            self.became.insert(kind, found.cloned());
        }
    }
}

/// When it began is a fact of the run: causes do not know of it.
fn with_facts(mut cause: Cause, recorded: &Cause) -> Cause {
    let began = |fact: &&String| fact.starts_with("began ");
    if cause.id == recorded.id {
        cause
            .evidence
            .extend(recorded.evidence.iter().filter(began).cloned());
    }
    cause
}

fn is_short(verdict: &Verdict) -> bool {
    length(&verdict.cause) < LONG
}

fn length(cause: &Cause) -> usize {
    cause.summary.len() + cause.evidence.iter().map(String::len).sum::<usize>()
}

fn kind(drop: &Drop) -> Kind {
    (
        drop.cause.id.to_string(),
        drop.reason.clone(),
        drop.location.clone(),
        drop.netns.inum,
        drop.destination
            .container
            .as_ref()
            .map(|container| container.id.clone()),
    )
}
