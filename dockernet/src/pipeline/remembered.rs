//! Verdicts of the last second: a storm asks the same question again and again.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use dockernet_common::{count::CountKey, record::Settings};

use crate::{cause::Verdict, evidence::Evidence, host::firewall::Traced};

/// How long a verdict holds. The host's settings may change behind it.
const HOLDS: Duration = Duration::from_secs(1);
/// Remembered at most.
const CROWD: usize = 4096;

/// What a verdict depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    key: CountKey,
    src: Option<IpAddr>,
    dst: Option<IpAddr>,
    ports: [Option<u16>; 2],
    flags: Option<String>,
    icmp: Option<(u8, u8)>,
    settings: Settings,
    hook: Option<String>,
    status: u32,
    mark: u32,
    stack: Vec<String>,
    traced: Option<Traced>,
}

impl Question {
    /// The one that a drop asks.
    pub(crate) fn of(evidence: &Evidence, traced: Option<&Traced>) -> Self {
        let packet = evidence.drop.packet.as_ref();
        let src_port = packet.and_then(|packet| packet.src_port);
        Self {
            key: evidence.record.key,
            src: packet.and_then(|packet| packet.src),
            dst: packet.and_then(|packet| packet.dst),
            // A client's port changes with every connection and decides nothing; a service's does.
            ports: [
                src_port.filter(|&port| port < 32768),
                packet.and_then(|packet| packet.dst_port),
            ],
            flags: packet.and_then(|packet| packet.tcp_flags.clone()),
            icmp: packet
                .and_then(|packet| packet.icmp.as_ref())
                .map(|icmp| (icmp.icmp_type, icmp.code)),
            settings: evidence.record.settings,
            hook: evidence.drop.hook.clone(),
            status: evidence.record.conntrack.status,
            mark: packet.map_or(0, |packet| packet.mark),
            stack: evidence.stack().iter().take(4).cloned().collect(),
            traced: traced.cloned(),
        }
    }
}

/// The verdicts, each with when it was found.
#[derive(Default)]
pub(super) struct Remembered {
    verdicts: HashMap<Question, (Instant, Option<Verdict>)>,
    swept: Option<Instant>,
}

impl Remembered {
    /// The verdict on this question, if one holds. (`Some(None)`: the catalogue has no cause for it.)
    pub(super) fn verdict(&self, question: &Question, now: Instant) -> Option<&Option<Verdict>> {
        let (found, verdict) = self.verdicts.get(question)?;
        holds(*found, now).then_some(verdict)
    }

    /// Remembers one, unless there are too many: there is room again at the next sweep.
    pub(super) fn put(&mut self, question: Question, verdict: Option<Verdict>, now: Instant) {
        if self.verdicts.len() < CROWD || self.verdicts.contains_key(&question) {
            self.verdicts.insert(question, (now, verdict));
        }
    }

    /// Forgets what no longer holds, once a second: a verdict has pages of evidence, and nobody asks for an old one.
    pub(super) fn sweep(&mut self, now: Instant) {
        if self.verdicts.is_empty() || self.swept.is_some_and(|swept| holds(swept, now)) {
            return;
        }
        self.swept = Some(now);
        self.verdicts.retain(|_, (found, _)| holds(*found, now));
        if self.verdicts.is_empty() {
            // After a storm its room goes too.
            self.verdicts = HashMap::new();
        }
    }
}

fn holds(found: Instant, now: Instant) -> bool {
    now.saturating_duration_since(found) < HOLDS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(number: u16) -> Question {
        Question {
            key: CountKey::default(),
            src: None,
            dst: None,
            ports: [None, Some(number)],
            flags: None,
            icmp: None,
            settings: Settings::UNREAD,
            hook: None,
            status: 0,
            mark: 0,
            stack: Vec::new(),
            traced: None,
        }
    }

    #[test]
    fn a_verdict_holds_for_a_second() {
        let mut remembered = Remembered::default();
        let start = Instant::now();
        remembered.put(question(1), None, start);
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(remembered.verdict(&question(1), at(999)), Some(&None));
        assert_eq!(remembered.verdict(&question(2), at(999)), None);
        assert_eq!(remembered.verdict(&question(1), at(1000)), None);
        // Found anew.
        remembered.put(question(1), None, at(1000));
        assert_eq!(remembered.verdict(&question(1), at(1500)), Some(&None));
    }

    #[test]
    fn what_no_longer_holds_is_forgotten_and_the_rest_is_bounded() {
        let mut remembered = Remembered::default();
        let start = Instant::now();
        for round in 0..60_u64 {
            let now = start + Duration::from_secs(2 * round);
            remembered.sweep(now);
            assert!(remembered.verdicts.is_empty(), "{round}");
            for number in 0..10_000 {
                remembered.put(question(number), None, now);
            }
            assert_eq!(remembered.verdicts.len(), CROWD);
            // Not swept more often than once a second.
            remembered.sweep(now + Duration::from_millis(500));
            assert_eq!(remembered.verdicts.len(), CROWD);
        }
        remembered.sweep(start + Duration::from_secs(120));
        assert_eq!(remembered.verdicts.capacity(), 0);
    }
}
