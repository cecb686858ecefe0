//! A diagnosis: packets of one container die of one cause. It begins with the first and ends when there was none for a while.

use std::{
    borrow::Cow,
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::model::Drop;

/// Whose, and of what: cause and the container's label.
pub(super) type Key = (Cow<'static, str>, String);

/// What is told of a diagnosis.
#[derive(Clone, Debug)]
pub(super) struct Notice {
    /// Of what, and whose.
    pub(super) key: Key,
    /// The packet that it began with.
    pub(super) first: Box<Drop>,
    /// None: it begins.
    pub(super) ended: Option<Ended>,
    /// Notices about the same that were left out before this one.
    pub(super) left_out: u32,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) packets: u64,
    /// From the first packet to the last.
    pub(super) lasted: Duration,
}

#[derive(Debug)]
struct Diagnosis {
    /// The packet that it began with, while it goes on.
    first: Option<Box<Drop>>,
    began: Instant,
    last: Instant,
    packets: u64,
    is_active: bool,
    /// That it began was told: that it ends is, too.
    is_told: bool,
    lines: Allowance,
}

/// Lines about one thing within an hour.
#[derive(Debug)]
struct Allowance {
    since: Instant,
    used: u32,
    left_out: u32,
}

/// Over which lines are limited.
const HOUR: Duration = Duration::from_secs(3600);

/// Ended ones that are remembered at most: containers may come and go faster than an hour passes.
const ENDED: usize = 4096;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Diagnoses {
    known: HashMap<Key, Diagnosis>,
    /// Notices left out since the start.
    pub(super) suppressed: u64,
}

impl Diagnoses {
    /// A packet (or many) died. Whether a diagnosis began, and what is told of it, if it may be.
    pub(super) fn dropped(
        &mut self,
        key: Key,
        drop: &Drop,
        now: Instant,
        lines: u32,
    ) -> (bool, Option<Notice>) {
        let diagnosis = self.known.entry(key.clone()).or_insert_with(|| Diagnosis {
            first: None,
            began: now,
            last: now,
            packets: 0,
            is_active: false,
            is_told: false,
            lines: Allowance {
                since: now,
                used: 0,
                left_out: 0,
            },
        });
        diagnosis.last = now;
        if diagnosis.is_active {
            diagnosis.packets = diagnosis.packets.saturating_add(drop.count);
            return (false, None);
        }
        diagnosis.is_active = true;
        diagnosis.began = now;
        diagnosis.packets = drop.count;
        let first = Box::new(drop.clone());
        diagnosis.first = Some(first.clone());
        let notice = diagnosis.notice(key, first, None, now, lines);
        diagnosis.is_told = notice.is_some();
        self.suppressed += u64::from(notice.is_none());
        (true, notice)
    }

    /// What has ended by now. Those whose end is `keep` ago are forgotten.
    pub(super) fn tick(
        &mut self,
        now: Instant,
        clear_after: Duration,
        keep: Duration,
        lines: u32,
    ) -> Tick {
        let mut tick = Tick::default();
        self.known.retain(|key, diagnosis| {
            let quiet = now.saturating_duration_since(diagnosis.last);
            if diagnosis.is_active && quiet >= clear_after {
                diagnosis.is_active = false;
                let ended = Ended {
                    packets: diagnosis.packets,
                    lasted: diagnosis.last - diagnosis.began,
                };
                if let Some(first) = diagnosis.first.take() {
                    let notice = diagnosis.notice(key.clone(), first, Some(ended), now, lines);
                    self.suppressed += u64::from(notice.is_none());
                    tick.notices.extend(notice);
                }
                tick.ended.push(key.clone());
            }
            // As long as lines are limited it has to be remembered.
            let is_kept = diagnosis.is_active || quiet < clear_after + keep.max(HOUR);
            if !is_kept {
                tick.forgotten.push(key.clone());
            }
            is_kept
        });
        self.crowd_out(&mut tick);
        tick
    }

    /// Forgets those that have been over for longest, where there are too many.
    fn crowd_out(&mut self, tick: &mut Tick) {
        if self.known.len() <= ENDED {
            return;
        }
        let mut over: Vec<(Instant, &Key)> = self
            .known
            .iter()
            .filter(|(_, diagnosis)| !diagnosis.is_active)
            .map(|(key, diagnosis)| (diagnosis.last, key))
            .collect();
        let Some(many) = over.len().checked_sub(ENDED).filter(|many| *many > 0) else {
            return;
        };
        over.sort_unstable();
        let oldest: Vec<Key> = over.drain(..many).map(|(_, key)| key.clone()).collect();
        for key in oldest {
            self.known.remove(&key);
            tick.forgotten.push(key);
        }
    }

    /// How many go on.
    pub(super) fn active(&self) -> usize {
        self.known
            .values()
            .filter(|diagnosis| diagnosis.is_active)
            .count()
    }
}

/// What a look at the clock brought.
#[derive(Debug, Default)]
pub(super) struct Tick {
    pub(super) notices: Vec<Notice>,
    pub(super) ended: Vec<Key>,
    pub(super) forgotten: Vec<Key>,
}

impl Diagnosis {
    fn notice(
        &mut self,
        key: Key,
        first: Box<Drop>,
        ended: Option<Ended>,
        now: Instant,
        most: u32,
    ) -> Option<Notice> {
        let lines = &mut self.lines;
        if now - lines.since >= HOUR {
            lines.since = now;
            lines.used = 0;
        }
        if lines.used >= most && !(ended.is_some() && self.is_told) {
            lines.left_out += 1;
            return None;
        }
        lines.used += 1;
        Some(Notice {
            key,
            first,
            ended,
            left_out: std::mem::take(&mut lines.left_out),
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::report::samples::denied;

    const CLEAR: Duration = Duration::from_secs(60);
    const KEEP: Duration = Duration::from_secs(300);

    fn key() -> Key {
        ("no-route".into(), "web".into())
    }

    #[test]
    fn it_begins_and_ends_with_its_packets() {
        let mut all = Diagnoses::default();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut drop = denied("198.51.100.20", 4000);
        let (began, notice) = all.dropped(key(), &drop, at(0), 6);
        assert!(began && notice.unwrap().ended.is_none());
        drop.count = 41;
        let (began, notice) = all.dropped(key(), &drop, at(50), 6);
        assert!(!began && notice.is_none());
        assert!(all.tick(at(109), CLEAR, KEEP, 6).notices.is_empty());
        assert_eq!(all.active(), 1);
        let tick = all.tick(at(110), CLEAR, KEEP, 6);
        let ended = tick.notices[0].ended.unwrap();
        assert_eq!((ended.packets, ended.lasted), (42, Duration::from_secs(50)));
        assert_eq!(tick.ended, [key()]);
        assert_eq!(all.active(), 0);
        assert!(all.tick(at(111), CLEAR, KEEP, 6).ended.is_empty());
        assert_eq!(all.tick(at(5000), CLEAR, KEEP, 6).forgotten, [key()]);
    }

    #[test]
    fn of_what_is_over_no_packet_is_kept_and_only_the_latest_are_remembered() {
        let mut all = Diagnoses::default();
        let start = Instant::now();
        let drop = denied("198.51.100.20", 4000);
        let count = ENDED as u64 + 100;
        for number in 0..count {
            let now = start + Duration::from_millis(number);
            let key = ("no-route".into(), format!("c{number}"));
            let (began, notice) = all.dropped(key, &drop, now, 6);
            assert!(began && *notice.unwrap().first == drop);
        }
        assert_eq!(all.active(), ENDED + 100);
        let tick = all.tick(start + CLEAR + Duration::from_secs(10), CLEAR, KEEP, 6);
        assert_eq!(
            (tick.notices.len(), tick.ended.len()),
            (ENDED + 100, ENDED + 100)
        );
        assert!(tick.notices.iter().all(|notice| *notice.first == drop));
        // Each is forgotten in the metrics too.
        assert_eq!((tick.forgotten.len(), all.known.len()), (100, ENDED));
        assert!(all.known.contains_key(&("no-route".into(), "c100".into())));
        assert!(!all.known.contains_key(&("no-route".into(), "c99".into())));
        assert!(
            all.known
                .values()
                .all(|diagnosis| diagnosis.first.is_none())
        );
        // It begins anew.
        let later = start + Duration::from_secs(100);
        let (began, notice) = all.dropped(("no-route".into(), "c200".into()), &drop, later, 6);
        assert!(began && notice.unwrap().ended.is_none());
    }

    #[test]
    fn a_flapping_fault_is_told_six_times_an_hour() {
        let mut all = Diagnoses::default();
        let start = Instant::now();
        let drop = denied("198.51.100.20", 4000);
        let mut told = 0;
        for round in 0..20_u64 {
            let now = start + Duration::from_secs(round * 100);
            told += usize::from(all.dropped(key(), &drop, now, 6).1.is_some());
            let later = now + Duration::from_secs(90);
            told += all.tick(later, CLEAR, KEEP, 6).notices.len();
        }
        assert_eq!((told, all.suppressed), (6, 34));
        let (_, notice) = all.dropped(key(), &drop, start + Duration::from_secs(4000), 6);
        assert_eq!(notice.unwrap().left_out, 34);
    }

    /// Whoever pairs the lines does not wait for ever.
    #[test]
    fn the_end_of_what_was_told_is_told() {
        let mut all = Diagnoses::default();
        let start = Instant::now();
        let drop = denied("198.51.100.20", 4000);
        let (mut begun, mut ended) = (0, 0);
        for round in 0..9_u64 {
            let now = start + Duration::from_secs(round * 100);
            begun += usize::from(all.dropped(key(), &drop, now, 5).1.is_some());
            let later = now + Duration::from_secs(90);
            ended += all.tick(later, CLEAR, KEEP, 5).notices.len();
        }
        assert_eq!((begun, ended), (3, 3));
    }
}
