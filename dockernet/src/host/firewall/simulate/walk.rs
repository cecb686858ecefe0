//! The walk through one base chain: every way the packet may take, in one pass.

use super::{Backend, Base, CtState, Dropped, Rule, Step, Table, Target, hook::Walked};
use crate::host::firewall::{
    Match,
    eval::{Context, Truth},
    matching::{Elements, Key},
    model::{Chain, Policy},
    target::Verdict,
};

/// Jumps deeper than the kernel allows (`NFT_JUMP_STACK_SIZE` is 16).
const DEPTH: usize = 32;

/// Where a rule leads, besides out of the base chain.
#[derive(Clone, Copy)]
struct Ways {
    /// To the next rule.
    next: bool,
    /// Back to the calling chain.
    back: bool,
}

/// A base chain that is being walked.
pub(super) struct Walk<'a, 'b> {
    pub(super) backend: Backend,
    /// `iptables` alone may mean the other backend.
    pub(super) is_ambiguous: bool,
    pub(super) table: &'a Table,
    pub(super) base: &'a Base,
    pub(super) context: Context<'b>,
    pub(super) path: Vec<Step>,
    pub(super) doubts: Vec<String>,
    /// Whether the packet certainly came to this base chain.
    pub(super) alive: bool,
    pub(super) walked: &'b mut Walked,
    /// Whether a way leads on to the next base chain.
    pub(super) accepted: bool,
    /// How many times a way left this base chain.
    pub(super) exits: usize,
    pub(super) budget: &'b mut u32,
}

impl<'a> Walk<'a, '_> {
    /// Walks a base chain, its policy included. Tells whether a way leads past it.
    pub(super) fn base_chain(&mut self, chain: &'a Chain, sure: bool) -> bool {
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
            let cost = 1 + (weight(rule) + self.walked.drops.len()) / FREE;
            let cost = u32::try_from(cost).unwrap_or(u32::MAX);
            let Some(left) = self.budget.checked_sub(cost) else {
                self.walked.gave_up = true;
                return true;
            };
            *self.budget = left;
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
            Target::Continue | Target::When(_) | Target::Change(_) => NEXT,
            Target::Untrack => {
                // A packet that has a flow, or a template for one, keeps it (`notrack_tg`, net/netfilter/xt_CT.c).
                let flow = self.context.packet.ct_state.0 & !CtState::NO_FLOW.0 != 0;
                let sure = sure && self.walked.template == Truth::No;
                if !flow && self.walked.template != Truth::Yes {
                    let rule = self.spot(&chain.name, Some(rule), false, sure);
                    self.walked.untracked.push(rule);
                }
                NEXT
            }
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
            Target::Template => {
                let template = if sure { Truth::Yes } else { Truth::Maybe };
                self.walked.template = self.walked.template.or(template);
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
        let certain = sure && self.alive;
        let dropped = self.spot(chain, rule, reject, certain);
        self.walked.drops.push(dropped);
    }

    /// A rule, or the policy, with the way to it.
    fn spot(&self, chain: &str, rule: Option<&Rule>, reject: bool, certain: bool) -> Dropped {
        Dropped {
            backend: self.backend,
            is_ambiguous: self.is_ambiguous,
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
            certain,
            doubts: self.doubts.clone(),
        }
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

/// Elements of sets that cost no more than the rule that looks at them.
const FREE: usize = 256;

/// Elements that a rule may have to look at.
fn weight(rule: &Rule) -> usize {
    fn of(condition: &Match) -> usize {
        match condition {
            Match::Test { elements, .. } => elements.len(),
            Match::AnyOf { of: all, .. } => all.iter().map(of).sum(),
            Match::Unknown(_) => 0,
        }
    }
    let matches: usize = rule.matches.iter().map(of).sum();
    let targets = rule.targets.iter().map(|target| match target {
        Target::When(condition) => of(condition),
        Target::Vmap { entries, .. } => entries.len(),
        _ => 1,
    });
    matches + targets.sum::<usize>()
}
