//! All base chains of a hook, one after the other.

use std::borrow::Cow;

use super::{
    ChainKind, CtState, Dropped, Env, Family, Firewall, FlowPacket, Site,
    order::{self, Seat},
    view,
    walk::Walk,
};
use crate::host::firewall::{
    eval::{Context, Truth},
    target::NatTarget,
};

/// Rules looked at for one packet. Damaged text could make chains that never end.
const BUDGET: u32 = 400_000;

/// What a walk found.
#[derive(Default)]
pub(in crate::host::firewall) struct Walked {
    /// What may drop the packet, in the order the kernel asks.
    pub(in crate::host::firewall) drops: Vec<Dropped>,
    /// Whether a way leads past all chains.
    pub(in crate::host::firewall) survives: bool,
    /// Address translations on the way, in order, with whether each is certainly done, and its rule.
    pub(in crate::host::firewall) nat: Vec<(NatTarget, bool, String)>,
    /// Rules on the way that keep the packet out of conntrack, or may.
    pub(in crate::host::firewall) untracked: Vec<Dropped>,
    /// Whether a rule has given the packet a template of conntrack's, with which it cannot be kept out any more.
    pub(in crate::host::firewall) template: Truth,
    /// First rule that could not be told.
    pub(in crate::host::firewall) first_doubt: Option<String>,
    /// The rules make no sense or are too many: nothing can be told.
    pub(in crate::host::firewall) gave_up: bool,
    /// What the packet is marked with behind all chains, as far as it is known, and its connection.
    pub(in crate::host::firewall) marks: (Option<u32>, Option<u32>),
}

/// Everything at `site` that may drop the packet.
pub(in crate::host::firewall) fn candidates(
    firewall: &Firewall,
    packet: &FlowPacket,
    site: &Site,
    env: &dyn Env,
) -> Walked {
    let seats = order::seats(firewall, packet, site);
    let changed = order::changed(&seats);
    let untracks = order::untracks(&seats);
    let mut walked = Walked {
        survives: true,
        ..Walked::default()
    };
    let is_ambiguous = firewall.is_ambiguous();
    let mut budget = BUDGET;
    let mut marks = Marks {
        packet: packet.mark,
        flow: packet.ct_mark,
    };
    // Whether a NAT chain has translated: then no other is asked.
    let mut translated = Truth::No;
    for group in seats.chunk_by(|a, b| a.at == b.at) {
        // Which of several tables of one priority comes first depends on the order they were made in.
        let writers = group.iter().filter(|seat| seat.marks).count();
        let mixed = group.len() > 1 && writers > 0;
        let mut after = if mixed { Marks::default() } else { marks };
        let dropped_before = walked.drops.len();
        let (mut ended, mut dropping) = (false, 0);
        for level in group.chunk_by(|a, b| a.base.priority == b.base.priority) {
            let mut rivals = Rivals::from(&walked);
            for seat in level {
                let Some(seen) = Seen::by(packet, seat, site, untracks, translated) else {
                    continue;
                };
                let (nats, drops) = (walked.nat.len(), walked.drops.len());
                let alone = !mixed || writers == 1 && seat.marks;
                let before = if alone { marks } else { Marks::default() };
                let mut walk = Walk {
                    backend: seat.backend,
                    is_ambiguous,
                    table: seat.table,
                    base: seat.base,
                    context: Context {
                        packet: &seen.packet,
                        hook: seat.base.hook,
                        family: seat.table.family,
                        changed: &changed,
                        env,
                        mark: before.packet,
                        ct_mark: before.flow,
                    },
                    path: Vec::new(),
                    doubts: Vec::new(),
                    alive: drops == 0,
                    walked: &mut walked,
                    accepted: false,
                    exits: 0,
                    budget: &mut budget,
                };
                let survives = walk.base_chain(seat.chain, seen.sure);
                if alone {
                    after = Marks {
                        packet: walk.context.mark,
                        flow: walk.context.ct_mark,
                    };
                    if !seen.sure {
                        after = after.or(before);
                    }
                }
                dropping += usize::from(walked.drops.len() > drops);
                let ends = !survives && seen.sure;
                if seat.base.kind == ChainKind::Nat {
                    rivals.acting +=
                        usize::from(walked.nat.len() > nats || walked.drops.len() > drops);
                    rivals.drops.extend(drops..walked.drops.len());
                    rivals.ended |= ends;
                } else {
                    ended |= ends;
                }
                if walked.gave_up {
                    return walked;
                }
            }
            ended |= rivals.settle(&mut walked, &mut translated);
        }
        marks = after;
        // Where two chains of one priority may drop it, which is asked first is not known.
        if dropping > 1 {
            for each in walked.drops.iter_mut().skip(dropped_before) {
                each.certain = false;
            }
        }
        // Nothing gets past a priority where all ways end.
        if ended {
            walked.survives = false;
            break;
        }
    }
    walked.marks = (marks.packet, marks.flow);
    walked
}

