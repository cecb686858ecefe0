//! Which flow a packet belongs to: by conntrack's entry, by its addresses, by the packet that an error quotes, by its first fragment.

use std::collections::HashMap;

use super::{
    flow::{Flow, Index},
    observe::{Ident, Tracked, Wire},
    target::Followed,
};
use crate::model::Way;

/// Flows at most; beyond that the one that was seen least lately is forgotten.
const FLOWS: usize = 1024;
/// First fragments that are remembered for those that follow.
const FRAGMENTS: usize = 4096;

/// What a packet shows of the flow that it belongs to.
pub(super) struct Signs<'a> {
    pub wire: Wire,
    pub quoted: Option<Wire>,
    pub ident: &'a Ident,
    pub tracked: Option<Tracked>,
    pub ktime_ns: u64,
}

/// The flows that are followed.
#[derive(Default)]
pub(super) struct Flows {
    known: HashMap<u64, Flow>,
    next: u64,
    index: Index,
    fragments: HashMap<(Wire, u32), (u64, Way)>,
    /// Flows that were forgotten because there were too many.
    pub forgotten: u64,
}

impl Flows {
    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Flow> {
        self.known.get_mut(&id)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Flow> {
        self.known.values()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Flow> {
        self.known.values_mut()
    }

    /// In the order in which they began.
    pub(super) fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.known.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// The flow that a packet belongs to, made if it is new.
    pub(super) fn of(&mut self, signs: &Signs<'_>, followed: &Followed) -> Option<(u64, Way)> {
        // An ICMP error belongs to the flow that it speaks of, and goes the other way than the packet that it quotes.
        if let Some(quoted) = signs.quoted {
            if let Some((id, way)) = self.index.get(&quoted) {
                return Some((*id, way.reversed()));
            }
            return followed
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
            Some(tracked) => self.tracked(&tracked, signs),
            None => self
                .index
                .get(&signs.wire)
                .copied()
                .or_else(|| self.untracked(signs, followed)),
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

    fn tracked(&mut self, tracked: &Tracked, signs: &Signs<'_>) -> Option<(u64, Way)> {
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
        let flow = self.known.get_mut(&id)?;
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

    fn untracked(&mut self, signs: &Signs<'_>, followed: &Followed) -> Option<(u64, Way)> {
        let wire = signs.wire;
        let answers = signs
            .ident
            .tcp
            .is_some_and(|(_, _, flags)| flags & 0x12 == 0x12)
            || !followed.admits(&wire) && followed.admits(&wire.reversed());
        if answers {
            let id = self.begin(wire.reversed(), signs.ktime_ns);
            Some((id, Way::Back))
        } else {
            let id = self.begin(wire, signs.ktime_ns);
            Some((id, Way::Forward))
        }
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
        if self.known.len() >= FLOWS {
            let oldest = self
                .known
                .iter()
                .min_by_key(|(_, flow)| (flow.wanted, flow.last_ns))
                .map(|(id, _)| *id);
            if let Some(flow) = oldest.and_then(|id| self.known.remove(&id)) {
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
        self.known.insert(id, flow);
        id
    }
}
