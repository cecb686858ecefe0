//! One drop's fate: shown with its cause, or counted as something that is not to be shown.

use std::time::{Duration, Instant};

use super::{
    began::Began,
    remembered::{Question, Remembered},
    scope,
};
use crate::{
    cause::{self, Case, FirewallCache, noise},
    cli::{Filter, options::Options},
    evidence::Evidence,
    findings::Finding,
    host::{changes::Changes, netns::NetnsHandle, state::HostState},
    inventory::{EngineStatus, Inventory},
    model::{Drop, Fate},
    trace_rules::RuleTracer,
};

/// Decides, and remembers verdicts for a second: a storm asks the same question again and again.
pub(super) struct Judge {
    host: NetnsHandle,
    state: Box<dyn HostState>,
    firewalls: FirewallCache,
    /// The filter without causes: what it refuses need not be explained.
    coarse: Filter,
    /// Flows looked up in the running second, and when that began.
    lookups: (Instant, u32),
    remembered: Remembered,
    began: Began,
    trace: Option<RuleTracer>,
}

/// Flows looked up in a second at most: each is a question to the kernel.
const LOOKUPS: u32 = 100;

impl Judge {
    pub(super) fn new(
        host: NetnsHandle,
        state: Box<dyn HostState>,
        options: &Options,
        changes: Changes,
        trace: Option<RuleTracer>,
    ) -> Self {
        Self {
            host,
            state,
            firewalls: FirewallCache::default(),
            coarse: Filter {
                causes: Vec::new(),
                ..options.filter.clone()
            },
            lookups: (Instant::now(), 0),
            remembered: Remembered::default(),
            began: Began::new(changes),
            trace,
        }
    }

    /// Does what is to be done from time to time, drops or not.
    pub(super) fn tick(&mut self, now: Instant) {
        self.remembered.sweep(now);
        self.firewalls.sweep(now);
        if let Some(trace) = &mut self.trace {
            trace.tick();
        }
    }

    /// Notes whether the engine answers.
    pub(super) fn engine_is(&mut self, status: &EngineStatus) {
        self.began.engine_is(status);
    }

    /// Decides one drop and completes its line.
    pub(super) fn judge(
        &mut self,
        options: &Options,
        evidence: &Evidence,
        inventory: &Inventory,
    ) -> (Fate, Drop) {
        let adopted = self.adopt(evidence, inventory);
        let evidence = adopted.as_ref().unwrap_or(evidence);
        let mut drop = evidence.drop.clone();
        let bridge_of = |name: &str| inventory.network(name)?.bridge.clone();
        if !self.coarse.admits(&drop, &bridge_of) {
            return (Fate::Filtered, drop);
        }
        drop.reach = scope::reach(evidence, inventory);
        if !scope::includes(options.scope, drop.reach) {
            return (Fate::OutOfScope, drop);
        }
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
        if drop.noise.is_none() {
            let question = Question::of(evidence, traced.as_ref());
            let now = Instant::now();
            let verdict = match self.remembered.verdict(&question, now) {
                Some(verdict) => verdict.clone(),
                None => {
                    let verdict = cause::explain(&case);
                    self.remembered.put(question, verdict.clone(), now);
                    verdict
                }
            };
            if let Some(trace) = &mut self.trace {
                let rule = verdict.as_ref().and_then(|verdict| verdict.rule.as_ref());
                trace.want(evidence, rule);
            }
            match verdict {
                Some(verdict) => {
                    drop.cause = verdict.cause;
                    drop.rule = verdict.rule;
                    let fact = self.began.fact(&drop);
                    drop.cause.evidence.extend(fact);
                }
                None => drop.noise = noise::leftover(&case).map(Into::into),
            }
        }
        if drop.noise.is_some() && !options.all {
            return (Fate::Benign, drop);
        }
        let fate = asked_for(options, &mut drop, &bridge_of);
        (fate, drop)
    }
}

/// What filters and declared denials make of a line whose cause is known.
pub(crate) fn asked_for(
    options: &Options,
    drop: &mut Drop,
    bridge_of: &dyn Fn(&str) -> Option<String>,
) -> Fate {
    if !options.filter.admits(drop, bridge_of) {
        return Fate::Filtered;
    }
    let mut ignore = options.ignore.iter();
    if ignore.any(|ignore| ignore.matches(drop, bridge_of)) {
        drop.expected = true;
        return Fate::Expected;
    }
    Fate::Shown
}

impl Judge {
    /// Decides a failure that dropped nothing, and completes its line.
    pub(super) fn finding(
        &mut self,
        options: &Options,
        finding: Finding,
        inventory: &Inventory,
    ) -> (Fate, Drop) {
        let Finding { mut line, began } = finding;
        if !scope::includes(options.scope, line.reach) {
            return (Fate::OutOfScope, line);
        }
        // There is no packet that an expression could accept.
        if options.expression.is_some() {
            return (Fate::Filtered, line);
        }
        let told = std::mem::replace(&mut line.time, began);
        let fact = self.began.fact(&line);
        line.time = told;
        line.cause.evidence.extend(fact);
        let bridge_of = |name: &str| inventory.network(name)?.bridge.clone();
        let fate = asked_for(options, &mut line, &bridge_of);
        (fate, line)
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
