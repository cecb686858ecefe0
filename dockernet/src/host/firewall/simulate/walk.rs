//! The walk itself: every way the packet may take, in one pass.

use super::{
    Backend, Base, ChainKind, CtState, Dropped, Env, Family, Firewall, FlowPacket, Hook, Rule,
    Site, Step, Table, view,
};
use crate::host::firewall::{
    eval::{Context, Truth},
    matching::{Elements, Key},
    model::{Chain, Policy},
    target::{NatTarget, Target, Verdict},
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
    let mut chains: Vec<(Backend, &Table, &Chain, &Base)> = firewall
        .tables()
        .filter(|(backend, table)| site.takes(*backend, table.family, packet.is_ipv6()))
        .flat_map(|(backend, table)| {
            table.chains.iter().filter_map(move |chain| {
                let base = chain.base.as_ref()?;
                Some((backend, table, chain, base))
            })
        })
        .filter(|(.., base)| base.hook == site.hook && bound(base, packet))
        .filter(|(.., base)| !site.rules_out(base.priority, packet))
        .collect();
    chains.sort_by_key(|(.., base)| base.priority);

    let mut walked = Walked {
        survives: true,
        ..Walked::default()
    };
    let mut budget = BUDGET;
    let mut mark = packet.mark;
    let mut ct_mark = packet.ct_mark;
    let mut ended_at = None;
    for (backend, table, chain, base) in chains {
        // Nothing gets past a priority where all ways end; which of several tables of one priority comes
        // first depends on the order they were made in.
        if ended_at.is_some_and(|priority| priority != base.priority) {
            break;
        }
        let seen = view::seen_by(packet, base.hook, base.priority);
        let seen = match table.family {
            Family::Bridge => view::in_bridge(seen, site.family == Some(Family::Bridge)),
            _ => seen,
        };
        let sure = match base.kind {
            ChainKind::Nat => match seen.ct_state.0 & (CtState::NEW | CtState::RELATED).0 {
                0 => continue,
                states => states == seen.ct_state.0 && states == CtState::NEW.0,
            },
            ChainKind::Filter | ChainKind::Route => true,
        } && walked.drops.is_empty();
        let unclear_family = packet.is_ipv6().is_none() && table.family != Family::Inet;
        let mut walk = Walk {
            backend,
            table,
            base,
            context: Context {
                packet: &seen,
                hook: base.hook,
                env,
                mark,
                ct_mark,
            },
            path: Vec::new(),
            doubts: Vec::new(),
            walked: &mut walked,
            accepted: false,
            exits: 0,
            budget: &mut budget,
        };
        let dropped_before = walk.walked.drops.len();
        let sure = sure && !unclear_family;
        let comes_back = walk.chain(chain, sure);
        let mut survives = walk.accepted;
        if comes_back {
            match base.policy {
                Policy::Accept => survives = true,
                Policy::Drop => {
                    let sure = sure && walk.exits == 0;
                    walk.drop(&chain.name, None, false, sure);
                }
            }
        }
        mark = walk.context.mark;
        ct_mark = walk.context.ct_mark;
        let optional = unclear_family || base.kind == ChainKind::Nat && !sure;
        if dropped_before > 0 && ended_at.is_some() && walked.drops.len() > dropped_before {
            for each in &mut walked.drops {
                each.certain = false;
            }
        }
        if !survives && !optional && ended_at.is_none() {
            ended_at = Some(base.priority);
            walked.survives = false;
        }
        if walked.gave_up {
            break;
        }
    }
    walked
}

/// Whether a chain that is bound to devices sees the packet.
fn bound(base: &Base, packet: &FlowPacket) -> bool {
    let device = match base.hook {
        Hook::Ingress => packet.iif.as_ref(),
        Hook::Egress => packet.oif.as_ref(),
        _ => None,
    };
    match device {
        Some(device) => base.devices.is_empty() || base.devices.contains(device),
        None => true,
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
    walked: &'b mut Walked,
    /// Whether a way leads on to the next base chain.
    accepted: bool,
    /// How many times a way left this base chain.
    exits: usize,
    budget: &'b mut u32,
}

impl<'a> Walk<'a, '_> {
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
        for target in &rule.targets {
            let ways = self.target(chain, rule, target, sure);
            back |= ways.back;
            if !ways.next {
                return Ways { next: false, back };
            }
            if ways.back || self.exits != exits {
                sure = false;
            }
        }
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
            Target::Continue => NEXT,
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
            known.certain |= sure;
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
            certain: sure,
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
