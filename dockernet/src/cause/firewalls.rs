//! Rulesets that were read for a verdict: a storm needs them again and again, and a counter tells something only beside what it
//! was before.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    host::{changes::Changes, firewall::Firewall, netns::NetnsHandle, state::HostState},
    model::NetnsKey,
};

/// How long a ruleset is taken for what it is while no notice tells otherwise (iptables-legacy gives none): a read takes some 20 ms.
const FRESH: Duration = Duration::from_secs(1);
/// Reading costs a part of the time only: where it takes long, or notices never cease.
const SHARE: u32 = 10;
/// So much time may go into reads after notices before that: a rule that was changed just now is the one that is asked about.
const BURST: Duration = Duration::from_secs(2);
/// But where a program hung it is tried again after this.
pub(crate) const TRIED_AGAIN: Duration = Duration::from_secs(10);
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
    /// Where notices are heard, and of which namespace's rules they are.
    changes: Option<(Changes, u32)>,
    /// What reads after notices have taken, less the share of the time since, and when that was.
    spent: Cell<Option<(Instant, Duration)>>,
}

struct Reads {
    /// When it was over.
    at: Instant,
    /// How long it took.
    took: Duration,
    /// How many notices of rules there were before it.
    heard: u64,
    /// When the latest read began.
    began: Timestamp,
    /// When it was over, and the one before it.
    ended: (Timestamp, Option<Timestamp>),
    now: Rc<Firewall>,
    before: Option<Rc<Firewall>>,
}

impl Reads {
    /// The earlier read, if the drop lies between both: what a counter did at another time proves nothing about it.
    fn before(&self, dropped: Timestamp) -> Option<Rc<Firewall>> {
        // What is dropped while the earlier one is read may be counted in it.
        (self.ended.1? <= dropped && dropped <= self.began)
            .then(|| self.before.clone())
            .flatten()
    }
}

impl Reads {
    /// Whether the host need not be asked again. `is_dear`: notices alone are no reason any more.
    fn is_fresh(&self, heard: u64, now: Instant, is_dear: bool) -> bool {
        self.holds(now) && (self.heard == heard || is_dear && self.age(now) < self.pause())
    }

    /// Whether it is taken for what the rules are, without a notice that tells otherwise.
    fn holds(&self, now: Instant) -> bool {
        self.age(now) < self.pause().max(FRESH)
    }

    /// Between two reads.
    fn pause(&self) -> Duration {
        (self.took * SHARE).min(TRIED_AGAIN)
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }
}

impl FirewallCache {
    /// One whose ruleset of the host is read again after a notice.
    pub(crate) fn following(changes: Changes, host: &NetnsHandle) -> Self {
        Self {
            changes: Some((changes, host.inum())),
            ..Self::default()
        }
    }

    /// The notices so far of a namespace's rules.
    fn heard(&self, netns: u32) -> u64 {
        self.changes
            .as_ref()
            .filter(|(_, host)| *host == netns)
            .map_or(0, |(changes, _)| changes.heard_of_rules())
    }

    /// The ruleset now, and the one read before it if the drop happened between them.
    pub(super) fn get(
        &self,
        key: NetnsKey,
        netns: &NetnsHandle,
        state: &dyn HostState,
        dropped: Timestamp,
    ) -> (Option<Rc<Firewall>>, Rc<Firewall>) {
        let heard = self.heard(netns.inum());
        self.get_or_read(key, dropped, (Instant::now(), heard), || {
            let asked = Instant::now();
            let now = state.firewall(netns);
            for note in &now.notes {
                log::info!("firewall of namespace {}: {note}", netns.inum());
            }
            (now, asked.elapsed())
        })
    }

    fn get_or_read(
        &self,
        key: NetnsKey,
        dropped: Timestamp,
        (at, heard): (Instant, u64),
        read: impl FnOnce() -> (Firewall, Duration),
    ) -> (Option<Rc<Firewall>>, Rc<Firewall>) {
        let mut all = self.read.borrow_mut();
        let spent = self.spent(at);
        let is_fresh = |reads: &&Reads| reads.is_fresh(heard, at, spent >= BURST);
        if let Some(reads) = all.get(&key).filter(is_fresh) {
            return (reads.before(dropped), reads.now.clone());
        }
        let earlier = all.remove(&key);
        let is_early = earlier.as_ref().is_some_and(|reads| reads.holds(at));
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
        let began = Timestamp::now();
        let (now, took) = read();
        if is_early {
            self.spent.set(Some((at, spent + took)));
        }
        let now = Rc::new(now);
        let reads = Reads {
            at: at + took,
            took,
            // Of before the read: a change meanwhile may not be in it.
            heard,
            began,
            ended: (
                Timestamp::now(),
                earlier.as_ref().map(|reads| reads.ended.0),
            ),
            now: now.clone(),
            before: earlier.map(|reads| reads.now),
        };
        let before = reads.before(dropped);
        all.insert(key, reads);
        (before, now)
    }

