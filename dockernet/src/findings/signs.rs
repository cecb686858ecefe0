//! What a counter's movement may mean, and when it is worth a look.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::counters::Counters;
use crate::model::NetnsKey;

/// A cause is told again at most this often; its line then stands for what has happened since.
const REPEAT: Duration = Duration::from_secs(30);
/// After a look that found nothing the next one waits, twice as long each time.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The same where a busy host moves it all the time, and a look reads its whole connection table.
const LONGEST_WAIT_OF_HOST: Duration = Duration::from_secs(600);
/// What the engine may be about to put right by itself is told if it is so still, so much later.
const SETTLED: Duration = Duration::from_secs(3);
/// Nothing moved for so long: what was waited for is over.
const FORGET: Duration = Duration::from_secs(120);

/// A kind of movement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Sign {
    /// Something had no route.
    NoRoute,
    /// An accept queue was full.
    AcceptQueue,
    /// A queue of half-open connections was full.
    SynQueue,
    /// Something sent got no answer.
    Unanswered,
    /// Packets came for programs that are paused.
    Frozen,
    /// Connections came to programs of the host, and containers publish ports of TCP.
    Served,
    /// Somebody's datagrams came to a program, of the host or of a container.
    Udp,
    /// A device of the host, by its index, had no room for what came.
    Missed(u32),
    /// An XDP program in the driver of such a device dropped.
    Xdp(u32),
}

impl Sign {
    /// Its events are of other things too: when the first of them was is no beginning of a failure.
    pub(super) fn is_vague(self) -> bool {
        self == Self::Served
    }

    /// The engine writes all its rules anew after a firewall's reload, which takes it a while.
    fn may_settle(self) -> bool {
        self == Self::Served
    }

    fn longest_wait(self) -> Duration {
        match self {
            Self::Served => LONGEST_WAIT_OF_HOST,
            _ => LONGEST_WAIT,
        }
    }
}

/// The signs in what a container's namespace counted. `is_paused`: a container in it is.
pub(super) fn of_container(counted: Counters, is_paused: bool) -> Vec<(Sign, u64)> {
    let frozen = if is_paused { counted.delivered() } else { 0 };
    let all = [
        (Sign::NoRoute, counted.out_no_routes),
        (Sign::AcceptQueue, counted.listen_overflows),
        (Sign::SynQueue, counted.syn_queue_full),
        (Sign::Unanswered, counted.unanswered()),
        (Sign::Frozen, frozen),
    ];
    all.into_iter().filter(|(_, events)| *events > 0).collect()
}

/// The signs in what the host's namespace counted. `publishes`: a port of TCP is published.
pub(super) fn of_host(counted: Counters, publishes: bool) -> Vec<(Sign, u64)> {
    let served = if publishes { counted.passive_opens } else { 0 };
    let all = [
        (Sign::Served, served),
        (Sign::AcceptQueue, counted.listen_overflows),
        (Sign::SynQueue, counted.syn_queue_full),
    ];
    all.into_iter().filter(|(_, events)| *events > 0).collect()
}

/// One sign in one namespace.
#[derive(Clone, Copy, Debug)]
struct Matter {
    /// Events that no line has told of.
    pending: u64,
    /// When the first of them was noted.
    first: Instant,
    /// How long before that nobody had looked.
    unseen: Duration,
    seen: Instant,
    next: Instant,
    wait: Duration,
    /// The last look found something that may settle.
    is_suspect: bool,
}

/// A sign whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// Where it was seen.
    pub key: NetnsKey,
    /// What was seen.
    pub sign: Sign,
    /// How often since a line told of it.
    pub events: u64,
    /// How long ago the first of these was noted.
    pub since: Duration,
    /// How long before that the counters were read: it happened in between.
    pub unseen: Duration,
}

/// Who waits for a look.
#[derive(Debug, Default)]
pub(super) struct Matters {
    all: HashMap<(NetnsKey, Sign), Matter>,
}

impl Matters {
    /// Notes events of the time `unseen`, which ends now.
    pub(super) fn note(
        &mut self,
        key: NetnsKey,
        sign: Sign,
        events: u64,
        now: Instant,
        unseen: Duration,
    ) {
        let matter = self.all.entry((key, sign)).or_insert(Matter {
            pending: 0,
            first: now,
            unseen,
            seen: now,
            next: now,
            wait: FIRST_WAIT,
            is_suspect: false,
        });
        if matter.pending == 0 {
            matter.first = now;
            matter.unseen = unseen;
        }
        matter.pending = matter.pending.saturating_add(events);
        matter.seen = now;
    }

    /// What is to be looked at now (`last`: all that is pending).
    pub(super) fn due(&self, now: Instant, last: bool) -> Vec<Due> {
        let mut due: Vec<Due> = self
            .all
            .iter()
            .filter(|(_, matter)| matter.pending > 0 && (last || matter.next <= now))
            .map(|((key, sign), matter)| Due {
                key: *key,
                sign: *sign,
                events: matter.pending,
                since: now.duration_since(matter.first),
                unseen: matter.unseen,
            })
            .collect();
        due.sort_by_key(|due| (due.sign, due.key));
        due
    }

