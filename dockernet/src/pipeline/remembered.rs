//! Verdicts of the last second: a storm asks the same question again and again. A notice of the kernel's that something has
//! changed ends them earlier.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use dockernet_common::{count::CountKey, record::Settings};

use crate::{cause::Verdict, evidence::Evidence, host::firewall::Traced};

/// How long a verdict holds. The host's settings may change behind it, and of some there are no notices.
const HOLDS: Duration = Duration::from_secs(1);
/// In a second at most so much time goes into verdicts that a notice has ended: where notices never cease, a tenth of a core.
const ANEW: Duration = Duration::from_millis(100);
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

/// A verdict.
struct Kept {
    /// When it was found, after the host was asked.
    at: Instant,
    /// How many notices there were before it was looked for.
    heard: u64,
    verdict: Option<Verdict>,
}

/// The verdicts.
#[derive(Default)]
pub(super) struct Remembered {
    verdicts: HashMap<Question, Kept>,
    swept: Option<Instant>,
    /// Since when time was counted that went into verdicts that a notice had ended, and how much.
    anew: Option<(Instant, Duration)>,
}

impl Remembered {
    /// The verdict on this question, if one holds. (`Some(None)`: the catalogue has no cause for it.)
    pub(super) fn verdict(
        &self,
        question: &Question,
        heard: u64,
        now: Instant,
    ) -> Option<&Option<Verdict>> {
        let kept = self.verdicts.get(question)?;
        let is_over = || {
            self.anew
                .is_some_and(|(since, spent)| holds(since, now) && spent >= ANEW)
        };
        (holds(kept.at, now) && (kept.heard == heard || is_over())).then_some(&kept.verdict)
    }

    /// Remembers one that was looked for from `asked` until `found`, after so many notices; unless there are too many: there is
    /// room again at the next sweep.
    pub(super) fn put(
        &mut self,
        question: Question,
        verdict: Option<Verdict>,
        heard: u64,
        (asked, found): (Instant, Instant),
    ) {
        let old = self.verdicts.get(&question);
        if old.is_some_and(|old| holds(old.at, asked)) {
            let (since, spent) = self
                .anew
                .filter(|(since, _)| holds(*since, found))
                .unwrap_or((found, Duration::ZERO));
            self.anew = Some((since, spent + found.saturating_duration_since(asked)));
        }
        if self.verdicts.len() < CROWD || old.is_some() {
            let kept = Kept {
                at: found,
                heard,
                verdict,
            };
            self.verdicts.insert(question, kept);
        }
    }

    /// Whether nothing is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.verdicts.is_empty()
    }

    /// Forgets what no longer holds, once a second: a verdict has pages of evidence, and nobody asks for an old one.
    pub(super) fn sweep(&mut self, now: Instant) {
        if self.verdicts.is_empty() || self.swept.is_some_and(|swept| holds(swept, now)) {
            return;
        }
        self.swept = Some(now);
        self.verdicts.retain(|_, kept| holds(kept.at, now));
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

    fn put(remembered: &mut Remembered, number: u16, heard: u64, found: Instant, took: Duration) {
        remembered.put(question(number), None, heard, (found - took, found));
    }

    #[test]
    fn a_verdict_holds_for_a_second() {
        let mut remembered = Remembered::default();
        let start = Instant::now();
        put(&mut remembered, 1, 0, start, Duration::ZERO);
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(remembered.verdict(&question(1), 0, at(999)), Some(&None));
        assert_eq!(remembered.verdict(&question(2), 0, at(999)), None);
        assert_eq!(remembered.verdict(&question(1), 0, at(1000)), None);
        // Found anew.
        put(&mut remembered, 1, 0, at(1000), Duration::ZERO);
        assert_eq!(remembered.verdict(&question(1), 0, at(1500)), Some(&None));
    }

    #[test]
    fn a_notice_ends_a_verdict_unless_they_never_cease() {
        let mut remembered = Remembered::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let holds = |remembered: &Remembered, heard, millis| {
            remembered
                .verdict(&question(1), heard, at(millis))
                .is_some()
        };
        put(&mut remembered, 1, 7, start, Duration::from_millis(60));
        assert!(holds(&remembered, 7, 100));
        assert!(!holds(&remembered, 8, 100));
        // The first was for a new question; the next two come of notices.
        put(&mut remembered, 1, 8, at(100), Duration::from_millis(60));
        assert!(!holds(&remembered, 9, 200));
        put(&mut remembered, 1, 9, at(200), Duration::from_millis(60));
        assert!(holds(&remembered, 10, 300));
        // One that takes seconds too.
        let mut slow = Remembered::default();
        put(&mut slow, 1, 0, at(0), Duration::ZERO);
        put(&mut slow, 1, 1, at(5000), Duration::from_millis(4500));
        assert!(holds(&slow, 2, 5999) && !holds(&slow, 2, 6000));
        // For a second at most.
        assert!(!holds(&remembered, 10, 1200));
        put(&mut remembered, 1, 10, at(1200), Duration::from_millis(60));
        assert!(!holds(&remembered, 11, 1300));
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
                put(&mut remembered, number, 0, now, Duration::ZERO);
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
