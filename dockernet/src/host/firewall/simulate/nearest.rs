//! Why a policy came to drop a packet: of the rules before it that accept, the one that nearly did.

use std::{collections::HashSet, fmt};

use super::{Dropped, Env, Family, Firewall, FlowPacket, Rule, Site, Table, Target, order, view};
use crate::host::firewall::{
    Field, Match,
    eval::{Context, Truth},
    model::Chain,
    target::Verdict,
};

/// Chains and rules looked at; damaged text could make ones that never end.
const BUDGET: usize = 50_000;

/// What kept the rules before a policy from accepting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unaccepted {
    /// Rules that accept something, in the policy's chain and in those that it calls.
    pub accepting: usize,
    /// One of them that fits but for one condition.
    pub nearest: Option<Near>,
}

impl fmt::Display for Unaccepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.accepting, &self.nearest) {
            (0, _) => f.write_str("no rule before it accepts anything"),
            (1, None) => f.write_str("the rule before it that accepts does not fit"),
            (many, None) => write!(f, "none of the {many} rules before it that accept fits"),
            (1, Some(near)) => write!(f, "the rule before it that accepts fits but for {near}"),
            (many, Some(near)) => write!(
                f,
                "none of the {many} rules before it that accept fits; one does but for {near}"
            ),
        }
    }
}

impl fmt::Display for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.but_for, self.text, self.place)
    }
}

/// A rule that fits but for one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Near {
    /// Its place: `INPUT rule 3`.
    pub place: String,
    /// As its program lists it.
    pub text: String,
    /// What the condition looks at, with what the packet has: `the destination port (8080)`.
    pub but_for: String,
}

/// Why no rule accepted what a policy dropped. None: it was no policy, its chain is not there any more, or it cannot be told.
#[must_use]
pub fn unaccepted(
    firewall: &Firewall,
    packet: &FlowPacket,
    site: &Site,
    env: &dyn Env,
    dropped: &Dropped,
) -> Option<Unaccepted> {
    if dropped.rule.is_some() {
        return None;
    }
    let seats = order::seats(firewall, packet, site);
    let seat = seats.iter().find(|seat| {
        seat.backend == dropped.backend
            && seat.table.family == dropped.family
            && seat.table.name == dropped.table
            && seat.chain.name == dropped.chain
    })?;
    let changed = order::changed(&seats);
    let mut seen = view::seen_by(packet, seat.base.hook, seat.at, false);
    if seat.table.family == Family::Bridge {
        seen = view::in_bridge(seen, site.family == Some(Family::Bridge));
    }
    let mut search = Search {
        table: seat.table,
        context: Context {
            packet: &seen,
            hook: seat.base.hook,
            family: seat.table.family,
            changed: &changed,
            env,
            mark: None,
            ct_mark: None,
        },
        visited: HashSet::new(),
        left: BUDGET,
        accepting: HashSet::new(),
        is_unsure: false,
        nearest: None,
    };
    search.chain(seat.chain, &Fit::default());
    (!search.is_unsure && search.left > 0).then(|| Unaccepted {
        accepting: search.accepting.len(),
        nearest: search.nearest.map(|(_, near)| near),
    })
}

/// How conditions on the way to a rule come out.
#[derive(Clone, Default)]
struct Fit<'a> {
    holding: usize,
    /// None: one that there are no words for.
    failing: Vec<Option<&'a Match>>,
}

struct Search<'a, 'b> {
    table: &'a Table,
    context: Context<'b>,
    /// Chains, each with whether a condition had failed already.
    visited: HashSet<(&'a str, bool)>,
    left: usize,
    accepting: HashSet<(&'a str, usize)>,
    /// One of them may fit.
    is_unsure: bool,
    /// With how many conditions hold.
    nearest: Option<(usize, Near)>,
}

impl<'a> Search<'a, '_> {
    fn chain(&mut self, chain: &'a Chain, way: &Fit<'a>) {
        if !self.visited.insert((&chain.name, way.failing.is_empty())) {
            return;
        }
        for rule in &chain.rules {
            let Some(left) = self.left.checked_sub(1) else {
                return;
            };
            self.left = left;
            let mut fit = way.clone();
            for condition in &rule.matches {
                self.add(&mut fit, condition);
            }
            for target in &rule.targets {
                match target {
                    Target::When(condition) => self.add(&mut fit, condition),
                    Target::Accept => {
                        self.accepting.insert((&chain.name, rule.number));
                        self.compare(chain, rule, &fit);
                    }
                    Target::Jump(to) | Target::Goto(to) => self.enter(to, &fit),
                    Target::Vmap { keys, entries, .. } => {
                        for (element, verdict) in entries {
                            let mut fit = fit.clone();
                            match self.context.entry(keys, element) {
                                Truth::Yes => fit.holding += 1,
                                Truth::No => fit.failing.push(None),
                                Truth::Maybe => {}
                            }
                            match verdict {
                                Verdict::Accept => {
                                    self.accepting.insert((&chain.name, rule.number));
                                    self.compare(chain, rule, &fit);
                                }
                                Verdict::Jump(to) | Verdict::Goto(to) => self.enter(to, &fit),
                                _ => {}
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn enter(&mut self, to: &str, fit: &Fit<'a>) {
        if let Some(to) = self.table.chain(to) {
            self.chain(to, fit);
        }
    }

    fn add(&self, fit: &mut Fit<'a>, condition: &'a Match) {
        match self.context.one(condition) {
            Truth::Yes => fit.holding += 1,
            Truth::No => fit.failing.push(Some(condition)),
            Truth::Maybe => {}
        }
    }

    /// One condition fails, and others hold: what fits in nothing else (`-i lo -j ACCEPT`) says nothing.
    fn compare(&mut self, chain: &Chain, rule: &Rule, fit: &Fit<'_>) {
        let best = self.nearest.as_ref().map_or(0, |(holding, _)| *holding);
        let failing = match fit.failing.as_slice() {
            [] => {
                // It should have accepted, or hangs on what cannot be told.
                self.is_unsure = true;
                return;
            }
            [Some(failing)] => failing,
            _ => return,
        };
        if fit.holding <= best {
            return;
        }
        if let Some(but_for) = self.words(failing) {
            let near = Near {
                place: format!("{} rule {}", chain.name, rule.number),
                text: rule.text.clone(),
                but_for,
            };
            self.nearest = Some((fit.holding, near));
        }
    }

    /// None for what is not the rule's point, such as the state of a connection.
    fn words(&self, condition: &Match) -> Option<String> {
        let Match::Test { keys, .. } = condition else {
            return None;
        };
        let [key] = keys.as_slice() else {
            return None;
        };
        let packet = self.context.packet;
        let number = |value: Option<u16>| value.map(|value| value.to_string());
        let (what, value) = match key.field {
            Field::Iif => ("the interface it comes in by", packet.iif.clone()),
            Field::Oif => ("the interface it leaves by", packet.oif.clone()),
            Field::Saddr => ("the source address", packet.src.map(|ip| ip.to_string())),
            Field::Daddr => (
                "the destination address",
                packet.dst.map(|ip| ip.to_string()),
            ),
            Field::Sport | Field::ThSport => ("the source port", number(packet.sport)),
            Field::Dport | Field::ThDport => ("the destination port", number(packet.dport)),
            _ => return None,
        };
        Some(format!("{what} ({})", value?))
    }
}
