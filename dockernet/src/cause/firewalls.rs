//! Rulesets that were read for a verdict: a storm needs them again and again, and a counter tells something only beside what it
//! was before.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    host::{firewall::Firewall, netns::NetnsHandle, state::HostState},
    model::NetnsKey,
};

/// How long a ruleset is taken for what it is: a read takes some 20 ms.
const FRESH: Duration = Duration::from_secs(1);
/// How long it is kept to compare counters with. What moved in a longer time has many causes.
const KEPT: Duration = Duration::from_secs(300);
/// Namespaces whose rules are kept longer than they are fresh: a ruleset may have thousands of rules.
const NAMESPACES: usize = 16;
/// Namespaces whose rules are kept at all. Those that drop in turn are not read again and again.
const MOST: usize = 64;

/// Rulesets by namespace.
#[derive(Default)]
pub struct FirewallCache {
    read: RefCell<HashMap<NetnsKey, Reads>>,
}

struct Reads {
    at: Instant,
    /// When the latest read began, and the one before it.
    began: (Timestamp, Option<Timestamp>),
    now: Rc<Firewall>,
    before: Option<Rc<Firewall>>,
}

impl Reads {
    /// The earlier read, if the drop lies between both: what a counter did at another time proves nothing about it.
    fn before(&self, dropped: Timestamp) -> Option<Rc<Firewall>> {
        let (now, before) = self.began;
        (before? <= dropped && dropped <= now)
            .then(|| self.before.clone())
            .flatten()
    }
}

impl FirewallCache {
    /// The ruleset now, and the one read before it if the drop happened between them.
    pub(super) fn get(
        &self,
        key: NetnsKey,
        netns: &NetnsHandle,
        state: &dyn HostState,
        dropped: Timestamp,
    ) -> (Option<Rc<Firewall>>, Rc<Firewall>) {
        self.get_or_read(key, dropped, Instant::now(), || {
            let now = state.firewall(netns);
            for note in &now.notes {
                log::info!("firewall of namespace {}: {note}", netns.inum());
            }
            now
        })
    }

    fn get_or_read(
        &self,
        key: NetnsKey,
        dropped: Timestamp,
        at: Instant,
        read: impl FnOnce() -> Firewall,
    ) -> (Option<Rc<Firewall>>, Rc<Firewall>) {
        let mut all = self.read.borrow_mut();
        let is_fresh = |reads: &&Reads| at.saturating_duration_since(reads.at) < FRESH;
        if let Some(reads) = all.get(&key).filter(is_fresh) {
            return (reads.before(dropped), reads.now.clone());
        }
        let earlier = all.remove(&key);
        while all.len() >= NAMESPACES {
            let oldest = all.iter().min_by_key(|(_, reads)| reads.at);
            let Some((oldest, reads)) = oldest else {
                break;
            };
            if is_fresh(&reads) && all.len() < MOST {
                break;
            }
            let oldest = *oldest;
            all.remove(&oldest);
        }
        let began = (
            Timestamp::now(),
            earlier.as_ref().map(|reads| reads.began.0),
        );
        let now = Rc::new(read());
        let reads = Reads {
            at,
            began,
            now: now.clone(),
            before: earlier.map(|reads| reads.now),
        };
        let before = reads.before(dropped);
        all.insert(key, reads);
        (before, now)
    }

    /// Forgets what is too old to be of use.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut all = self.read.borrow_mut();
        all.retain(|_, reads| now.saturating_duration_since(reads.at) < KEPT);
        // Of the ruleset before, too.
        for reads in all.values_mut() {
            if now.saturating_duration_since(reads.at) >= FRESH {
                reads.before = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    /// Counters that moved before a drop, or after the last read, name no rule for it.
    #[test]
    fn an_earlier_read_counts_only_for_drops_after_it() {
        let second = |at| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(at);
        let reads = Reads {
            at: Instant::now(),
            began: (second(20), Some(second(10))),
            now: Rc::default(),
            before: Some(Rc::default()),
        };
        let known = |at| reads.before(second(at)).is_some();
        assert_eq!(
            [9, 10, 15, 20, 21].map(known),
            [false, true, true, true, false]
        );
        let first = Reads {
            began: (second(20), None),
            before: None,
            ..reads
        };
        assert!(first.before(second(15)).is_none());
    }

    #[test]
    fn namespaces_that_drop_in_turn_are_read_once_a_second() {
        let cache = FirewallCache::default();
        let start = Instant::now();
        let mut reads = 0;
        for (second, turns) in [(0, 3), (1, 3)] {
            for _ in 0..turns {
                for key in 0..MOST as u64 {
                    let at = start + Duration::from_secs(second);
                    cache.get_or_read(NetnsKey(key), Timestamp::now(), at, || {
                        reads += 1;
                        Firewall::default()
                    });
                }
            }
        }
        assert_eq!(reads, 2 * MOST);
    }

    #[test]
    fn rulesets_of_namespaces_that_come_and_go_are_let_go() {
        let cache = FirewallCache::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let reads = std::cell::Cell::new(0);
        let get = |key: u64, seconds: u64| {
            cache.get_or_read(NetnsKey(key), Timestamp::now(), at(seconds), || {
                reads.set(reads.get() + 1);
                Firewall::default()
            })
        };
        // All of them within one second.
        for key in 0..1000 {
            get(key, 0);
        }
        assert_eq!(cache.read.borrow().len(), MOST);
        // The host's, in a storm: once a second, each with the one before it.
        reads.set(0);
        get(1, 1);
        assert_eq!(cache.read.borrow().len(), NAMESPACES);
        for tenth in 10..110 {
            get(1, tenth / 10);
            cache.sweep(at(tenth / 10));
        }
        assert_eq!(reads.get(), 10);
        assert!(cache.read.borrow()[&NetnsKey(1)].before.is_some());
        // It is over: one ruleset stays to compare with, and after a while none.
        cache.sweep(at(12));
        assert!(cache.read.borrow()[&NetnsKey(1)].before.is_none());
        cache.sweep(at(300));
        assert_eq!(cache.read.borrow().len(), 1);
        let before = Timestamp::now();
        let (earlier, _) = cache.get_or_read(NetnsKey(1), before, at(301), Firewall::default);
        assert!(earlier.is_some());
        cache.sweep(at(601));
        assert!(cache.read.borrow().is_empty());
    }
}
