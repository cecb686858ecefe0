//! Rules and policies, and what they count.

use dockernet::host::firewall::{Backend, Chain, Dropped, Family, Firewall, Moved, Policy, Target};

/// A rule, or a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) backend: Backend,
    pub(crate) family: Family,
    pub(crate) table: String,
    pub(crate) chain: String,
    pub(crate) number: Option<usize>,
}

impl From<&Dropped> for Place {
    fn from(dropped: &Dropped) -> Self {
        Self {
            backend: dropped.backend,
            family: dropped.family,
            table: dropped.table.clone(),
            chain: dropped.chain.clone(),
            number: dropped.rule.as_ref().map(|rule| rule.number),
        }
    }
}

impl From<&Moved> for Place {
    fn from(moved: &Moved) -> Self {
        Self {
            backend: moved.backend,
            family: moved.family,
            table: moved.table.clone(),
            chain: moved.chain.clone(),
            number: moved.number,
        }
    }
}

/// Whether a place drops at all: rules of other kinds count too.
pub(crate) fn drops_at(firewall: &Firewall, place: &Place) -> bool {
    let Some(chain) = chain(firewall, place) else {
        return false;
    };
    match place.number {
        Some(number) => chain.rules[number - 1]
            .targets
            .iter()
            .any(|target| matches!(target, Target::Drop | Target::Reject)),
        None => chain
            .base
            .as_ref()
            .is_some_and(|base| base.policy == Policy::Drop),
    }
}

pub(crate) fn counts(firewall: &Firewall, place: &Place) -> bool {
    let Some(chain) = chain(firewall, place) else {
        return false;
    };
    match place.number {
        Some(number) => chain.rules[number - 1].counter.is_some(),
        None => chain
            .base
            .as_ref()
            .is_some_and(|base| base.counter.is_some()),
    }
}

fn chain<'a>(firewall: &'a Firewall, place: &Place) -> Option<&'a Chain> {
    let mut tables = firewall.tables();
    let (_, table) = tables.find(|(backend, table)| {
        *backend == place.backend && table.family == place.family && table.name == place.table
    })?;
    table.chain(&place.chain)
}

pub(crate) fn show(firewall: &Firewall, place: &Place) -> String {
    let at = format!(
        "{} {} {} {}",
        place.backend.name(),
        place.family.name(),
        place.table,
        place.chain
    );
    match (place.number, chain(firewall, place)) {
        (Some(number), Some(chain)) => format!("{at} #{number}: {}", chain.rules[number - 1].text),
        _ => format!("{at} policy"),
    }
}
