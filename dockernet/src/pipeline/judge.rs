//! Why a drop happened, as far as the host tells: runs on the thread that may wait for the host.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    remembered::{Question, Remembered},
    scope,
};
use crate::{
    cause::{self, Case, FirewallCache, noise},
    cli::{
        Filter,
        options::{Options, Scope},
    },
    evidence::Evidence,
    host::{
        changes::Changes,
        netns::NetnsHandle,
        state::{Asked, HostState, LiveState, Notebook, NotedState, RecordedState},
    },
    inventory::Inventory,
    model::{Drop, Fate},
    trace_rules::RuleTracer,
};

/// What is asked of every drop before its cause is.
#[derive(Clone)]
pub(super) struct Sieve {
    scope: Scope,
    /// Noise too.
    all: bool,
    /// The filter without causes: what it refuses need not be explained.
    coarse: Filter,
}

/// What a drop was found to be.
pub(super) struct Opinion {
    /// As it was asked about.
    pub(super) evidence: Arc<Evidence>,
    /// Its line.
    pub(super) drop: Drop,
    /// Its column, if that does not hang on the cause.
    pub(super) fate: Option<Fate>,
    /// The catalogue has a cause for it.
    pub(super) is_found: bool,
    /// What the host was asked for it, where somebody keeps that.
    pub(super) notes: Vec<Asked>,
}

impl Sieve {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            scope: options.scope,
            all: options.all,
            coarse: Filter {
                causes: Vec::new(),
                ..options.filter.clone()
            },
        }
    }

    /// Decides by names and addresses alone, and notes how far the drop reaches.
    fn fate(&self, drop: &mut Drop, evidence: &Evidence, inventory: &Inventory) -> Option<Fate> {
        let bridge_of = |name: &str| inventory.network(name)?.bridge.clone();
        if !self.coarse.admits(drop, &bridge_of) {
            return Some(Fate::Filtered);
        }
        drop.reach = scope::reach(evidence, inventory);
        (!scope::includes(self.scope, drop.reach)).then_some(Fate::OutOfScope)
    }

    /// What is left to say where the host did not answer.
    pub(super) fn unanswered(
        &self,
        evidence: Arc<Evidence>,
        inventory: &Inventory,
        host: &NetnsHandle,
    ) -> Opinion {
        let mut drop = evidence.drop.clone();
        let mut fate = self.fate(&mut drop, &evidence, inventory);
        if fate.is_none() {
            let case = Case {
                evidence: &evidence,
                inventory,
                // It has no answer to anything.
                state: &RecordedState::default(),
                firewalls: &FirewallCache::default(),
                host,
                traced: None,
            };
            drop.noise = noise::certain(&case).map(Into::into);
            fate = self.benign(&drop);
        }
        let why = "the host was still being asked for its state when the run ended";
        drop.cause.evidence.push(why.to_owned());
        Opinion {
            evidence,
            drop,
            fate,
            is_found: false,
            notes: Vec::new(),
        }
    }

    fn benign(&self, drop: &Drop) -> Option<Fate> {
        (drop.noise.is_some() && !self.all).then_some(Fate::Benign)
    }
}

/// Finds causes, and remembers verdicts for a second: a storm asks the same question again and again.
pub(super) struct Judge {
    host: NetnsHandle,
    state: Box<dyn HostState>,
    /// What the state is asked, where somebody keeps that.
    notebook: Option<Notebook>,
    changes: Changes,
    firewalls: FirewallCache,
    sieve: Sieve,
    /// Flows looked up in the running second, and when that began.
    lookups: (Instant, u32),
    remembered: Remembered,
    trace: Option<RuleTracer>,
}

/// Between two looks at what need not be remembered any longer: verdicts, and rulesets alone.
const SOON: Duration = Duration::from_millis(500);
const LATER: Duration = Duration::from_secs(30);
/// Flows looked up in a second at most: each is a question to the kernel.
const LOOKUPS: u32 = 100;

