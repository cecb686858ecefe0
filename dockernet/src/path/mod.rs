//! Follows flows through the host: hops and drops in, one journey per packet out.
//!
//! The kernel half shows every packet of the ends that are followed, at every device of the machine (`observe`). One packet keeps
//! its skb from device to device; where it is copied, cut or joined, its content tells (`packet`). A flow is known by its
//! addresses before and after NAT, which conntrack tells with every packet that it has seen (`flow`). What cannot be told
//! is said to be so: a wrong journey is worse than none.

mod ending;
mod flow;
mod lines;
pub(crate) mod observe;
mod packet;
pub mod probe;
pub mod prober;
mod sums;
mod target;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use dockernet_common::{
    hop::{EndKey, HopRecord},
    record::{DropRecord, flag},
};

use self::{
    flow::{Flow, Index, UNDER_WAY},
    observe::{Ident, Observation, Tracked, Wire, observation, of_drop, of_tuple},
    packet::{Fit, Traveller},
    target::Followed,
};
use crate::{
    bpf::clock::Clock,
    cli::Target,
    inventory::Inventory,
    model::{Drop, FlowSum, JourneyEnd, PathEvent, Way},
};

/// Flows at most; beyond that the one that was seen least lately is forgotten.
const FLOWS: usize = 1024;
/// First fragments that are remembered for those that follow.
const FRAGMENTS: usize = 4096;
/// After its last hop a packet's drop, if there is one, has been read.
const SETTLED_NS: u64 = 150_000_000;
/// A packet may wait for a neighbour to answer (3 probes, one a second: `retrans_time_ms`, `mcast_solicit`).
const LOST_NS: u64 = 4_000_000_000;
/// How long an answer is waited for.
const SILENCE_NS: u64 = 3_000_000_000;

/// Follows flows.
pub struct Follower {
    from: Option<Target>,
    to: Option<Target>,
    /// Hops in namespaces that are none of this host's count too (`--scope all`).
    everywhere: bool,
    followed: Followed,
    flows: HashMap<u64, Flow>,
    next: u64,
    index: Index,
    fragments: HashMap<(Wire, u32), (u64, Way)>,
    /// Flows that were forgotten because there were too many.
    pub forgotten: u64,
}

/// What a packet shows of the flow that it belongs to.
struct Signs<'a> {
    wire: Wire,
    quoted: Option<Wire>,
    ident: &'a Ident,
    tracked: Option<Tracked>,
    ktime_ns: u64,
}

impl Follower {
    /// Follows what goes from one end to the other; at least one is given.
    #[must_use]
    pub fn new(from: Option<Target>, to: Option<Target>, everywhere: bool) -> Self {
        Self {
            from,
            to,
            everywhere,
            followed: Followed::default(),
            flows: HashMap::new(),
            next: 0,
            index: HashMap::new(),
            fragments: HashMap::new(),
            forgotten: 0,
        }
    }

    /// What is wrong with its ends, as far as it can be told.
    #[must_use]
    pub fn problems(&self, inventory: &Inventory) -> Vec<String> {
        [&self.from, &self.to]
            .into_iter()
            .flatten()
            .filter_map(|target| target.problem(inventory))
            .collect()
    }

    /// Looks its ends up anew; gives what the kernel half shall let through.
    pub fn look_up(&mut self, inventory: &Inventory) -> HashMap<EndKey, u8> {
        self.followed = Followed::now(self.from.as_ref(), self.to.as_ref(), inventory);
        self.followed.keys()
    }

