//! By which process a namespace is opened.

use crate::host::netns::scan;

/// The processes by which a namespace can be opened.
#[derive(Debug, Default)]
pub(super) struct Openers {
    /// First processes of containers, as the engine told them: a container lives as long as they do.
    pub(super) inits: Vec<i32>,
    /// Processes of containers.
    pub(super) own: Vec<i32>,
    /// Others: a sandbox's, a pod's, or visitors such as `nsenter`.
    pub(super) others: Vec<i32>,
}

impl Openers {
    /// How many of a kind are compared.
    const COMPARED: usize = 64;

    /// The one that will be there longest, as far as can be told: by a visitor's, a health check's or `docker exec`'s process
    /// the namespace could soon not be found again.
    pub(super) fn best(&self) -> Option<i32> {
        let lists = [&self.inits, &self.own, &self.others];
        match lists.into_iter().find(|list| !list.is_empty())?.as_slice() {
            [only] => Some(*only),
            all => scan::oldest(all.get(..Self::COMPARED).unwrap_or(all)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{
        process::{Child, Command},
        thread,
        time::Duration,
    };

    use super::*;

    fn sleeper() -> (Child, i32) {
        // Longer than the clock's tick, which is 10 ms.
        thread::sleep(Duration::from_millis(30));
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id().try_into().unwrap();
        (child, pid)
    }

    #[test]
    fn a_namespace_is_opened_by_what_stays_longest() {
        let (mut children, pids): (Vec<Child>, Vec<i32>) = (0..4).map(|_| sleeper()).unzip();
        let openers = |inits: &[usize], own: &[usize], others: &[usize]| {
            let list = |places: &[usize]| places.iter().map(|place| pids[*place]).collect();
            let best = Openers {
                inits: list(inits),
                own: list(own),
                others: list(others),
            }
            .best();
            best.and_then(|best| pids.iter().position(|pid| *pid == best))
        };
        let found = [
            // A visitor from before the container was joined to the namespace.
            openers(&[], &[3, 2], &[0, 1]),
            // What was moved into a container later may be older than its first process.
            openers(&[2], &[1, 2], &[0]),
            // Two containers share it: the first one's.
            openers(&[3, 1], &[3, 2, 1], &[]),
            openers(&[], &[], &[2, 1]),
            openers(&[], &[], &[]),
        ];
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(found, [Some(2), Some(2), Some(1), Some(1), None]);
    }
}
