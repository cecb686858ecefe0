//! Samples of namespaces and addresses that the inventory has not seen yet: a container's first packets die before
//! anybody has told us of it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use dockernet_common::record::DropRecord;

/// How long a sample waits for its name.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// How many may wait; beyond that the oldest goes without.
const CROWD: usize = 4096;

/// Samples that wait.
#[derive(Default)]
pub(super) struct Waiting {
    queue: VecDeque<(Instant, DropRecord)>,
}

impl Waiting {
    /// Lets a sample wait. Returns the one that has to go for it.
    pub(super) fn push(&mut self, record: DropRecord) -> Option<DropRecord> {
        self.queue.push_back((Instant::now(), record));
        if self.queue.len() > CROWD {
            self.queue.pop_front().map(|(_, record)| record)
        } else {
            None
        }
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Those that wait.
    pub(super) fn records(&self) -> impl Iterator<Item = &DropRecord> {
        self.queue.iter().map(|(_, record)| record)
    }

    /// Those that need not wait any longer: named by now, or out of patience (`all`: everybody); so many at most.
    pub(super) fn take(
        &mut self,
        all: bool,
        most: usize,
        mut known: impl FnMut(&DropRecord) -> bool,
    ) -> Vec<DropRecord> {
        let now = Instant::now();
        let mut ready = Vec::new();
        self.queue.retain(|(since, record)| {
            let go = ready.len() < most && (all || now - *since >= PATIENCE || known(record));
            if go {
                ready.push(*record);
            }
            !go
        });
        if self.queue.is_empty() {
            // A crowd is megabytes, and may not come again for months.
            self.queue = VecDeque::new();
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_bounded_and_its_room_goes_with_it() {
        let mut waiting = Waiting::default();
        let record = crate::cause::tests::record();
        let mut gone = 0;
        for _ in 0..CROWD + 100 {
            gone += usize::from(waiting.push(record).is_some());
        }
        assert_eq!((waiting.queue.len(), gone), (CROWD, 100));
        assert!(waiting.take(false, CROWD, |_| false).is_empty());
        assert_eq!(waiting.take(false, 96, |_| true).len(), 96);
        assert_eq!(waiting.take(false, CROWD, |_| true).len(), CROWD - 96);
        assert!(waiting.is_empty() && waiting.queue.capacity() == 0);
    }
}