    /// A packet at a device. Records of one batch come in the order of their time.
    pub fn seen(&mut self, record: &HopRecord, inventory: &Inventory) {
        let Some(seen) = observation(record) else {
            return;
        };
        if !self.everywhere && inventory.near(seen.netns) == Some(false) {
            return;
        }
        // Every namespace has a loopback of its own; the host's is the one that published ports are on.
        if seen.wire.is_loopback() && seen.netns != inventory.host_key() && !self.names_loopback() {
            return;
        }
        if seen.is_housekeeping() && !self.followed.admits(&seen.wire) {
            return;
        }
        let signs = Signs {
            wire: seen.wire,
            quoted: seen.quoted,
            ident: &seen.ident,
            tracked: seen.tracked,
            ktime_ns: seen.ktime_ns,
        };
        let Some((id, way)) = self.flow_of(&signs) else {
            return;
        };
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.last_ns = seen.ktime_ns;
            travel(flow, way, &seen);
        }
    }

    /// A dropped packet. Whether it belongs to a flow that is followed.
    pub fn dropped(&mut self, record: &DropRecord, drop: &Drop) -> bool {
        let (Some((wire, quoted, ident)), Some(packet)) = (of_drop(record), &drop.packet) else {
            return false;
        };
        let entry = &record.conntrack;
        let tracked = (record.flags & flag::CONNTRACK != 0)
            .then(|| {
                Some(Tracked {
                    original: of_tuple(&entry.original)?,
                    reply: of_tuple(&entry.reply)?,
                    status: entry.status,
                    is_reply: entry.info >= 3,
                    related: entry.info % 3 == 1,
                })
            })
            .flatten();
        let signs = Signs {
            wire,
            quoted,
            ident: &ident,
            tracked,
            ktime_ns: record.ktime_ns,
        };
        let Some((id, way)) = self.flow_of(&signs) else {
            return false;
        };
        let Some(flow) = self.flows.get_mut(&id) else {
            return false;
        };
        if !flow.want(&self.followed) {
            return false;
        }
        flow.last_ns = record.ktime_ns;
        let open = || {
            flow.under_way
                .iter()
                .enumerate()
                .rev()
                .filter(|(_, other)| other.way == way && other.drop.is_none())
        };
        let place = open()
            .find(|(_, other)| {
                other.skb == record.skb && (other.ident == ident || other.overlaps(&ident))
            })
            .or_else(|| open().find(|(_, other)| other.ident == ident))
            .map(|(place, _)| place);
        let drop = Some(Box::new(drop.clone()));
        match place.and_then(|place| flow.under_way.get_mut(place)) {
            Some(traveller) => {
                traveller.drop = drop;
                traveller.last_ns = record.ktime_ns;
            }
            None => {
                let mut traveller =
                    Traveller::born_dead(packet.clone(), ident, way, record.ktime_ns);
                traveller.drop = drop;
                flow.under_way.push(traveller);
            }
        }
        true
    }

    /// Packets whose way is over by now (`CLOCK_MONOTONIC`, ns), and silences.
    pub fn due(&mut self, now_ns: u64, clock: Clock, inventory: &Inventory) -> Vec<PathEvent> {
        let mut events = Vec::new();
        for flow in self.flows.values_mut() {
            let wanted = flow.want(&self.followed);
            let travellers = std::mem::take(&mut flow.under_way);
            for traveller in travellers {
                let idle = now_ns.saturating_sub(traveller.last_ns);
                if idle < SETTLED_NS {
                    flow.under_way.push(traveller);
                    continue;
                }
                // Of no interest by now, and unlikely to become so.
                if !wanted {
                    continue;
                }
                let ending = ending::ending(flow, &traveller, inventory);
                let patience = if ending.is_over { SETTLED_NS } else { LOST_NS };
                if idle < patience {
                    flow.under_way.push(traveller);
                } else {
                    settle(flow, &traveller, &ending, inventory);
                    events.push(lines::journey(flow, &traveller, &ending, clock, inventory));
                }
            }
            if wanted {
                events.extend(lines::silence(flow, now_ns, SILENCE_NS, clock));
            }
        }
        events.sort_by_key(time);
        events
    }

    /// Everything that is still open, and what each flow came to, in the order in which they began.
    pub fn finish(
        &mut self,
        clock: Clock,
        inventory: &Inventory,
    ) -> (Vec<PathEvent>, Vec<FlowSum>) {
        let mut events = Vec::new();
        let mut ids: Vec<u64> = self.flows.keys().copied().collect();
        ids.sort_unstable();
        let mut sums = Vec::new();
        for id in ids {
            let Some(flow) = self.flows.get_mut(&id) else {
                continue;
            };
            if !flow.want(&self.followed) {
                continue;
            }
            for traveller in std::mem::take(&mut flow.under_way) {
                let mut ending = ending::ending(flow, &traveller, inventory);
                if !ending.is_over {
                    // Stopped before time could tell.
                    ending.end = JourneyEnd::Unknown;
                    ending.sentence = "still under way when the tracer stopped".to_owned();
                }
                settle(flow, &traveller, &ending, inventory);
                events.push(lines::journey(flow, &traveller, &ending, clock, inventory));
            }
            sums.push(lines::sum(flow, inventory));
        }
        events.sort_by_key(time);
        (events, sums)
    }

    /// Whether a packet is under way, or an answer is waited for.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.flows.values().any(|flow| {
            flow.wanted && (!flow.under_way.is_empty() || flow.asked.is_some_and(|(_, told)| !told))
        })
    }

    /// The flow that a packet belongs to, made if it is new.
    fn flow_of(&mut self, signs: &Signs<'_>) -> Option<(u64, Way)> {
        // An ICMP error belongs to the flow that it speaks of, and goes the other way than the packet that it quotes.
        if let Some(quoted) = signs.quoted {
            if let Some((id, way)) = self.index.get(&quoted) {
                return Some((*id, way.reversed()));
            }
            return self
                .followed
                .admits(&quoted)
                .then(|| self.begin(quoted, signs.ktime_ns))
                .map(|id| (id, Way::Back));
        }
        // Later fragments have no ports: the first told whose they are.
        let fragment = (signs.wire.portless(), signs.ident.ip_id);
        if signs.ident.fragment > 0 && signs.tracked.is_none() {
            return self.fragments.get(&fragment).copied();
        }
        let found = match signs.tracked.filter(|tracked| !tracked.related) {
            Some(tracked) => self.tracked_flow(&tracked, signs),
            None => self
                .index
                .get(&signs.wire)
                .copied()
                .or_else(|| self.untracked_flow(signs)),
        };
        if let Some(found) = found
            && signs.ident.ip_id != 0
        {
            if self.fragments.len() >= FRAGMENTS {
                self.fragments.clear();
            }
            self.fragments.insert(fragment, found);
        }
        found
    }

    fn tracked_flow(&mut self, tracked: &Tracked, signs: &Signs<'_>) -> Option<(u64, Way)> {
        let way = if tracked.is_reply {
            Way::Back
        } else {
            Way::Forward
        };
        let known = [tracked.original, tracked.reply.reversed(), signs.wire]
            .iter()
            .find_map(|wire| self.index.get(wire).copied());
        let id = match known {
            Some((id, _)) => id,
            None => self.begin(tracked.original, signs.ktime_ns),
        };
        let flow = self.flows.get_mut(&id)?;
        let before: Vec<(Wire, Way)> = flow.wires().collect();
        flow.learn(tracked);
        for (wire, _) in before {
            if self.index.get(&wire).is_some_and(|(owner, _)| *owner == id) {
                self.index.remove(&wire);
            }
        }
        let wires: Vec<(Wire, Way)> = flow.wires().collect();
        for (wire, way) in wires {
            self.index.insert(wire, (id, way));
        }
        // Where both translations of a flow are in the index, it knows better than the entry's own point of view.
        let way = self.index.get(&signs.wire).map_or(way, |(_, known)| *known);
        Some((id, way))
    }

    fn untracked_flow(&mut self, signs: &Signs<'_>) -> Option<(u64, Way)> {
        let wire = signs.wire;
        let answers = signs
            .ident
            .tcp
            .is_some_and(|(_, _, flags)| flags & 0x12 == 0x12)
            || !self.followed.admits(&wire) && self.followed.admits(&wire.reversed());
        if answers {
            let id = self.begin(wire.reversed(), signs.ktime_ns);
            Some((id, Way::Back))
        } else {
            let id = self.begin(wire, signs.ktime_ns);
            Some((id, Way::Forward))
        }
    }

    /// Whether a target is a loopback address by name.
    fn names_loopback(&self) -> bool {
        [&self.from, &self.to]
            .into_iter()
            .flatten()
            .any(|target| matches!(target, Target::Address(address, _) if address.is_loopback()))
    }

    /// Takes a flow's wires out, those that are not another's by now.
    fn unindex(&mut self, flow: &Flow, id: Option<u64>) {
        for (wire, _) in flow.wires() {
            if self.index.get(&wire).map(|(owner, _)| *owner) == id {
                self.index.remove(&wire);
            }
        }
    }

    fn begin(&mut self, forward: Wire, ktime_ns: u64) -> u64 {
        if self.flows.len() >= FLOWS {
            let oldest = self
                .flows
                .iter()
                .min_by_key(|(_, flow)| (flow.wanted, flow.last_ns))
                .map(|(id, _)| *id);
            if let Some(flow) = oldest.and_then(|id| self.flows.remove(&id)) {
                self.forgotten += u64::from(flow.wanted);
                self.unindex(&flow, oldest);
            }
        }
        let id = self.next;
        self.next += 1;
        let flow = Flow::new(forward, ktime_ns);
        for (wire, way) in flow.wires() {
            self.index.insert(wire, (id, way));
        }
        self.flows.insert(id, flow);
        id
    }
}

