//! Below ten drops a second each is a line of its own; above, one line per cause and container and second.
//!
//! A state machine without a clock: whoever uses it says what time it is.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use super::{block, endpoint, style::Role};
use crate::model::Drop;

/// Packets in a second up to which each drop is shown by itself.
const CALM: u64 = 10;
/// Lines for a second of a storm.
const LARGEST: usize = 5;
/// Explanations in full in a second of a storm.
const EXPLAINED: u32 = 5;
/// Distinct causes, and distinct sources of one, that are remembered in a second.
const REMEMBERED: usize = 16_384;

/// What to do with a drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// A line of its own.
    Single,
    /// It waits for the end of its second. What was never explained may be, now.
    Storm { may_explain: bool },
}

/// Who sent what a row counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sources {
    /// They are the subject itself, or not known.
    None,
    /// One.
    One(IpAddr),
    /// Several; `at_least`: some of them stand for others that were not sampled.
    Many { number: u64, at_least: bool },
}

/// One line of a storm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) role: Role,
    pub(super) cause: String,
    pub(super) whose: String,
    pub(super) count: u64,
    pub(super) sources: Sources,
    pub(super) detail: Option<String>,
}

/// A second of a storm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Second {
    /// Seconds since the epoch.
    pub(super) at: i64,
    /// The largest, largest first.
    pub(super) rows: Vec<Row>,
    /// How many more causes and containers.
    pub(super) more: usize,
    /// Packets of those.
    pub(super) more_count: u64,
}

#[derive(Debug)]
struct Bucket {
    role: Role,
    cause: String,
    name: String,
    outgoing: bool,
    label: Option<String>,
    detail: Option<String>,
    count: u64,
    waiting: bool,
    sampled: bool,
    sources: HashSet<IpAddr>,
}

/// The state of the current second.
#[derive(Debug, Default)]
pub(super) struct Storm {
    second: i64,
    stormy: bool,
    total: u64,
    explained: u32,
    buckets: HashMap<(String, Option<String>), Bucket>,
    overflow: u64,
}

impl Storm {
    /// The time of a drop, which may be older than others before it. Gives the lines of a second that is over.
    pub(super) fn seen(&mut self, second: i64) -> Option<Second> {
        if second <= self.second {
            return None;
        }
        self.close(second)
    }

    /// The wall clock, which may lag a little behind the drops' times. If it was set back, the second starts anew.
    pub(super) fn advance(&mut self, second: i64) -> Option<Second> {
        if second == self.second || second == self.second - 1 {
            return None;
        }
        self.close(second)
    }

    /// Ends the current second now.
    pub(super) fn finish(&mut self) -> Option<Second> {
        self.close(self.second)
    }

    fn close(&mut self, next: i64) -> Option<Second> {
        let at = self.second;
        // A quiet second in between ends a storm.
        self.stormy = self.total > CALM && next == at + 1;
        self.second = next;
        self.total = 0;
        self.explained = 0;
        let overflow = std::mem::take(&mut self.overflow);
        let mut waiting: Vec<Bucket> = self
            .buckets
            .drain()
            .map(|(_, bucket)| bucket)
            .filter(|bucket| bucket.waiting)
            .collect();
        if waiting.is_empty() && overflow == 0 {
            return None;
        }
        waiting.sort_by(|a, b| (b.count, &a.cause, &a.name).cmp(&(a.count, &b.cause, &b.name)));
        let rest = waiting.split_off(LARGEST.min(waiting.len()));
        Some(Second {
            at,
            rows: waiting.into_iter().map(Bucket::row).collect(),
            more: rest.len() + usize::from(overflow > 0),
            more_count: rest.iter().map(|bucket| bucket.count).sum::<u64>() + overflow,
        })
    }

    /// Counts a drop of the current second and says how to show it.
    pub(super) fn add(&mut self, drop: &Drop) -> Show {
        let single = !self.stormy && self.total < CALM;
        self.total = self.total.saturating_add(drop.count);
        let (role, cause) = block::cause_name(drop);
        let subject = endpoint::subject(drop);
        let key = (cause.clone(), subject.map(|container| container.id.clone()));
        if self.buckets.len() >= REMEMBERED && !self.buckets.contains_key(&key) {
            if !single {
                self.overflow = self.overflow.saturating_add(drop.count);
            }
        } else {
            self.buckets
                .entry(key)
                .or_insert_with(|| Bucket::new(drop, role, cause))
                .add(drop, !single);
        }
        if single {
            Show::Single
        } else {
            Show::Storm {
                may_explain: self.explained < EXPLAINED,
            }
        }
    }

    /// An explanation was shown.
    pub(super) fn explained(&mut self) {
        self.explained += 1;
    }
}

impl Bucket {
    fn new(drop: &Drop, role: Role, cause: String) -> Self {
        Self {
            role,
            cause,
            name: endpoint::subject_name(drop),
            outgoing: outgoing(drop),
            label: Some(label(drop)),
            detail: block::detail(drop),
            count: 0,
            waiting: false,
            sampled: false,
            sources: HashSet::new(),
        }
    }

