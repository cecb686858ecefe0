//! A rule that the kernel itself named.

use super::{super::simulate::Step, Attribution, Site};
use crate::host::firewall::{Chain, Dropped, Family, Firewall, Table, Target};

/// What nftables' tracing told of a dropped packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Traced {
    /// The table's family.
    pub family: Family,
    /// Table.
    pub table: String,
    /// Chain.
    pub chain: String,
    /// The rule; none for the chain's policy.
    pub handle: Option<u64>,
    /// Jumps that the packet took, in their order, those included that it came back from.
    pub jumps: Vec<Jump>,
}

/// A rule that sent the packet to another chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Jump {
    /// The rule's chain.
    pub chain: String,
    /// The rule.
    pub handle: u64,
    /// Where it leads.
    pub target: String,
}

/// The traced rule as the ruleset has it; none if it is not there (any more).
#[must_use]
pub fn traced(firewall: &Firewall, traced: &Traced, site: &Site) -> Option<Attribution> {
    let (backend, table) = firewall
        .tables()
        .find(|(_, table)| table.family == traced.family && table.name == traced.table)?;
    let chain = table.chain(&traced.chain)?;
    let rule = match traced.handle {
        Some(handle) => Some(
            chain
                .rules
                .iter()
                .find(|rule| rule.handle == Some(handle))?,
        ),
        None => None,
    };
    let path = path(table, traced);
    let start = path.first().map_or(&traced.chain, |step| &step.chain);
    let base = table.chain(start)?.base.as_ref()?;
    let dropped = Dropped {
        backend,
        is_ambiguous: firewall.is_ambiguous(),
        family: table.family,
        table: table.name.clone(),
        chain: chain.name.clone(),
        hook: site.hook,
        priority: base.priority,
        policy_counter: base.counter.filter(|_| rule.is_none()),
        reject: rule.is_some_and(|rule| {
            let is_reject = |target: &Target| matches!(target, Target::Reject);
            rule.targets.iter().any(is_reject)
        }),
        rule: rule.cloned().map(Box::new),
        path,
        certain: true,
        doubts: Vec::new(),
    };
    Some(Attribution {
        how: "traced",
        ..Attribution::new(firewall, dropped)
    })
}

/// The jumps that led to the chain: found backwards, since the packet may have come back from others.
fn path(table: &Table, traced: &Traced) -> Vec<Step> {
    let number = |chain: &Chain, handle| {
        let rule = chain.rules.iter().find(|rule| rule.handle == Some(handle));
        rule.map_or(0, |rule| rule.number)
    };
    let mut path = Vec::new();
    let mut chain = &traced.chain;
    for jump in traced.jumps.iter().rev() {
        if jump.target == *chain {
            chain = &jump.chain;
            path.push(Step {
                chain: chain.clone(),
                number: table
                    .chain(chain)
                    .map_or(0, |chain| number(chain, jump.handle)),
            });
        }
    }
    path.reverse();
    path
}
