//! Causes judged again: a recording of another version, by this version's catalogue and what was recorded of the host.

use std::collections::HashMap;

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

/// Verdicts remembered, and changes of cause.
const MOST: usize = 16_384;

/// What of packets that were only counted tells which samples speak for them.
type Kind = (String, Option<String>, Option<String>, u32, Option<String>);

/// Judges.
#[derive(Default)]
pub(super) struct Anew {
    inventory: Option<(Inventory, NetnsHandle)>,
    state: RecordedState,
    firewalls: FirewallCache,
    /// Verdicts by question, until the host changes.
    verdicts: HashMap<Question, Option<Verdict>>,
    /// What samples of a kind became; none where they disagree.
    became: HashMap<Kind, Option<(Cause, Option<Rule>)>>,
    /// Packets that have another cause now.
    pub(super) changed: u64,
    /// Packets of which too little was recorded.
    pub(super) left: u64,
}

impl Anew {
    /// None if this version judged it.
    pub(super) fn of(header: &Header) -> Option<Box<Self>> {
        let is_same = header.catalogue == super::catalogue_hash()
            && header.version == env!("CARGO_PKG_VERSION");
        (!is_same).then(Box::default)
    }

    /// Who is who from now on.
    pub(super) fn inventory(&mut self, parts: Parts) {
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
    pub(super) fn judge(&mut self, drop: &mut Drop) {
        if drop.noise.is_some() {
            return;
        }
        let kind = kind(drop);
        let found = match drop.sample.take() {
            Some(sample) => {
                let found = self.verdict(Evidence::recorded(drop, (&*sample).into()));
                let found = found
                    .filter(|found| {
                        found.cause.id != drop.cause.id
                            && found.cause.confidence >= drop.cause.confidence
                    })
                    .map(|found| (found.cause, found.rule));
                self.remember(kind, found.clone());
                found
            }
            // Only counted.
            None => match self.became.get(&kind) {
                Some(found) => found.clone(),
                None => {
                    self.left = self.left.saturating_add(drop.count);
                    None
                }
            },
        };
        if let Some((cause, rule)) = found {
            self.changed = self.changed.saturating_add(drop.count);
            (drop.cause, drop.rule) = (cause, rule);
        }
    }

    fn verdict(&mut self, evidence: Evidence) -> Option<Verdict> {
        let (inventory, host) = self.inventory.as_ref()?;
        let question = Question::of(&evidence, None);
        if let Some(known) = self.verdicts.get(&question) {
            return known.clone();
        }
        let verdict = cause::explain(&Case {
            evidence: &evidence,
            inventory,
            state: &self.state,
            firewalls: &self.firewalls,
            host,
            traced: None,
        });
        if self.verdicts.len() < MOST {
            self.verdicts.insert(question, verdict.clone());
        }
        verdict
    }

    fn remember(&mut self, kind: Kind, found: Option<(Cause, Option<Rule>)>) {
        let id = |found: &Option<(Cause, Option<Rule>)>| {
            found.as_ref().map(|(cause, _)| cause.id.clone())
        };
        let has_room = self.became.len() < MOST;
        match self.became.get_mut(&kind) {
            Some(known) if id(known) != id(&found) => *known = None,
            None if has_room => {
                self.became.insert(kind, found);
            }
            _ => {}
        }
    }
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
