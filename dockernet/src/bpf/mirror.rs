//! Maps that user space writes and the kernel half reads.

use std::{collections::HashMap, hash::Hash};

use anyhow::Result;
use aya::{Pod, maps::MapData};

/// A map of the kernel half's that user space alone writes: changes cost a system call each, the rest nothing.
pub(super) struct Mirror<K, V> {
    map: aya::maps::HashMap<MapData, K, V>,
    present: HashMap<K, V>,
}

impl<K: Pod + Eq + Hash, V: Pod + PartialEq> Mirror<K, V> {
    pub(super) fn new(map: aya::maps::HashMap<MapData, K, V>) -> Self {
        Self {
            map,
            present: HashMap::new(),
        }
    }

    /// Makes the map hold exactly this.
    pub(super) fn set(&mut self, wanted: HashMap<K, V>) -> Result<()> {
        for key in self.present.keys().filter(|key| !wanted.contains_key(*key)) {
            self.map.remove(key)?;
        }
        for (key, value) in &wanted {
            if self.present.get(key) != Some(value) {
                self.map.insert(*key, *value, 0)?;
            }
        }
        self.present = wanted;
        Ok(())
    }
}
