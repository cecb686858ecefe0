//! Maps that user space writes and the kernel half reads.

use std::{collections::HashMap, hash::Hash};

use anyhow::Result;
use aya::{
    Pod,
    maps::{MapData, MapError},
};

/// A map of the kernel half's that user space alone writes: changes cost a system call each, the rest nothing.
pub(super) struct Mirror<K, V> {
    map: aya::maps::HashMap<MapData, K, V>,
    present: HashMap<K, V>,
    /// That it is full was told.
    is_full: bool,
}

impl<K: Pod + Eq + Hash, V: Pod + PartialEq> Mirror<K, V> {
    pub(super) fn new(map: aya::maps::HashMap<MapData, K, V>) -> Self {
        Self {
            map,
            present: HashMap::new(),
            is_full: false,
        }
    }

    /// Makes the map hold exactly this, or as much of it as there is room for. True: something changed.
    pub(super) fn set(&mut self, mut wanted: HashMap<K, V>) -> Result<bool> {
        let mut is_changed = false;
        for key in self.present.keys().filter(|key| !wanted.contains_key(*key)) {
            self.map.remove(key)?;
            is_changed = true;
        }
        let mut refused = Vec::new();
        for (key, value) in &wanted {
            if self.present.get(key) == Some(value) {
                continue;
            }
            match self.map.insert(*key, *value, 0) {
                Err(error) if has_no_room(&error) => refused.push(*key),
                inserted => {
                    inserted?;
                    is_changed = true;
                }
            }
        }
        if !refused.is_empty() && !self.is_full {
            // What it says of the others still holds: no reason to end.
            log::warn!(
                "{} addresses, ports or namespaces are more than the kernel half has room or memory for: drops and flows of {} are not told apart from others'",
                wanted.len(),
                refused.len()
            );
        }
        self.is_full = !refused.is_empty();
        for key in refused {
            // What it was before is there still.
            match self.present.get(&key) {
                Some(old) => wanted.insert(key, *old),
                None => wanted.remove(&key),
            };
        }
        self.present = wanted;
        Ok(is_changed)
    }
}

/// The kernel's answer to one entry too many (`E2BIG`, kernel/bpf/hashtab.c), and to one that it has no memory for at the moment: entries
/// are not made beforehand. It is tried again with the next change.
fn has_no_room(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error) if matches!(error.io_error.raw_os_error(), Some(libc::E2BIG | libc::ENOMEM)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// A real map; without the right to make one (not root) there is nothing to test.
    #[test]
    fn a_full_map_keeps_what_it_has_and_takes_more_when_there_is_room() {
        let Ok(map) = aya::maps::HashMap::create(4, 0) else {
            assert!(!nix::unistd::geteuid().is_root());
            return;
        };
        let mut mirror: Mirror<u32, u32> = Mirror::new(map);
        let numbers = |range: std::ops::Range<u32>| range.map(|n| (n, n)).collect();
        assert!(mirror.set(numbers(0..6)).unwrap());
        assert_eq!((mirror.present.len(), mirror.map.keys().count()), (4, 4));
        assert!(mirror.set(numbers(4..6)).unwrap());
        assert!(!mirror.set(numbers(4..6)).unwrap());
        assert!(mirror.set(HashMap::from([(4, 4), (5, 6)])).unwrap());
        assert_eq!((mirror.present.len(), mirror.map.keys().count()), (2, 2));
    }
}
