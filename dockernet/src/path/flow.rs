//! A followed flow: what it looks like before and after NAT, its packets under way, and what it came to.

use std::{collections::HashMap, net::IpAddr};

use dockernet_common::conntrack::status;

use super::{
    carried::Carrier,
    observe::{Tracked, Wire, protocol},
    packet::Traveller,
    sums::Sums,
    target::Followed,
};
use crate::{
    evidence::flow::flow_id,
    model::{FlowVerdict, Nat, NatKind, Tuple, Way},
};

/// A flow.
#[derive(Debug)]
pub(super) struct Flow {
    /// As its client sends.
    pub forward: Wire,
    /// As its server receives, once conntrack has told.
    pub translated: Option<Wire>,
    /// Bits of `nf_conn.status` that say what is translated.
    status: u32,
    /// It is what was asked for, or was once: addresses change hands.
    pub wanted: bool,
    /// Which way is forward is certain.
    pub oriented: bool,
    pub under_way: Vec<Traveller>,
    pub sums: [Sums; 2],
    /// When the last packet of each way was first seen.
    pub last_started_ns: [Option<u64>; 2],
    /// When anything of it was last seen.
    pub last_ns: u64,
    /// The oldest question without an answer, and whether its silence was told.
    pub asked: Option<(u64, bool)>,
    /// How the last packet of the way there ended, in words.
    pub last_forward: Option<String>,
    pub answered: bool,
    /// How it was refused.
    pub refused: Option<String>,
    /// Packets that were let go before their end was known.
    pub let_go: u64,
    /// The docker-proxy that serves it, once it has been looked for.
    pub carrier: Option<Option<Carrier>>,
}

impl Flow {
    pub(super) fn new(forward: Wire, ktime_ns: u64) -> Self {
        Self {
            forward,
            translated: None,
            status: 0,
            wanted: false,
            oriented: false,
            under_way: Vec::new(),
            sums: Default::default(),
            last_started_ns: [None; 2],
            last_ns: ktime_ns,
            asked: None,
            last_forward: None,
            answered: false,
            refused: None,
            let_go: 0,
            carrier: None,
        }
    }

    /// Learns from conntrack. A container's own entry, and one that is not translated, adds nothing to the host's.
    pub(super) fn learn(&mut self, tracked: &Tracked) {
        if !self.oriented {
            self.oriented = true;
            let is_mine =
                tracked.original == self.forward || tracked.reply.reversed() == self.forward;
            if !is_mine {
                self.forward = tracked.original;
            }
        }
        let translated = tracked.reply.reversed();
        // The same tuple may be led elsewhere later: the container was made anew. Another original is a second translation,
        // in a namespace behind.
        let is_news = self.translated.is_none()
            || tracked.original == self.forward && self.translated != Some(translated);
        if tracked.is_translated() && is_news {
            self.forward = tracked.original;
            self.translated = Some(translated);
            self.status = tracked.status;
        }
    }

    /// Everything it looks like somewhere, with the way that such a packet goes.
    pub(super) fn wires(&self) -> impl Iterator<Item = (Wire, Way)> {
        [Some(self.forward), self.translated]
            .into_iter()
            .flatten()
            .flat_map(|wire| [(wire, Way::Forward), (wire.reversed(), Way::Back)])
    }

    /// Whether it is what was asked for, or was once.
    pub(super) fn want(&mut self, followed: &Followed) -> bool {
        self.wanted = self.wanted || self.is_wanted(followed);
        self.wanted
    }

    fn is_wanted(&self, followed: &Followed) -> bool {
        followed.admits(&self.forward)
            || self
                .translated
                .is_some_and(|translated| followed.admits(&translated))
            // Asked from one side of NAT to the other.
            || self.translated.is_some_and(|translated| {
                followed.admits(&Wire {
                    dst: translated.dst,
                    ..self.forward
                }) || followed.admits(&Wire {
                    src: translated.src,
                    ..self.forward
                })
            })
    }

    /// As drop lines call it.
    pub(super) fn id(&self) -> String {
        let server = self.translated.map_or(self.forward.dst, |wire| wire.dst);
        flow_id(&protocol(&self.forward), [self.forward.src, server])
    }

    /// What a packet looks like when it arrives; none while no translation is known.
    pub(super) fn last_wire(&self, way: Way) -> Option<Wire> {
        let translated = self.translated?;
        Some(match way {
            Way::Forward => translated,
            Way::Back => self.forward.reversed(),
        })
    }

    /// Where it ends up.
    pub(super) fn server(&self) -> (IpAddr, u16) {
        self.translated.map_or(self.forward.dst, |wire| wire.dst)
    }

    pub(super) fn nat(&self) -> Option<Nat> {
        let translated = self.translated?;
        let kind = match (
            self.status & status::SRC_NAT != 0,
            self.status & status::DST_NAT != 0,
        ) {
            (true, true) => NatKind::Both,
            (true, false) => NatKind::Snat,
            _ => NatKind::Dnat,
        };
        let tuple = |wire: Wire| Tuple {
            src: wire.src.0,
            src_port: Some(wire.src.1),
            dst: wire.dst.0,
            dst_port: Some(wire.dst.1),
        };
        Some(Nat {
            kind,
            original: tuple(self.forward),
            reply: tuple(translated.reversed()),
        })
    }

    pub(super) fn verdict(&self) -> FlowVerdict {
        match (self.answered, &self.refused) {
            (true, _) => FlowVerdict::Answered,
            (false, Some(_)) => FlowVerdict::Refused,
            (false, None) => FlowVerdict::Unanswered,
        }
    }
}

/// Which flow a wire belongs to, and which way it goes.
pub(super) type Index = HashMap<Wire, (u64, Way)>;
