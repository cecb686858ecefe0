//! The walk itself: every way the packet may take, in one pass.

use std::borrow::Cow;

use super::{
    Backend, Base, ChainKind, CtState, Dropped, Env, Family, Firewall, FlowPacket, Rule, Site,
    Step, Table, Target,
    order::{self, Seat},
    view,
};
use crate::host::firewall::{
    eval::{Context, Truth},
    matching::{Elements, Key},
    model::{Chain, Policy},
    target::{NatTarget, Verdict},
};

/// Jumps deeper than the kernel allows (`NFT_JUMP_STACK_SIZE` is 16).
const DEPTH: usize = 32;
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
        for seat in group {
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
            if seat.base.kind == ChainKind::Nat && walked.nat.len() > nats {
                let sure = walked.nat.iter().skip(nats).any(|(_, sure, _)| *sure);
                translated = if sure { Truth::Yes } else { Truth::Maybe };
            }
            dropping += usize::from(walked.drops.len() > drops);
            ended |= !survives && seen.sure;
            if walked.gave_up {
                return walked;
            }
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
    walked
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

/// Where a rule leads, besides out of the base chain.
#[derive(Clone, Copy)]
struct Ways {
    /// To the next rule.
    next: bool,
    /// Back to the calling chain.
    back: bool,
}

struct Walk<'a, 'b> {
    backend: Backend,
    table: &'a Table,
    base: &'a Base,
    context: Context<'b>,
    path: Vec<Step>,
    doubts: Vec<String>,
    /// Whether the packet certainly came to this base chain.
    alive: bool,
    walked: &'b mut Walked,
    /// Whether a way leads on to the next base chain.
    accepted: bool,
    /// How many times a way left this base chain.
    exits: usize,
    budget: &'b mut u32,
}

impl<'a> Walk<'a, '_> {
    /// Walks a base chain, its policy included. Tells whether a way leads past it.
    fn base_chain(&mut self, chain: &'a Chain, sure: bool) -> bool {
        if self.chain(chain, sure) {
            match self.base.policy {
                Policy::Accept => return true,
                Policy::Drop => {
                    let sure = sure && self.exits == 0;
                    self.drop(&chain.name, None, false, sure);
                }
            }
        }
        self.accepted
    }

    /// Walks a chain that is reached certainly (`sure`) or perhaps. Tells whether a way comes back from it.
    fn chain(&mut self, chain: &'a Chain, mut sure: bool) -> bool {
        let mut back = false;
        if self.path.len() > DEPTH {
            self.walked.gave_up = true;
        }
        for rule in &chain.rules {
            if self.walked.gave_up {
                return true;
            }
            if *self.budget == 0 {
                self.walked.gave_up = true;
                return true;
            }
            *self.budget -= 1;
            let truth = self.context.all(&rule.matches);
            if truth == Truth::No {
                continue;
            }
            let exits = self.exits;
            let maybe = truth == Truth::Maybe;
            if maybe {
                self.doubts.push(rule.text.clone());
            }
            self.path.push(Step {
                chain: chain.name.clone(),
                number: rule.number,
            });
            let mut ways = self.rule(chain, rule, sure && !maybe);
            self.path.pop();
            if maybe {
                self.doubts.pop();
                ways.next = true;
                if ways.back || self.exits != exits {
                    self.doubt(&rule.text);
                }
            }
            back |= ways.back;
            if !ways.next {
                return back;
            }
            if ways.back || self.exits != exits {
                sure = false;
            }
        }
        true
    }

    fn rule(&mut self, chain: &'a Chain, rule: &'a Rule, mut sure: bool) -> Ways {
        let mut back = false;
        let exits = self.exits;
        // Whether a way leaves the rule before its end, and goes on with the next.
        let mut leaves = false;
        let doubts = self.doubts.len();
        for target in &rule.targets {
            if let Target::When(condition) = target {
                match self.context.one(condition) {
                    Truth::Yes => {}
                    Truth::No => break,
                    Truth::Maybe => {
                        (leaves, sure) = (true, false);
                        self.doubt(&rule.text);
                        self.doubts.push(rule.text.clone());
                    }
                }
                continue;
            }
            let ways = self.target(chain, rule, target, sure);
            back |= ways.back;
            if !ways.next {
                self.doubts.truncate(doubts);
                return Ways { next: leaves, back };
            }
            // A map without an entry for the packet ends the rule.
            let map = matches!(target, Target::Vmap { .. });
            leaves |= map;
            if map || ways.back || self.exits != exits {
                sure = false;
            }
        }
        self.doubts.truncate(doubts);
        Ways { next: true, back }
    }

    fn target(&mut self, chain: &'a Chain, rule: &'a Rule, target: &Target, sure: bool) -> Ways {
        const NEXT: Ways = Ways {
            next: true,
            back: false,
        };
        const BACK: Ways = Ways {
            next: false,
            back: true,
        };
        const GONE: Ways = Ways {
            next: false,
            back: false,
        };
        match target {
            // Conditions are looked at by the caller; what changes is unknown on the whole hook.
            Target::Continue | Target::When(_) | Target::Change(_) | Target::Untrack => NEXT,
            Target::SetMark { mask, value } => {
                let old = self.context.mark;
                let new = if *mask == u32::MAX {
                    Some(*value)
                } else {
                    old.map(|old| (old & !mask) ^ value)
                };
                self.context.mark = if sure || new == old { new } else { None };
                NEXT
            }
            Target::SetMarkUnknown => {
                self.context.mark = None;
                NEXT
            }
            Target::SetCtMark => {
                self.context.ct_mark = None;
                NEXT
            }
            Target::Accept | Target::Nat(_) => {
                if let Target::Nat(nat) = target {
                    self.walked.nat.push((nat.clone(), sure, rule.text.clone()));
                }
                self.accepted = true;
                self.exits += 1;
                GONE
            }
            Target::Drop | Target::Reject => {
                self.drop(&chain.name, Some(rule), *target == Target::Reject, sure);
                GONE
            }
            Target::Return => BACK,
            Target::Jump(to) => Ways {
                next: self.enter(to, sure),
                back: false,
            },
            Target::Goto(to) => Ways {
                next: false,
                back: self.enter(to, sure),
            },
            Target::Unknown(what) => {
                self.doubt(&rule.text);
                self.doubts.push(what.clone());
                self.drop(&chain.name, Some(rule), false, false);
                self.doubts.pop();
                self.accepted = true;
                self.exits += 1;
                NEXT
            }
            Target::Vmap {
                keys,
                entries,
                dynamic,
            } => self.look_up(chain, rule, (keys, entries, *dynamic), sure),
        }
    }

    /// A verdict map. Its keys are disjoint: where one certainly holds, no other does.
    fn look_up(
        &mut self,
        chain: &'a Chain,
        rule: &'a Rule,
        (keys, entries, dynamic): (&[Key], &[(Elements, Verdict)], bool),
        sure: bool,
    ) -> Ways {
        let found = entries
            .iter()
            .find(|(element, _)| self.context.entry(keys, element) == Truth::Yes);
        if let (Some((_, verdict)), false) = (found, dynamic) {
            return self.target(chain, rule, &verdict.target(), sure);
        }
        let mut ways = Ways {
            next: true,
            back: false,
        };
        for (element, verdict) in entries {
            if self.context.entry(keys, element) != Truth::No {
                self.doubt(&rule.text);
                self.doubts.push(rule.text.clone());
                let some = self.target(chain, rule, &verdict.target(), false);
                self.doubts.pop();
                ways.back |= some.back;
            }
        }
        ways
    }

    fn enter(&mut self, name: &str, sure: bool) -> bool {
        let Some(chain) = self.table.chain(name) else {
            self.walked.gave_up = true;
            return true;
        };
        self.chain(chain, sure)
    }

    fn doubt(&mut self, text: &str) {
        if self.walked.first_doubt.is_none() {
            self.walked.first_doubt = Some(text.to_owned());
        }
    }

    fn drop(&mut self, chain: &str, rule: Option<&Rule>, reject: bool, sure: bool) {
        self.exits += 1;
        // A rule that is reached by two ways is one candidate.
        if let Some(known) = self.walked.drops.iter_mut().find(|known| {
            known.backend == self.backend
                && known.family == self.table.family
                && known.table == self.table.name
                && known.chain == chain
                && known.rule.as_ref().map(|rule| rule.number) == rule.map(|rule| rule.number)
        }) {
            known.certain |= sure && self.alive;
            return;
        }
        self.walked.drops.push(Dropped {
            backend: self.backend,
            family: self.table.family,
            table: self.table.name.clone(),
            chain: chain.to_owned(),
            hook: self.base.hook,
            priority: self.base.priority,
            rule: rule.map(|rule| Box::new(rule.clone())),
            policy_counter: if rule.is_none() {
                self.base.counter
            } else {
                None
            },
            reject,
            path: self.path.clone(),
            certain: sure && self.alive,
            doubts: self.doubts.clone(),
        });
    }
}

impl Verdict {
    fn target(&self) -> Target {
        match self {
            Self::Accept => Target::Accept,
            Self::Drop => Target::Drop,
            Self::Continue => Target::Continue,
            Self::Return => Target::Return,
            Self::Jump(to) => Target::Jump(to.clone()),
            Self::Goto(to) => Target::Goto(to.clone()),
            Self::Unknown(what) => Target::Unknown(what.clone()),
        }
    }
}
