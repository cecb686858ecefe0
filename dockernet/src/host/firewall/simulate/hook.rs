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
    /// First rule that could not be told.
    pub(in crate::host::firewall) first_doubt: Option<String>,
    /// The rules make no sense or are too many: nothing can be told.
    pub(in crate::host::firewall) gave_up: bool,
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
        let mut rivals = Rivals::default();
        for seat in group {
            if seat.base.priority != rivals.priority {
                ended |= rivals.settle(&mut walked, &mut translated);
                rivals = Rivals::of(seat.base.priority, &walked);
            }
            let Some(seen) = Seen::by(packet, seat, site, untracks, translated) else {
                continue;
            };
            let (nats, drops) = (walked.nat.len(), walked.drops.len());
            let alone = !mixed || writers == 1 && seat.marks;
            let before = if alone { marks } else { Marks::default() };
            let mut walk = Walk {
                backend: seat.backend,
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
                let acts = walked.nat.len() > nats || walked.drops.len() > drops;
                rivals.acting += usize::from(acts);
                rivals.ended |= ends;
            } else {
                ended |= ends;
            }
            if walked.gave_up {
                return walked;
            }
        }
        ended |= rivals.settle(&mut walked, &mut translated);
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
    walked
}

/// NAT chains of one priority: which of them is asked first is not known, and the first that translates is the last.
#[derive(Default)]
struct Rivals {
    priority: i32,
    /// Where what they did begins in [`Walked::nat`] and [`Walked::drops`].
    nats: usize,
    drops: usize,
    /// How many translate or drop, or may.
    acting: usize,
    /// Whether one of them lets nothing pass.
    ended: bool,
}

impl Rivals {
    fn of(priority: i32, walked: &Walked) -> Self {
        Self {
            priority,
            nats: walked.nat.len(),
            drops: walked.drops.len(),
            ..Self::default()
        }
    }

    /// After the last of them: whether no way leads on, and whether a later chain is asked at all.
    fn settle(&mut self, walked: &mut Walked, translated: &mut Truth) -> bool {
        let alone = self.acting < 2;
        let mut nats = walked.nat.iter_mut().skip(self.nats).peekable();
        if self.acting > 0 && nats.peek().is_some() {
            let mut sure = false;
            for (_, certain, _) in nats {
                *certain &= alone;
                sure |= *certain;
            }
            *translated = if sure { Truth::Yes } else { Truth::Maybe };
        }
        if !alone {
            for each in walked.drops.iter_mut().skip(self.drops) {
                each.certain = false;
            }
        }
        let ended = alone && self.ended;
        *self = Self::of(self.priority, walked);
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
