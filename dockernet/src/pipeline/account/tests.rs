#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::{bpf::tracer::Count, report::samples::denied};

/// Without a sample that is on its way.
fn lost_at(now: Instant) -> impl Fn(&CountKey, Instant) -> bool {
    move |_, since| now - since >= PATIENCE
}

/// What the kernel half and the pipeline do with a map: it counts, is turned over, and is cleared later.
#[derive(Default)]
struct Host {
    books: Books,
    rows: Vec<CountedKey>,
    generation: u32,
    retiring: Option<u32>,
    observed: u64,
    turned: u32,
    /// The most that was ever kept.
    most: usize,
}

impl Host {
    /// A key has a packet that came up in detail, and more that were only counted.
    fn drops(&mut self, number: u64, unsampled: u64, now: Instant) {
        let key = CountKey {
            location: number,
            ..CountKey::default()
        };
        let generation = self.generation;
        let place = self
            .rows
            .iter()
            .position(|row| row.generation == generation && row.key == key);
        let place = place.unwrap_or_else(|| {
            self.rows.push(CountedKey {
                generation,
                key,
                count: Count::default(),
            });
            self.rows.len() - 1
        });
        let count = &mut self.rows.get_mut(place).unwrap().count;
        count.packets += 1 + unsampled;
        count.sampled += 1;
        self.observed += 1 + unsampled;
        let drop = denied("198.51.100.20", 4000);
        self.books.sample(key, Fate::Shown, &drop, now);
    }

    fn look(&mut self, now: Instant) {
        self.books.settle(&self.rows, now, lost_at(now));
        match self.retiring.take() {
            None if self.books.is_stale(now) => {
                self.retiring = Some(self.generation);
                self.generation += 1;
                self.turned += 1;
            }
            Some(old) if !self.books.is_waiting_in(old) => {
                self.books.retire(old, &self.rows);
                self.rows.retain(|row| row.generation != old);
            }
            other => self.retiring = other,
        }
        self.most = self
            .most
            .max(self.books.settled.len())
            .max(self.books.exemplars.len());
    }

    /// The last ledger: every packet is in it, and in one column.
    fn end(mut self, now: Instant) -> Ledger {
        self.books.settle(&self.rows, now, |_, _| true);
        let totals = Totals {
            observed: self.observed,
            ..Totals::default()
        };
        let interim = self.books.interim(&totals, 0.0, None);
        assert_eq!(interim.observed, self.observed);
        self.books.last(&totals, 0.0, None)
    }
}

#[test]
fn keys_of_what_is_over_are_forgotten_and_the_ledger_adds_up() {
    let mut host = Host::default();
    let start = Instant::now();
    let mut now = start;
    for round in 0..10_000 {
        now = start + Duration::from_secs(round);
        // One container a second that is never seen again, beside one fault that goes on.
        host.drops(1_000 + round, 3, now);
        host.drops(1, 5, now);
        host.look(now);
    }
    assert!(host.turned > 30, "{}", host.turned);
    assert!(host.most < 2 * MANY, "{}", host.most);
    let ledger = host.end(now);
    assert_eq!(ledger.shown, 10_000 * (4 + 6));
    assert_eq!((ledger.lost, ledger.observed), (0, ledger.shown));
}

#[test]
fn keys_that_are_all_at_work_stay() {
    let mut host = Host::default();
    let start = Instant::now();
    for round in 0..600 {
        let now = start + Duration::from_secs(round);
        for number in 0..2 * MANY as u64 {
            // Each has a packet every half minute.
            if (number + round) % 30 == 0 {
                host.drops(number, 0, now);
            }
        }
        host.look(now);
    }
    assert_eq!(host.turned, 0);
}

#[test]
fn a_map_waits_for_the_first_sample_of_its_keys() {
    let mut books = Books::default();
    let start = Instant::now();
    let key = CountKey::default();
    let mut row = CountedKey {
        generation: 0,
        key,
        count: Count {
            packets: 2,
            bytes: 0,
            sampled: 1,
        },
    };
    // The sample is on its way: it waits for its container's name.
    assert!(books.settle(&[row], start, lost_at(start)).is_empty());
    assert!(books.is_waiting_in(0) && !books.is_waiting_in(1));
    books.sample(key, Fate::Shown, &denied("198.51.100.20", 4000), start);
    assert_eq!(books.settle(&[row], start, lost_at(start)).len(), 1);
    assert!(!books.is_waiting_in(0));
    books.retire(0, &[row]);
    let totals = Totals {
        observed: 2,
        ..Totals::default()
    };
    let ledger = books.last(&totals, 0.0, None);
    assert_eq!((ledger.shown, ledger.lost), (2, 0));
    // One whose sample never comes does not hold it up for good.
    row.generation = 1;
    books.settle(&[row], start, lost_at(start));
    assert!(books.is_waiting_in(1));
    let late = start + PATIENCE;
    // Nor is it lost while the host is asked for its cause.
    books.settle(&[row], late, |_, _| false);
    assert!(books.is_waiting_in(1));
    books.settle(&[row], late, lost_at(late));
    assert!(!books.is_waiting_in(1));
}