/// Puts an observation where it belongs: to a packet under way, or a new one.
fn travel(flow: &mut Flow, way: Way, seen: &Observation) {
    let fitting: Vec<(Fit, usize)> = flow
        .under_way
        .iter()
        .enumerate()
        .filter(|(_, other)| other.way == way)
        .filter_map(|(place, other)| Some((other.fit(seen)?, place)))
        .collect();
    let best = fitting.iter().map(|(fit, _)| *fit).max();
    let chosen: Vec<usize> = fitting
        .iter()
        .filter(|(fit, _)| Some(*fit) == best)
        .map(|(_, place)| *place)
        .collect();
    match (best, chosen.as_slice()) {
        (Some(Fit::Part), all) => {
            // Many that became one all go on in it.
            for place in all {
                if let Some(traveller) = flow.under_way.get_mut(*place) {
                    traveller.advance(seen);
                }
            }
        }
        (Some(fit), [.., last]) => {
            // Copies that nothing tells apart: which of them this is cannot be known.
            if fit == Fit::Alike && chosen.len() > 1 {
                for place in &chosen {
                    if let Some(traveller) = flow.under_way.get_mut(*place) {
                        traveller.ambiguous = true;
                    }
                }
            }
            if let Some(traveller) = flow.under_way.get_mut(*last) {
                traveller.advance(seen);
            }
        }
        _ => start(flow, way, seen),
    }
}