    fn add(&mut self, drop: &Drop, waiting: bool) {
        self.count = self.count.saturating_add(drop.count);
        self.waiting |= waiting;
        self.sampled |= drop.count > 1;
        if self
            .label
            .as_deref()
            .is_some_and(|known| known != label(drop))
        {
            self.label = None;
        }
        if self.detail != block::detail(drop) {
            self.detail = None;
        }
        if let Some((address, _)) = drop.ends().source {
            if self.sources.len() < REMEMBERED {
                self.sources.insert(address);
            } else {
                self.sampled |= !self.sources.contains(&address);
            }
        }
    }

    fn row(self) -> Row {
        let sources = match (self.outgoing, self.sources.len()) {
            (true, _) | (_, 0) => Sources::None,
            (false, 1) if !self.sampled => self
                .sources
                .into_iter()
                .next()
                .map_or(Sources::None, Sources::One),
            (false, number) => Sources::Many {
                number: number as u64,
                at_least: self.sampled,
            },
        };
        let whose = match self.label {
            Some(label) => label,
            None if self.outgoing => format!("from {}", self.name),
            None => self.name,
        };
        Row {
            role: self.role,
            cause: self.cause,
            whose,
            count: self.count,
            sources,
            detail: self.detail,
        }
    }
}

/// Whether the subject is the packet's source.
fn outgoing(drop: &Drop) -> bool {
    drop.destination.container.is_none() && drop.source.container.is_some()
}

/// `api:53/udp`, or `web → 203.0.113.9:443/tcp` for what leaves.
fn label(drop: &Drop) -> String {
    let destination = endpoint::destination(drop).text();
    match &drop.source.container {
        Some(container) if outgoing(drop) => {
            format!("{} → {destination}", endpoint::named(container))
        }
        _ => destination,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::report::samples::{container, denied, mystery};

    fn drops(storm: &mut Storm, number: u64) -> Vec<Show> {
        (0..number)
            .map(|_| storm.add(&denied("198.51.100.20", 4000)))
            .collect()
    }

    fn held(shows: &[Show]) -> usize {
        shows.iter().filter(|show| **show != Show::Single).count()
    }

    #[test]
    fn ten_a_second_are_calm() {
        let mut storm = Storm::default();
        for second in 100..105 {
            assert_eq!(storm.seen(second), None);
            assert_eq!(held(&drops(&mut storm, 10)), 0);
        }
        assert_eq!(storm.finish(), None);
    }

    #[test]
    fn the_rest_of_a_busy_second_waits_and_counts_fully() {
        let mut storm = Storm::default();
        assert_eq!(storm.seen(100), None);
        assert_eq!(held(&drops(&mut storm, 25)), 15);
        let second = storm.advance(101).unwrap();
        assert_eq!((second.at, second.rows[0].count, second.more), (100, 25, 0));
        assert_eq!(
            second.rows[0].sources,
            Sources::One("198.51.100.20".parse().unwrap())
        );
        // The next second is stormy from its start, and the one after it calm again.
        assert_eq!(held(&drops(&mut storm, 3)), 3);
        assert_eq!(storm.advance(102).unwrap().rows[0].count, 3);
        assert_eq!(held(&drops(&mut storm, 3)), 0);
    }

    #[test]
    fn a_quiet_second_ends_a_storm() {
        let mut storm = Storm::default();
        assert_eq!(storm.seen(100), None);
        drops(&mut storm, 25);
        assert!(storm.seen(105).is_some());
        assert_eq!(held(&drops(&mut storm, 1)), 0);
    }

    #[test]
    fn one_line_may_be_a_storm() {
        let mut storm = Storm::default();
        assert_eq!(storm.seen(100), None);
        let mut many = denied("198.51.100.20", 4000);
        many.count = 48_213;
        assert_eq!(storm.add(&many), Show::Single);
        assert_eq!(storm.add(&many), Show::Storm { may_explain: true });
        let second = storm.advance(101).unwrap();
        assert_eq!(second.rows[0].count, 96_426);
        assert_eq!(
            second.rows[0].sources,
            Sources::Many {
                number: 1,
                at_least: true
            }
        );
    }

    #[test]
    fn the_largest_five_and_how_many_more() {
        let mut storm = Storm::default();
        assert_eq!(storm.seen(100), None);
        drops(&mut storm, 10);
        for index in 0..17_u64 {
            let mut drop = mystery();
            let name = format!("c{index}");
            let mut named = container(&name);
            named.id = name;
            drop.destination.container = Some(named);
            drop.count = 100 + index;
            storm.add(&drop);
        }
        let second = storm.finish().unwrap();
        let counts: Vec<u64> = second.rows.iter().map(|row| row.count).collect();
        assert_eq!(counts, [116, 115, 114, 113, 112]);
        assert_eq!(second.rows[0].whose, "c16:80/tcp");
        assert_eq!(
            second.rows[0].detail.as_deref(),
            Some("NETFILTER_DROP@nft_do_chain, input hook")
        );
        assert_eq!((second.more, second.more_count), (12, (100..112).sum()));
    }

    #[test]
    fn late_drops_and_clocks_that_are_set_back() {
        let mut storm = Storm::default();
        assert_eq!(storm.seen(100), None);
        drops(&mut storm, 25);
        assert_eq!(storm.seen(90), None, "an old record ends nothing");
        assert_eq!(storm.advance(99), None, "nor does a clock that lags");
        assert_eq!(storm.advance(50).unwrap().at, 100);
        assert_eq!(held(&drops(&mut storm, 1)), 0);
        assert_eq!(storm.advance(51), None);
    }
}