    /// Whether what a look found is to be looked at again first: it may settle, and was found for the first time.
    pub(super) fn may_settle(&mut self, key: NetnsKey, sign: Sign, now: Instant) -> bool {
        let Some(matter) = self.all.get_mut(&(key, sign)) else {
            return false;
        };
        if !sign.may_settle() || std::mem::replace(&mut matter.is_suspect, true) {
            return false;
        }
        matter.next = now + SETTLED;
        true
    }

    /// Notes what a look came to: told in a line, or nothing found.
    pub(super) fn looked(&mut self, key: NetnsKey, sign: Sign, told: bool, now: Instant) {
        let Some(matter) = self.all.get_mut(&(key, sign)) else {
            return;
        };
        matter.pending = 0;
        matter.is_suspect = false;
        if told {
            matter.next = now + REPEAT;
            matter.wait = FIRST_WAIT;
        } else {
            matter.next = now + matter.wait;
            matter.wait = (matter.wait * 2).min(sign.longest_wait());
        }
    }

    /// Forgets what is long over, and namespaces that are gone.
    pub(super) fn tidy(&mut self, now: Instant, is_there: impl Fn(NetnsKey) -> bool) {
        self.all.retain(|(key, _), matter| {
            let is_over = matter.pending == 0 && now.duration_since(matter.seen) >= FORGET;
            is_there(*key) && !is_over
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: NetnsKey = NetnsKey(7);
    const UNSEEN: Duration = Duration::from_secs(1);

    #[test]
    fn a_told_sign_waits_and_gathers() {
        let mut matters = Matters::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        matters.note(KEY, Sign::AcceptQueue, 3, start, UNSEEN);
        let due = |events, since| Due {
            key: KEY,
            sign: Sign::AcceptQueue,
            events,
            since: Duration::from_secs(since),
            unseen: UNSEEN,
        };
        assert_eq!(matters.due(start, false), [due(3, 0)]);
        matters.looked(KEY, Sign::AcceptQueue, true, start);
        matters.note(KEY, Sign::AcceptQueue, 2, at(1), UNSEEN);
        matters.note(KEY, Sign::AcceptQueue, 2, at(2), UNSEEN);
        assert!(matters.due(at(29), false).is_empty());
        assert_eq!(matters.due(at(29), true), [due(4, 28)]);
        assert_eq!(matters.due(at(30), false), [due(4, 29)]);
    }

    #[test]
    fn a_sign_that_comes_to_nothing_is_looked_at_ever_more_seldom() {
        let mut matters = Matters::default();
        let start = Instant::now();
        let mut looks = 0;
        for second in 0..300 {
            let now = start + Duration::from_secs(second);
            matters.note(KEY, Sign::Unanswered, 1, now, UNSEEN);
            for due in matters.due(now, false) {
                looks += 1;
                matters.looked(due.key, due.sign, false, now);
            }
        }
        assert!((8..=10).contains(&looks), "{looks}");
        let late = start + Duration::from_secs(600);
        for due in matters.due(late, false) {
            matters.looked(due.key, due.sign, false, late);
        }
        matters.tidy(late, |_| true);
        assert!(matters.all.is_empty());
    }

    #[test]
    fn what_waits_for_a_late_look_is_not_forgotten_meanwhile() {
        let mut matters = Matters::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 0..400 {
            matters.note(KEY, Sign::Served, 1, at(second), UNSEEN);
            for due in matters.due(at(second), false) {
                matters.looked(due.key, due.sign, false, at(second));
            }
        }
        matters.tidy(at(520), |_| true);
        let due = matters.due(at(520), false);
        assert!(
            matches!(
                due[..],
                [Due {
                    sign: Sign::Served,
                    ..
                }]
            ),
            "{due:?}"
        );
        matters.looked(KEY, Sign::Served, false, at(520));
        matters.tidy(at(520), |_| true);
        assert!(matters.all.is_empty());
    }

    #[test]
    fn what_may_settle_is_looked_at_twice() {
        let mut matters = Matters::default();
        let start = Instant::now();
        matters.note(KEY, Sign::Served, 1, start, UNSEEN);
        assert!(matters.may_settle(KEY, Sign::Served, start));
        assert!(matters.due(start + SETTLED / 2, false).is_empty());
        assert_eq!(matters.due(start + SETTLED, false).len(), 1);
        assert!(!matters.may_settle(KEY, Sign::Served, start + SETTLED));
        matters.looked(KEY, Sign::Served, true, start + SETTLED);
        matters.note(KEY, Sign::Served, 1, start + REPEAT * 2, UNSEEN);
        assert!(matters.may_settle(KEY, Sign::Served, start + REPEAT * 2));
        matters.note(KEY, Sign::AcceptQueue, 1, start, UNSEEN);
        assert!(!matters.may_settle(KEY, Sign::AcceptQueue, start));
    }

    #[test]
    fn nothing_moved_nothing_is_a_sign() {
        assert!(of_container(Counters::default(), true).is_empty());
        assert!(of_host(Counters::default(), true).is_empty());
        let counted = Counters {
            in_delivers: 5,
            ..Counters::default()
        };
        assert!(of_container(counted, false).is_empty());
        assert_eq!(of_container(counted, true), [(Sign::Frozen, 5)]);
        let counted = Counters {
            passive_opens: 2,
            ..Counters::default()
        };
        assert!(of_host(counted, false).is_empty());
        assert_eq!(of_host(counted, true), [(Sign::Served, 2)]);
    }
}