    /// Time that went into reads after notices and is not made up for yet.
    fn spent(&self, now: Instant) -> Duration {
        self.spent.get().map_or(Duration::ZERO, |(since, spent)| {
            spent.saturating_sub(now.saturating_duration_since(since) / SHARE)
        })
    }

    /// Whether none is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.read.borrow().is_empty()
    }

    /// Forgets what is too old to be of use.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut all = self.read.borrow_mut();
        all.retain(|_, reads| reads.age(now) < KEPT);
        // Of the ruleset before, too.
        for reads in all.values_mut() {
            if reads.age(now) >= FRESH {
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
            took: Duration::ZERO,
            heard: 0,
            began: second(20),
            ended: (second(21), Some(second(10))),
            now: Rc::default(),
            before: Some(Rc::default()),
        };
        let known = |at| reads.before(second(at)).is_some();
        assert_eq!(
            [9, 10, 15, 20, 21].map(known),
            [false, true, true, true, false]
        );
        let first = Reads {
            ended: (second(21), None),
            before: None,
            ..reads
        };
        assert!(first.before(second(15)).is_none());
    }

    /// A cache, and a read of the host's rules at some time, after so many notices, that takes so long: whether one was needed.
    fn reads(cache: &FirewallCache, at: Instant, heard: u64, took: u64) -> bool {
        let was_read = Cell::new(false);
        cache.get_or_read(NetnsKey(1), Timestamp::now(), (at, heard), || {
            was_read.set(true);
            (Firewall::default(), Duration::from_millis(took))
        });
        was_read.get()
    }

    #[test]
    fn rules_are_read_again_after_a_notice_but_not_all_the_time() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let cache = FirewallCache::default();
        assert!(reads(&cache, at(0), 7, 20));
        // Of the end of the read.
        assert!(!reads(&cache, at(1019), 7, 20));
        assert!(reads(&cache, at(500), 8, 20), "after a notice at once");
        assert!(reads(&cache, at(521), 9, 20), "and after the next");
        assert!(!reads(&cache, at(600), 9, 20));
        // A tenth of the time, when much of it has gone into that.
        let (mut heard, mut read) = (9, 0);
        for millis in 600..10_600 {
            heard += 1;
            read += u32::from(reads(&cache, at(millis), heard, 20));
        }
        let wanted = (BURST + Duration::from_secs(1)).as_millis() / 20;
        assert!(u128::from(read).abs_diff(wanted) < 8, "{read} of {wanted}");
        // It is made up for in ten times the time.
        assert!(reads(&cache, at(31_000), heard + 1, 20));
        assert!(reads(&cache, at(31_100), heard + 2, 20));
        assert!(reads(&cache, at(31_200), heard + 3, 20));
    }

    /// Each of a few changes is seen, also where reading takes half a second.
    #[test]
    fn a_slow_read_does_not_hide_the_next_change() {
        let cache = FirewallCache::default();
        let start = Instant::now();
        for (change, millis) in [0, 1000, 5500, 6500, 11_000].into_iter().enumerate() {
            let at = start + Duration::from_millis(millis);
            assert!(reads(&cache, at, change as u64, 500), "{change}");
        }
    }

    #[test]
    fn rules_that_take_long_are_read_seldom() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let cache = FirewallCache::default();
        assert!(reads(&cache, at(0), 0, 500));
        assert!(!reads(&cache, at(5499), 0, 500) && reads(&cache, at(5500), 0, 500));
        // Notices that do not cease.
        let ceaseless = (0..600_u64).map(|tenth| reads(&cache, at(6000 + 100 * tenth), tenth, 500));
        let read = ceaseless.filter(|read| *read).count();
        assert!(
            (14..=17).contains(&read),
            "{read}: 2 s at once, and a tenth of a minute"
        );
        // Three programs that hang.
        let cache = FirewallCache::default();
        assert!(reads(&cache, at(0), 0, 15_000));
        assert!(!reads(&cache, at(24_999), 0, 15_000) && reads(&cache, at(25_000), 0, 15_000));
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
                    cache.get_or_read(NetnsKey(key), Timestamp::now(), (at, 0), || {
                        reads += 1;
                        (Firewall::default(), Duration::ZERO)
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
        let reads = Cell::new(0);
        let get = |key: u64, seconds: u64| {
            cache.get_or_read(NetnsKey(key), Timestamp::now(), (at(seconds), 0), || {
                reads.set(reads.get() + 1);
                (Firewall::default(), Duration::ZERO)
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
        let (earlier, _) = cache.get_or_read(NetnsKey(1), before, (at(301), 0), || {
            (Firewall::default(), Duration::ZERO)
        });
        assert!(earlier.is_some());
        cache.sweep(at(601));
        assert!(cache.read.borrow().is_empty());
    }
}
