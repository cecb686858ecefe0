//! Follows flows through the host: hops and drops in, one journey per packet out.
//!
//! The kernel half shows every packet of the ends that are followed, at every device of the machine (`observe`). One packet keeps
//! its skb from device to device; where it is copied, cut or joined, its content tells (`packet`). A flow is known by its
//! addresses before and after NAT, which conntrack tells with every packet that it has seen (`flow`). What cannot be told
//! is said to be so: a wrong journey is worse than none.

mod carried;
mod ending;
mod find;
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
mod travel;

use std::collections::HashMap;

use dockernet_common::{
    hop::{EndKey, HopRecord},
    record::{DropRecord, flag},
};

use self::{
    find::{Flows, Signs},
    observe::{Tracked, observation, of_drop, of_tuple},
    packet::Traveller,
    target::Followed,
};
use crate::{
    bpf::clock::Clock,
    cli::Target,
    host::proxies::Proxies,
    inventory::Inventory,
    model::{Drop, FlowSum, JourneyEnd, PathEvent},
};

/// Packets of a flow under way at most. Beyond that the oldest is let go.
const UNDER_WAY: usize = 8192;
/// The same where there are many flows with many.
const UNDER_WAY_EACH: usize = 256;
/// Packets under way in all flows that are many.
const CROWD: usize = 32_768;
/// After its last hop a packet's drop, if there is one, has been read.
const SETTLED_NS: u64 = 150_000_000;
/// A packet may wait for a neighbour to answer (3 probes, one a second: `retrans_time_ms`, `mcast_solicit`).
const LOST_NS: u64 = 4_000_000_000;
/// Between two looks at the end of a packet that only time can tell.
const LOOK_NS: u64 = 500_000_000;
/// How long an answer is waited for.
const SILENCE_NS: u64 = 3_000_000_000;

/// Follows flows.
pub struct Follower {
    from: Option<Target>,
    to: Option<Target>,
    /// Hops in namespaces that are none of this host's count too (`--scope all`).
    everywhere: bool,
    followed: Followed,
    flows: Flows,
    proxies: Proxies,
    /// Packets of a flow under way at most.
    most: usize,
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
            flows: Flows::default(),
            proxies: Proxies::default(),
            most: UNDER_WAY,
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
        let Some((id, way)) = self.flows.of(&signs, &self.followed) else {
            return;
        };
        if let Some(flow) = self.flows.get_mut(id) {
            flow.last_ns = seen.ktime_ns;
            travel::travel(flow, way, &seen, self.most);
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
        let Some((id, way)) = self.flows.of(&signs, &self.followed) else {
            return false;
        };
        let Some(flow) = self.flows.get_mut(id) else {
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
        let under_way: usize = self.flows.values().map(|flow| flow.under_way.len()).sum();
        self.most = if under_way > CROWD {
            UNDER_WAY_EACH
        } else {
            UNDER_WAY
        };
        for flow in self.flows.values_mut() {
            let wanted = flow.want(&self.followed);
            let travellers = std::mem::take(&mut flow.under_way);
            for mut traveller in travellers {
                let idle = now_ns.saturating_sub(traveller.last_ns);
                if idle < SETTLED_NS {
                    flow.under_way.push(traveller);
                    continue;
                }
                // Of no interest by now, and unlikely to become so.
                if !wanted {
                    continue;
                }
                let looked = now_ns < traveller.looked_ns + LOOK_NS && idle < LOST_NS;
                if looked && traveller.drop.is_none() {
                    flow.under_way.push(traveller);
                    continue;
                }
                let mut ending = ending::ending(flow, &traveller, inventory);
                if !ending.is_over && idle < LOST_NS {
                    traveller.looked_ns = now_ns;
                    flow.under_way.push(traveller);
                    continue;
                }
                carried::note(flow, &traveller, &mut ending, &mut self.proxies, inventory);
                events.push(travel::settle(flow, &traveller, &ending, clock, inventory));
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
        let mut sums = Vec::new();
        for id in self.flows.ids() {
            let Some(flow) = self.flows.get_mut(id) else {
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
                carried::note(flow, &traveller, &mut ending, &mut self.proxies, inventory);
                events.push(travel::settle(flow, &traveller, &ending, clock, inventory));
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

    /// Flows that were forgotten because there were too many.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.flows.forgotten
    }

    /// Whether a target is a loopback address by name.
    fn names_loopback(&self) -> bool {
        [&self.from, &self.to]
            .into_iter()
            .flatten()
            .any(|target| matches!(target, Target::Address(address, _) if address.is_loopback()))
    }
}

fn time(event: &PathEvent) -> jiff::Timestamp {
    match event {
        PathEvent::Journey(journey) => journey.time,
        PathEvent::Silence(silence) => silence.time,
        PathEvent::Probe(probe) => probe.time,
    }
}
