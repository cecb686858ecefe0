//! One packet under way: the hops it was seen at, and whether another observation is of it.

use crate::model::{Drop, NetnsKey, Packet, Passage, Way};

use super::observe::{Ident, Observation, Wire};

/// TCP's FIN, SYN and RST.
const FIN_SYN_RST: u8 = 7;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// The parts of a cut packet leave within so much time.
const AT_ONCE_NS: u64 = 10_000_000;

/// A packet at a device, kept.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    pub ktime_ns: u64,
    pub netns: NetnsKey,
    pub netns_inum: u32,
    pub ifindex: u32,
    pub device: String,
    pub passage: Passage,
    pub wire: Wire,
    /// Packets that it was here.
    pub packets: u32,
}

impl Stop {
    fn of(seen: &Observation) -> Self {
        Self {
            ktime_ns: seen.ktime_ns,
            netns: seen.netns,
            netns_inum: seen.netns_inum,
            ifindex: seen.ifindex,
            device: seen.device.clone(),
            passage: seen.passage,
            wire: seen.wire,
            packets: 1,
        }
    }

    fn is_at(&self, seen: &Observation) -> bool {
        (self.netns, self.ifindex, self.passage) == (seen.netns, seen.ifindex, seen.passage)
    }
}

/// A packet under way.
#[derive(Clone, Debug)]
pub(super) struct Traveller {
    pub way: Way,
    pub packet: Packet,
    pub ident: Ident,
    /// The skb that it was last.
    pub skb: u64,
    /// First seen.
    pub started_ns: u64,
    /// Last seen.
    pub last_ns: u64,
    pub stops: Vec<Stop>,
    pub drop: Option<Box<Drop>>,
    /// Another packet could not be told from it.
    pub ambiguous: bool,
    /// Since the last packet the other way.
    pub answer_ns: Option<u64>,
    /// Until then only time can tell its end.
    pub looked_ns: u64,
}

/// How an observation fits a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// Of the same content, somewhere it has not been.
    Alike,
    /// A part of it, or it is a part of that.
    Part,
    /// The very same skb.
    Same,
}

impl Traveller {
    pub(super) fn new(seen: &Observation, way: Way) -> Self {
        Self {
            way,
            packet: seen.packet.clone(),
            ident: seen.ident,
            skb: seen.skb,
            started_ns: seen.ktime_ns,
            last_ns: seen.ktime_ns,
            stops: vec![Stop::of(seen)],
            drop: None,
            ambiguous: false,
            answer_ns: None,
            looked_ns: 0,
        }
    }

    /// A packet that died before any device saw it.
    pub(super) fn born_dead(packet: Packet, ident: Ident, way: Way, ktime_ns: u64) -> Self {
        Self {
            way,
            packet,
            ident,
            skb: 0,
            started_ns: ktime_ns,
            last_ns: ktime_ns,
            stops: Vec::new(),
            drop: None,
            ambiguous: false,
            answer_ns: None,
            looked_ns: 0,
        }
    }

    /// Whether an observation is of this packet.
    pub(super) fn fit(&self, seen: &Observation) -> Option<Fit> {
        // What it did before it died may be read after its death.
        if self.drop.is_some() && seen.ktime_ns > self.last_ns {
            return None;
        }
        let been_here = || self.stops.iter().any(|stop| stop.is_at(seen));
        if self.ident == seen.ident {
            return match (been_here(), self.skb == seen.skb) {
                // The same content where it has been already is a retransmission, or a duplicate.
                (true, _) => None,
                (false, true) => Some(Fit::Same),
                (false, false) => Some(Fit::Alike),
            };
        }
        if !self.overlaps(&seen.ident) {
            return None;
        }
        // At one device the parts of a cut packet come one after the other.
        let here_now = self.stops.last().is_some_and(|stop| stop.is_at(seen));
        // Much later it is a retransmission of another size.
        let at_once = seen.ktime_ns.saturating_sub(self.last_ns) < AT_ONCE_NS;
        (!been_here() || here_now && at_once).then_some(Fit::Part)
    }

    /// TCP segments of which one holds the other: segmentation (GSO) and aggregation (GRO) happen on the way.
    pub(super) fn overlaps(&self, other: &Ident) -> bool {
        let (Some((seq, ack, flags)), Some((other_seq, other_ack, other_flags))) =
            (self.ident.tcp, other.tcp)
        else {
            return false;
        };
        let within = |at: u32, from: u32, length: u32| at.wrapping_sub(from) < length;
        let whole_in = |small: (u32, u32), large: (u32, u32)| {
            large.1 > small.1
                && within(small.0, large.0, large.1)
                && small.0.wrapping_sub(large.0) + small.1 <= large.1
        };
        let (mine, theirs) = ((seq, self.ident.payload), (other_seq, other.payload));
        ack == other_ack
            && flags & FIN_SYN_RST & !1 == other_flags & FIN_SYN_RST & !1
            && mine.1 > 0
            && theirs.1 > 0
            && (whole_in(theirs, mine) || whole_in(mine, theirs))
    }

    /// Adds a stop.
    pub(super) fn advance(&mut self, seen: &Observation) {
        self.skb = seen.skb;
        self.last_ns = self.last_ns.max(seen.ktime_ns);
        match self.stops.last_mut() {
            Some(stop) if stop.is_at(seen) => stop.packets += 1,
            _ => self.stops.push(Stop::of(seen)),
        }
    }

    /// Opens a connection.
    pub(super) fn is_syn(&self) -> bool {
        self.flags() & (SYN | ACK) == SYN
    }

    pub(super) fn is_reset(&self) -> bool {
        self.flags() & RST != 0
    }

    /// An ICMP message about another packet.
    pub(super) fn is_error(&self) -> bool {
        self.packet
            .icmp
            .as_ref()
            .is_some_and(|icmp| icmp.inner.is_some())
    }

    /// Whoever sends this waits for an answer.
    pub(super) fn asks(&self) -> bool {
        match self.ident.tcp {
            Some((_, _, flags)) => self.is_syn() || self.ident.payload > 0 && flags & RST == 0,
            None => !self.is_error() && self.ident.fragment == 0,
        }
    }

    fn flags(&self) -> u8 {
        self.ident.tcp.map_or(0, |(_, _, flags)| flags)
    }
}