/// One key, by what was counted of it.
struct Counted {
    books: Books,
    row: CountedKey,
    start: Instant,
}

impl Counted {
    fn new() -> Self {
        Self {
            books: Books::default(),
            row: CountedKey {
                generation: 0,
                key: CountKey::default(),
                count: Count::default(),
            },
            start: Instant::now(),
        }
    }

    /// A sample arrives.
    fn sample(&mut self, fate: Fate, drop: &Drop, seconds: u64) {
        let at = self.start + Duration::from_secs(seconds);
        self.books.sample(self.row.key, fate, drop, at);
    }

    /// The kernel half has counted more packets, and taken samples of so many.
    fn comes(&mut self, packets: u64, sampled: u64, seconds: u64) -> Option<(Drop, Fate)> {
        self.row.count.packets += packets;
        self.row.count.sampled += sampled;
        let at = self.start + Duration::from_secs(seconds);
        let mut told = self.books.settle(&[self.row], at, |_, _| false);
        told.pop().map(|told| (told.drop, told.fate))
    }
}

fn caused(id: &'static str, name: &str) -> Drop {
    let mut drop = denied("198.51.100.20", 4000);
    drop.cause.id = id.into();
    drop.cause.summary = name.to_owned();
    if let Some(container) = &mut drop.destination.container {
        container.name = name.into();
    }
    drop
}

/// What is only counted is told as the newest sample of its key was.
#[test]
fn the_newest_sample_speaks_for_the_rest() {
    let mut key = Counted::new();
    key.sample(Fate::Shown, &caused("docker-user-drop", "first"), 0);
    let (told, fate) = key.comes(10, 1, 0).unwrap();
    assert_eq!(
        (told.cause.summary.as_str(), told.count, fate),
        ("first", 9, Fate::Shown)
    );
    // Another rule, and the container has another name.
    key.sample(Fate::Shown, &caused("docker-user-drop", "second"), 5);
    let (told, _) = key.comes(10, 1, 5).unwrap();
    assert_eq!(told.cause.summary, "second");
    assert_eq!(&*told.destination.container.unwrap().name, "second");
    // It is deliberate from now on.
    key.sample(Fate::Expected, &caused("docker-user-drop", "second"), 6);
    assert_eq!(key.comes(10, 1, 6).unwrap().1, Fate::Expected);
    // Ten minutes later a sample is on its way, and has another cause.
    assert!(key.comes(100, 1, 606).is_none());
    key.sample(Fate::Shown, &caused("forward-drop", "third"), 606);
    let (told, fate) = key.comes(0, 0, 606).unwrap();
    assert_eq!(
        (told.cause.id.as_ref(), told.count, fate),
        ("forward-drop", 99, Fate::Shown)
    );
}

/// Where no more samples are taken, a fault that was mended does not name what comes after it.
#[test]
fn after_a_pause_a_sample_speaks_no_more() {
    let mut key = Counted::new();
    key.sample(Fate::Shown, &caused("forward-drop", "web"), 0);
    assert_eq!(key.comes(10, 1, 0).unwrap().0.cause.id, "forward-drop");
    // A fault that goes on keeps its cause, however long.
    for seconds in (30..1_200).step_by(30) {
        let (told, _) = key.comes(10, 0, seconds).unwrap();
        assert_eq!(told.cause.id, "forward-drop", "{seconds}");
        assert!(told.rule.is_some());
    }
    for seconds in [1_800, 1_810] {
        let (told, fate) = key.comes(50, 0, seconds).unwrap();
        assert_eq!((told.cause.id.as_ref(), told.count), ("unexplained", 50));
        assert_eq!(
            told.cause.evidence,
            ["counted only; what was looked at of its kind before a pause was: forward-drop"]
        );
        assert_eq!((told.rule, fate), (None, Fate::Shown));
    }
    // Until one is looked at again.
    assert!(key.comes(2, 1, 1_811).is_none());
    key.sample(Fate::Shown, &caused("no-route", "web"), 1_811);
    assert_eq!(key.comes(0, 0, 1_812).unwrap().0.cause.id, "no-route");
    // It was the pause's only one, and the fault goes on.
    for seconds in [1_860, 1_900, 1_940] {
        assert_eq!(key.comes(5, 0, seconds).unwrap().0.cause.id, "no-route");
    }
}

/// What is told of nobody need not be found out again.
#[test]
fn noise_stays_noise_after_a_pause() {
    for fate in [Fate::Benign, Fate::Expected] {
        let mut key = Counted::new();
        key.sample(fate, &caused("forward-drop", "web"), 0);
        assert_eq!(key.comes(10, 1, 0).unwrap().1, fate);
        let (told, still) = key.comes(50, 0, 600).unwrap();
        assert_eq!((told.cause.id.as_ref(), still), ("forward-drop", fate));
    }
    let mut key = Counted::new();
    let mut noise = caused("forward-drop", "web");
    noise.noise = Some("late".into());
    key.sample(Fate::Shown, &noise, 0);
    assert_eq!(key.comes(10, 1, 0).unwrap().0.cause.id, "forward-drop");
    assert_eq!(key.comes(50, 0, 600).unwrap().0.cause.id, "forward-drop");
}