impl Judge {
    pub(super) fn new(
        host: NetnsHandle,
        noting: bool,
        changes: Changes,
        sieve: Sieve,
        trace: Option<RuleTracer>,
    ) -> Self {
        let notebook = noting.then(Notebook::default);
        let state: Box<dyn HostState> = match notebook.clone() {
            Some(notebook) => Box::new(NotedState::new(LiveState, notebook)),
            None => Box::new(LiveState),
        };
        Self {
            firewalls: FirewallCache::following(changes.clone(), &host),
            host,
            state,
            notebook,
            changes,
            sieve,
            lookups: (Instant::now(), 0),
            remembered: Remembered::default(),
            trace,
        }
    }

    /// Does what is to be done from time to time, drops or not. When that is next, if nothing else happens.
    pub(super) fn tick(&mut self, now: Instant) -> Option<Duration> {
        self.remembered.sweep(now);
        self.firewalls.sweep(now);
        if let Some(trace) = &mut self.trace {
            trace.tick();
        }
        if self.trace.is_some() || !self.remembered.is_empty() {
            return Some(SOON);
        }
        (!self.firewalls.is_empty()).then_some(LATER)
    }

    /// Decides one drop and completes its line.
    pub(super) fn judge(&mut self, asked: Arc<Evidence>, inventory: &Inventory) -> Opinion {
        let adopted = self.adopt(&asked, inventory);
        let evidence = adopted.as_ref().unwrap_or(&asked);
        let mut drop = evidence.drop.clone();
        let mut fate = self.sieve.fate(&mut drop, evidence, inventory);
        let is_found = fate.is_none() && self.explain(&mut drop, evidence, inventory);
        fate = fate.or_else(|| self.sieve.benign(&drop));
        Opinion {
            evidence: asked,
            drop,
            fate,
            is_found,
            notes: self
                .notebook
                .as_ref()
                .map(Notebook::take)
                .unwrap_or_default(),
        }
    }

    /// Notes a drop's cause, or why it is noise. Whether there is a cause.
    fn explain(&mut self, drop: &mut Drop, evidence: &Evidence, inventory: &Inventory) -> bool {
        let traced = self.trace.as_mut().and_then(|trace| trace.known(evidence));
        let case = Case {
            evidence,
            inventory,
            state: self.state.as_ref(),
            firewalls: &self.firewalls,
            host: &self.host,
            traced: traced.as_ref(),
        };
        drop.noise = noise::certain(&case).map(Into::into);
        if drop.noise.is_some() {
            return false;
        }
        let question = Question::of(evidence, traced.as_ref());
        let now = Instant::now();
        // Of now: what changes while the host is asked may not be in its answers.
        let heard = self.changes.heard();
        let verdict = match self.remembered.verdict(&question, heard, now) {
            Some(verdict) => verdict.clone(),
            None => {
                let verdict = cause::explain(&case);
                let times = (now, Instant::now());
                self.remembered.put(question, verdict.clone(), heard, times);
                verdict
            }
        };
        if let Some(trace) = &mut self.trace {
            let rule = verdict.as_ref().and_then(|verdict| verdict.rule.as_ref());
            trace.want(evidence, rule);
        }
        let Some(verdict) = verdict else {
            drop.noise = noise::leftover(&case).map(Into::into);
            return false;
        };
        drop.cause = verdict.cause;
        drop.rule = verdict.rule;
        true
    }

    /// Names the ends of a packet that belongs to a translated flow by its addresses, though conntrack did not take it.
    fn adopt(&mut self, evidence: &Evidence, inventory: &Inventory) -> Option<Evidence> {
        if !cause::may_be_adopted(evidence) {
            return None;
        }
        let (began, count) = &mut self.lookups;
        if began.elapsed() >= Duration::from_secs(1) {
            (*began, *count) = (Instant::now(), 0);
        }
        *count += 1;
        (*count <= LOOKUPS)
            .then(|| cause::adopt(evidence, inventory, self.state.as_ref(), &self.host))
            .flatten()
    }
}
