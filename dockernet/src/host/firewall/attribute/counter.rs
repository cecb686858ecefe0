//! Counters that moved between two reads.

use std::collections::{HashMap, HashSet};

use crate::host::firewall::{Backend, Counter, Dropped, Family, Firewall};

/// A rule or policy whose counter moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Backend.
    pub backend: Backend,
    /// Table's family.
    pub family: Family,
    /// Table's name.
    pub table: String,
    /// Chain.
    pub chain: String,
    /// The rule's place in the later read, from 1; none for the policy.
    pub number: Option<usize>,
    /// How many packets more.
    pub packets: u64,
}

impl Moved {
    /// Whether it is the rule or policy of this drop.
    #[must_use]
    pub fn is(&self, dropped: &Dropped) -> bool {
        self.backend == dropped.backend
            && self.family == dropped.family
            && self.table == dropped.table
            && self.chain == dropped.chain
            && self.number == dropped.rule.as_ref().map(|rule| rule.number)
    }
}

/// Whether the rule or policy behind a drop counts packets at all.
pub(super) fn counts(dropped: &Dropped) -> bool {
    match &dropped.rule {
        Some(rule) => rule.counter.is_some(),
        None => dropped.policy_counter.is_some(),
    }
}

/// A rule is the same in two reads if its text is, and it is the n-th of that text in its chain.
type Key<'a> = (Backend, Family, &'a str, &'a str, Option<(&'a str, usize)>);

/// A counter, and whose.
#[derive(Clone, Copy)]
struct Counted {
    number: Option<usize>,
    handle: Option<u64>,
    counter: Counter,
}

impl Counted {
    /// How many packets more than in an earlier read. What was not there has counted from 0, and so has what took the place of another
    /// of the same text: it has another handle, or a lower count.
    fn more_than(&self, earlier: Option<&Self>) -> u64 {
        let now = self.counter.packets;
        earlier
            .filter(|earlier| earlier.handle == self.handle)
            .and_then(|earlier| now.checked_sub(earlier.counter.packets))
            .unwrap_or(now)
    }
}

fn counters(firewall: &Firewall) -> HashMap<Key<'_>, Counted> {
    let mut found = HashMap::new();
    for (backend, table) in firewall.tables() {
        for chain in &table.chains {
            let place = (
                backend,
                table.family,
                table.name.as_str(),
                chain.name.as_str(),
            );
            if let Some(counter) = chain.base.as_ref().and_then(|base| base.counter) {
                let policy = Counted {
                    number: None,
                    handle: None,
                    counter,
                };
                found.insert((place.0, place.1, place.2, place.3, None), policy);
            }
            let mut copies: HashMap<&str, usize> = HashMap::new();
            for rule in &chain.rules {
                let copy = copies.entry(&rule.text).or_default();
                *copy += 1;
                if let Some(counter) = rule.counter {
                    let same = Some((rule.text.as_str(), *copy));
                    found.insert(
                        (place.0, place.1, place.2, place.3, same),
                        Counted {
                            number: Some(rule.number),
                            handle: rule.handle,
                            counter,
                        },
                    );
                }
            }
        }
    }
    found
}

/// Rules and policies that have counted packets from `before` to `after`.
#[must_use]
pub fn moved(before: &Firewall, after: &Firewall) -> Vec<Moved> {
    let old = counters(before);
    // Of what could not be read then nothing is known to be new.
    let read: HashSet<_> = before
        .tables()
        .map(|(backend, table)| (backend, table.family, table.name.as_str()))
        .collect();
    let was_read = |key: &Key<'_>| before.notes.is_empty() || read.contains(&(key.0, key.1, key.2));
    let mut moved: Vec<Moved> = counters(after)
        .into_iter()
        .filter(|(key, _)| was_read(key))
        .filter_map(|(key, counted)| {
            let packets = counted.more_than(old.get(&key));
            (packets > 0).then(|| Moved {
                backend: key.0,
                family: key.1,
                table: key.2.to_owned(),
                chain: key.3.to_owned(),
                number: counted.number,
                packets,
            })
        })
        .collect();
    moved.sort_by(|a, b| (&a.table, &a.chain, a.number).cmp(&(&b.table, &b.chain, b.number)));
    moved
}
