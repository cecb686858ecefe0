//! What of the host's configuration has changed while we look: settings, links, addresses, routes, firewall, engine.
//!
//! A thread of its own listens (rtnetlink's and nftables' notices) and writes into a small ring; who asks the ring waits
//! for nobody. It also counts notices: what was read of the host ends with the next one. The thread sleeps while nothing changes.

mod firewall;
mod netconf;
mod rtnl;
mod watch;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use ipnet::IpNet;
use jiff::Timestamp;

pub(crate) use firewall::is_foreign_generation;
pub(crate) use netconf::attribute;
pub use watch::start;
pub(crate) use watch::{listen, messages};

/// Changes remembered.
const REMEMBERED: usize = 128;

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A kernel setting, by its key with slashes.
    Setting(String),
    /// A link's state, MTU or place.
    Link(String),
    /// An address of a link.
    Address {
        /// The link.
        device: String,
        /// The address.
        address: IpNet,
    },
    /// A route.
    Route(IpNet),
    /// A policy rule.
    Rule,
    /// The firewall's rules.
    Firewall,
    /// The container engine.
    Engine,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When it was heard of, a moment after it happened.
    pub at: Timestamp,
    /// What it was.
    pub subject: Subject,
    /// In words, to follow "after": `net.ipv4.ip_forward became 0`.
    pub what: String,
}

/// The ring, shared between who listens and who asks.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    ring: Arc<Mutex<VecDeque<Change>>>,
    heard: Arc<Heard>,
}

/// How many notices there were: what was read of the host holds while their number stays.
#[derive(Debug, Default)]
struct Heard {
    all: AtomicU64,
    rules: AtomicU64,
}

impl Changes {
    /// The number of notices so far, of whatever it was. It stays 0 where nobody listens.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.heard.all.load(Ordering::Acquire)
    }

    /// The number of nftables' notices so far.
    #[must_use]
    pub fn heard_of_rules(&self) -> u64 {
        self.heard.rules.load(Ordering::Acquire)
    }

    /// Counts a notice, whether or not there are words for it.
    fn hear(&self, is_of_rules: bool) {
        if is_of_rules {
            self.heard.rules.fetch_add(1, Ordering::Release);
        }
        self.heard.all.fetch_add(1, Ordering::Release);
    }

    /// Remembers a change as of now.
    pub fn push(&self, subject: Subject, what: String) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() >= REMEMBERED {
            ring.pop_front();
        }
        ring.push_back(Change {
            at: Timestamp::now(),
            subject,
            what,
        });
    }

    /// The latest that satisfies `wanted`, and lies between the two instants.
    #[must_use]
    pub fn latest(
        &self,
        from: Timestamp,
        to: Timestamp,
        wanted: impl Fn(&Change) -> bool,
    ) -> Option<Change> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.iter()
            .rev()
            .find(|change| from <= change.at && change.at <= to && wanted(change))
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_forgets_the_oldest_and_finds_the_latest() {
        let changes = Changes::default();
        let start = Timestamp::now();
        for number in 0..REMEMBERED + 10 {
            changes.push(Subject::Firewall, number.to_string());
        }
        let end = Timestamp::now();
        let found = |wanted: &str| {
            changes
                .latest(start, end, |change| change.what == wanted)
                .is_some()
        };
        assert!(!found("9"));
        assert!(found("10"));
        let latest = changes.latest(start, end, |_| true);
        assert_eq!(
            latest.map(|change| change.what),
            Some((REMEMBERED + 9).to_string())
        );
        assert!(
            changes
                .latest(start, start - jiff::SignedDuration::from_secs(1), |_| true)
                .is_none()
        );
    }
}
