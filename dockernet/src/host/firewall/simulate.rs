//! A packet's walk through the chains of a hook.

mod hook;
mod nearest;
mod order;
mod view;
mod walk;

use super::{
    attribute::Site,
    model::{Backend, Base, Chain, ChainKind, Family, Firewall, Hook, Rule, Table},
    packet::{CtState, Env, FlowPacket},
    target::{NatTarget, Target},
};
pub(super) use hook::candidates;
pub use nearest::{Near, Unaccepted, unaccepted};
pub(super) use view::before_conntrack;

/// A rule on the way to the one that decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Chain.
    pub chain: String,
    /// The rule's place in it, from 1.
    pub number: usize,
}

/// A rule or policy that drops the packet, or keeps it out of conntrack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Backend.
    pub backend: Backend,
    /// `iptables` alone may mean the other backend.
    pub is_ambiguous: bool,
    /// Table's family.
    pub family: Family,
    /// Table's name.
    pub table: String,
    /// Chain that holds the rule or policy.
    pub chain: String,
    /// Hook.
    pub hook: Hook,
    /// The base chain's priority.
    pub priority: i32,
    /// The rule; none for a policy.
    pub rule: Option<Box<Rule>>,
    /// The policy's counter, for a policy.
    pub policy_counter: Option<super::Counter>,
    /// Whether the sender is told.
    pub reject: bool,
    /// Jumps from the base chain to here.
    pub path: Vec<Step>,
    /// Whether it certainly does.
    pub certain: bool,
    /// Rules on the way whose conditions cannot be told, and must hold for it.
    pub doubts: Vec<String>,
}

impl Dropped {
    /// A rule in its place, however a packet comes to it.
    pub(super) fn at(backend: Backend, table: &Table, chain: &Chain, rule: &Rule) -> Self {
        Self {
            backend,
            is_ambiguous: false,
            family: table.family,
            table: table.name.clone(),
            chain: chain.name.clone(),
            hook: Hook::Prerouting,
            priority: 0,
            rule: Some(Box::new(rule.clone())),
            policy_counter: None,
            reject: false,
            path: Vec::new(),
            certain: true,
            doubts: Vec::new(),
        }
    }

    /// The rule as its program lists it; of a policy the chain.
    #[must_use]
    pub fn text(&self) -> &str {
        self.rule.as_ref().map_or(&self.chain, |rule| &rule.text)
    }
}

/// What becomes of a packet at a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every chain lets it pass.
    Accepted,
    /// One rule or policy certainly drops it.
    Dropped(Box<Dropped>),
    /// It depends on what is not known.
    CannotTell {
        /// First rule whose effect cannot be told.
        at: String,
        /// What may drop it.
        candidates: Vec<Dropped>,
    },
}

/// What address translation a hook makes of the first packet of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Translation {
    /// None.
    Nothing,
    /// This one, by this rule.
    To(NatTarget, String),
    /// None, and no later hook makes any: a rule keeps the packet out of conntrack (`notrack`).
    Untracked {
        /// That rule.
        rule: Box<Dropped>,
        /// Whether another would have translated it here.
        instead: bool,
    },
    /// It depends on a rule that cannot be told.
    CannotTell(String),
}

/// The first translation that `packet`, the first of its flow, meets on `hook`, if nothing drops it there.
#[must_use]
pub fn translate(
    firewall: &Firewall,
    packet: &FlowPacket,
    hook: Hook,
    env: &dyn Env,
) -> Translation {
    let walked = candidates(firewall, packet, &Site::new(hook), env);
    if walked.gave_up {
        return Translation::CannotTell("the rules are too many, or make no sense".to_owned());
    }
    let mut untracked = walked.untracked;
    if let Some(sure) = untracked.iter().position(|rule| rule.certain) {
        return Translation::Untracked {
            rule: Box::new(untracked.swap_remove(sure)),
            instead: !walked.nat.is_empty(),
        };
    }
    if let Some(rule) = untracked.first() {
        return Translation::CannotTell(rule.text().to_owned());
    }
    match walked.nat.into_iter().next() {
        None => Translation::Nothing,
        Some((target, true, rule)) => Translation::To(target, rule),
        Some((_, false, rule)) => Translation::CannotTell(rule),
    }
}

/// Walks `packet` through all IP chains on `hook`.
///
/// Tuples and flow status matter where chains run before NAT: give `ct_status: (0x30, 0)` for a packet that is known to have none.
#[must_use]
pub fn simulate(firewall: &Firewall, packet: &FlowPacket, hook: Hook, env: &dyn Env) -> Outcome {
    simulate_at(firewall, packet, &Site::new(hook), env)
}

/// What a packet and its connection are marked with behind the chains of a site, as far as it is known.
#[must_use]
pub fn marks_behind(
    firewall: &Firewall,
    packet: &FlowPacket,
    site: &Site,
    env: &dyn Env,
) -> (Option<u32>, Option<u32>) {
    candidates(firewall, packet, site, env).marks
}

/// [`simulate`] for the chains of a site: the bridge's, say.
#[must_use]
pub fn simulate_at(
    firewall: &Firewall,
    packet: &FlowPacket,
    site: &Site,
    env: &dyn Env,
) -> Outcome {
    let walked = candidates(firewall, packet, site, env);
    match (walked.drops.as_slice(), walked.survives) {
        ([], true) if !walked.gave_up => Outcome::Accepted,
        ([only], false) if only.certain && !walked.gave_up => {
            Outcome::Dropped(Box::new(only.clone()))
        }
        _ => Outcome::CannotTell {
            at: walked
                .first_doubt
                .unwrap_or_else(|| "several tables of the same priority".to_owned()),
            candidates: walked.drops,
        },
    }
}
