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

/// What is only counted is told as the newest sample of its key was.
#[test]
fn the_newest_sample_speaks_for_the_rest() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let key = CountKey::default();
    let mut books = Books::default();
    let mut row = CountedKey {
        generation: 0,
        key,
        count: Count::default(),
    };
    let mut comes = |books: &mut Books, packets: u64, sampled: u64, seconds: u64| {
        row.count.packets += packets;
        row.count.sampled += sampled;
        let mut told = books.settle(&[row], at(seconds), |_, _| false);
        told.pop().map(|told| (told.drop, told.fate))
    };
    let drop = |id: &'static str, name: &str| {
        let mut drop = denied("198.51.100.20", 4000);
        drop.cause.id = id.into();
        drop.cause.summary = name.to_owned();
        if let Some(container) = &mut drop.destination.container {
            container.name = name.into();
        }
        drop
    };
    books.sample(key, Fate::Shown, &drop("docker-user-drop", "first"), at(0));
    let (told, fate) = comes(&mut books, 10, 1, 0).unwrap();
    assert_eq!(
        (told.cause.summary.as_str(), told.count, fate),
        ("first", 9, Fate::Shown)
    );
    // Another rule, and the container has another name.
    books.sample(key, Fate::Shown, &drop("docker-user-drop", "second"), at(5));
    let (told, _) = comes(&mut books, 10, 1, 5).unwrap();
    assert_eq!(told.cause.summary, "second");
    assert_eq!(&*told.destination.container.unwrap().name, "second");
    // It is deliberate from now on.
    books.sample(
        key,
        Fate::Expected,
        &drop("docker-user-drop", "second"),
        at(6),
    );
    assert_eq!(comes(&mut books, 10, 1, 6).unwrap().1, Fate::Expected);
    // Ten minutes later a sample is on its way, and has another cause.
    assert!(comes(&mut books, 100, 1, 606).is_none());
    books.sample(key, Fate::Shown, &drop("forward-drop", "third"), at(606));
    let (told, fate) = comes(&mut books, 0, 0, 606).unwrap();
    assert_eq!(
        (told.cause.id.as_ref(), told.count, fate),
        ("forward-drop", 99, Fate::Shown)
    );
    // Where none is taken any more, what is known is all there is.
    let (told, _) = comes(&mut books, 50, 0, 1206).unwrap();
    assert_eq!((told.cause.id.as_ref(), told.count), ("forward-drop", 50));
}
