//! Flows that the host itself began: their answers leave by no device, so conntrack is asked whether there was one.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::Result;
use dockernet_common::{conntrack::status, nat::NatRecord};

use super::open::Open;
use crate::{
    host::{
        conntrack::{self, Table},
        netns::NetnsHandle,
    },
    model::Transition,
};

/// From the first packet to each question.
const TRIES: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(3)];
/// How many may wait to be asked about; the rest goes without.
const CROWD: usize = 4096;

struct Asked {
    due: Instant,
    tries: usize,
    record: NatRecord,
    transition: Transition,
}

/// Flows that are to be asked about.
pub(super) struct Askable {
    netns: NetnsHandle,
    /// Until asking has failed for want of ctnetlink: looking for that takes time, which a start has not.
    can_ask: bool,
    queues: [VecDeque<Asked>; TRIES.len()],
}

impl Askable {
    pub(super) fn new(netns: NetnsHandle) -> Self {
        Self {
            netns,
            can_ask: true,
            queues: Default::default(),
        }
    }

    /// Will be asked about unless it is answered before.
    pub(super) fn push(&mut self, record: &NatRecord, transition: &Transition) {
        if let [first, ..] = &mut self.queues
            && first.len() < CROWD
            && self.can_ask
        {
            first.push_back(Asked {
                due: Instant::now() + TRIES[0],
                tries: 0,
                record: *record,
                transition: transition.clone(),
            });
        }
    }

    /// Those that have been answered, as conntrack says. `all`: also those that are not due.
    pub(super) fn answered(&mut self, open: &mut Open, all: bool) -> Vec<Transition> {
        let now = Instant::now();
        let mut due = Vec::new();
        for queue in &mut self.queues {
            while queue.front().is_some_and(|asked| all || asked.due <= now) {
                due.extend(queue.pop_front());
            }
            if queue.is_empty() {
                // What a crowd took is given back.
                *queue = VecDeque::new();
            }
        }
        due.retain(|asked| {
            let record = &asked.record;
            open.contains(record.conntrack, &record.original, &record.reply)
        });
        if due.is_empty() {
            return Vec::new();
        }
        let answers = self.netns.run(|| -> Result<Vec<bool>> {
            let mut table = Table::open_here()?;
            due.iter()
                .map(|asked| {
                    let entry = table.get(&asked.record.original)?;
                    Ok(entry.is_some_and(|entry| {
                        entry.reply == asked.record.reply && entry.status & status::SEEN_REPLY != 0
                    }))
                })
                .collect()
        });
        let answers = answers.and_then(|answers| answers).unwrap_or_else(|error| {
            log::debug!("asking conntrack about answers: {error:#}");
            self.can_ask = conntrack::is_loaded();
            Vec::new()
        });
        let mut found = Vec::new();
        for (asked, is_answered) in due.into_iter().zip(answers) {
            if is_answered {
                let _opened = open.take(&asked.record);
                found.push(Transition {
                    replied: true,
                    ..asked.transition
                });
            } else if let Some(queue) = self.queues.get_mut(asked.tries + 1) {
                queue.push_back(Asked {
                    due: now + TRIES[asked.tries + 1],
                    tries: asked.tries + 1,
                    ..asked
                });
            }
        }
        found
    }

    /// Whether somebody is to be asked about.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }
}