/// NAT chains of one priority: which of them is asked first is not known, and the first that translates is the last.
struct Rivals {
    /// Where their translations begin in [`Walked::nat`].
    nats: usize,
    /// Their drops' places in [`Walked::drops`].
    drops: Vec<usize>,
    /// How many translate or drop, or may.
    acting: usize,
    /// Whether one of them lets nothing pass.
    ended: bool,
}

impl Rivals {
    fn from(walked: &Walked) -> Self {
        Self {
            nats: walked.nat.len(),
            drops: Vec::new(),
            acting: 0,
            ended: false,
        }
    }

    /// After the last of them: whether no way leads on, and whether a later chain is asked at all.
    fn settle(self, walked: &mut Walked, translated: &mut Truth) -> bool {
        let nats = walked.nat.get_mut(self.nats..).unwrap_or_default();
        // Only who translates keeps a packet from another that ends it.
        let ended = self.ended && nats.is_empty();
        let Some((first, more)) = nats.split_first() else {
            return ended;
        };
        let sure = first.1 || more.iter().any(|(_, certain, _)| *certain);
        *translated = if sure { Truth::Yes } else { Truth::Maybe };
        let agree = self.drops.is_empty()
            && first.1
            && more
                .iter()
                .all(|(to, certain, _)| *certain && *to == first.0);
        if self.acting > 1 && !agree {
            for (_, certain, rule) in nats {
                *certain = false;
                *rule += " (another NAT chain has the same priority)";
            }
            for each in self.drops {
                if let Some(drop) = walked.drops.get_mut(each) {
                    drop.certain = false;
                }
            }
        }
        ended
    }
}

/// Marks of the packet and of its flow.
#[derive(Clone, Copy, Default)]
struct Marks {
    packet: Option<u32>,
    flow: Option<u32>,
}

impl Marks {
    /// What is known if either may be.
    fn or(self, other: Self) -> Self {
        Self {
            packet: self.packet.filter(|_| self.packet == other.packet),
            flow: self.flow.filter(|_| self.flow == other.flow),
        }
    }
}

/// The packet as a base chain sees it.
struct Seen<'a> {
    packet: Cow<'a, FlowPacket>,
    /// Whether it certainly sees the packet.
    sure: bool,
}

impl<'a> Seen<'a> {
    /// `None` if it does not see it.
    fn by(
        packet: &'a FlowPacket,
        seat: &Seat<'_>,
        site: &Site,
        untracks: bool,
        translated: Truth,
    ) -> Option<Self> {
        /// `IPS_CONFIRMED`: not the flow's first packet.
        const CONFIRMED: u32 = 8;
        let (base, nat) = (seat.base, seat.base.kind == ChainKind::Nat);
        let mut seen = view::seen_by(packet, base.hook, seat.at, nat);
        if seat.table.family == Family::Bridge {
            seen = view::in_bridge(seen, site.family == Some(Family::Bridge));
        }
        if untracks && seen.ct_state.0 & !CtState::NO_FLOW.0 == 0 {
            seen.to_mut().ct_state = CtState::NO_FLOW;
        }
        let mut sure = seat.sees == Truth::Yes
            && !(packet.is_ipv6().is_none() && order::of_one_version(seat.table));
        if nat {
            // Errors are translated as their flow is, without asking.
            let error = matches!(packet.proto, Some(1 | 58));
            let related = if error { 0 } else { CtState::RELATED.0 };
            let states = seen.ct_state.0 & (CtState::NEW.0 | related);
            let (known, value) = seen.ct_status;
            if states == 0 || known & value & CONFIRMED != 0 || translated == Truth::Yes {
                return None;
            }
            sure &= seen.ct_state == CtState::NEW && translated == Truth::No;
        }
        Some(Self { packet: seen, sure })
    }
}