fn start(flow: &mut Flow, way: Way, seen: &Observation) {
    let mut traveller = Traveller::new(seen, way);
    let [forward, back] = &mut flow.last_started_ns;
    let (mine, theirs) = match way {
        Way::Forward => (forward, back),
        Way::Back => (back, forward),
    };
    traveller.answer_ns = theirs
        .filter(|_| way == Way::Back)
        .map(|then| seen.ktime_ns.saturating_sub(then));
    *mine = Some(seen.ktime_ns);
    match way {
        Way::Back => flow.asked = None,
        Way::Forward if traveller.asks() && flow.asked.is_none() => {
            flow.asked = Some((seen.ktime_ns, false));
        }
        Way::Forward => {}
    }
    if flow.under_way.len() >= UNDER_WAY {
        flow.under_way.remove(0);
        flow.let_go += 1;
    }
    flow.under_way.push(traveller);
}

/// Enters a finished journey into its flow's books.
fn settle(flow: &mut Flow, traveller: &Traveller, ending: &ending::Ending, inventory: &Inventory) {
    let [forward, back] = &mut flow.sums;
    match traveller.way {
        Way::Forward => {
            forward.add(traveller, ending.end);
            flow.last_forward = Some(ending.sentence.clone());
            if ending.end == JourneyEnd::Dropped {
                // Its silence needs no telling.
                flow.asked = None;
            }
        }
        Way::Back => {
            back.add(traveller, ending.end);
            let arrived = matches!(ending.end, JourneyEnd::Delivered | JourneyEnd::Left);
            if arrived && (traveller.is_error() || traveller.is_reset()) {
                if flow.refused.is_none() {
                    flow.refused = Some(lines::refusal(traveller, inventory));
                }
            } else if arrived {
                flow.answered = true;
            }
        }
    }
}

fn time(event: &PathEvent) -> jiff::Timestamp {
    match event {
        PathEvent::Journey(journey) => journey.time,
        PathEvent::Silence(silence) => silence.time,
        PathEvent::Probe(probe) => probe.time,
    }
}
