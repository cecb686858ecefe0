//! The column of a line whose cause is known: shown, filtered, expected.

use super::{began::Began, judge::Opinion, scope};
use crate::{
    cli::options::Options,
    findings::Finding,
    host::changes::Changes,
    inventory::{EngineStatus, Inventory},
    model::{Drop, Fate},
};

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

/// Decides, and adds what changed just before.
pub(super) struct Fates {
    began: Began,
}

impl Fates {
    pub(super) fn new(changes: Changes) -> Self {
        Self {
            began: Began::new(changes),
        }
    }

    /// Notes whether the engine answers.
    pub(super) fn engine_is(&mut self, status: &EngineStatus) {
        self.began.engine_is(status);
    }

    /// Decides a drop, and completes its line.
    pub(super) fn of(
        &mut self,
        options: &Options,
        opinion: Opinion,
        inventory: &Inventory,
    ) -> (Fate, Drop) {
        let mut drop = opinion.drop;
        if opinion.is_found {
            let fact = self.began.fact(&drop);
            drop.cause.evidence.extend(fact);
        }
        let bridge_of = |name: &str| inventory.network(name)?.bridge.clone();
        let fate = opinion.fate;
        let fate = fate.unwrap_or_else(|| asked_for(options, &mut drop, &bridge_of));
        (fate, drop)
    }

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
        if let Some(began) = began {
            let told = std::mem::replace(&mut line.time, began);
            let fact = self.began.fact(&line);
            line.time = told;
            line.cause.evidence.extend(fact);
        }
        let bridge_of = |name: &str| inventory.network(name)?.bridge.clone();
        let fate = asked_for(options, &mut line, &bridge_of);
        (fate, line)
    }
}
