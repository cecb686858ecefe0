//! The rows of one grouping, as many as there is room for.

use std::{collections::HashMap, sync::Arc};

use super::row::Row;
use crate::model::Drop;

/// Rows of one grouping.
pub(super) const ROWS: usize = 512;
/// So many make room at once, so that it is sought seldom.
const ROOM: usize = ROWS / 8;

/// The rows by their key. Those that have been quiet longest make room for new ones; what they counted stays in the sum.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    rows: HashMap<String, Row>,
    /// Rows that had to go.
    pub(super) gone: u64,
    /// Their packets.
    pub(super) gone_packets: u64,
}

impl Table {
    pub(super) fn add(
        &mut self,
        (key, label): (String, String),
        drop: &Arc<Drop>,
        cause: &str,
        second: u64,
    ) {
        if self.rows.len() >= ROWS && !self.rows.contains_key(&key) {
            self.make_room();
        }
        let row = self
            .rows
            .entry(key)
            .or_insert_with_key(|key| Row::new(key.clone(), String::new(), drop.time, second));
        row.label = label;
        row.add(drop, cause, second);
    }

    fn make_room(&mut self) {
        let mut ages: Vec<(u64, u64, String)> = self
            .rows
            .values()
            .map(|row| (row.last_second, row.total, row.key.clone()))
            .collect();
        ages.sort_unstable();
        for (_, _, key) in ages.into_iter().take(ROOM) {
            if let Some(row) = self.rows.remove(&key) {
                self.gone += 1;
                self.gone_packets = self.gone_packets.saturating_add(row.total);
            }
        }
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }
}
