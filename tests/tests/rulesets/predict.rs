//! What the simulation says of a packet's whole way through the router.

use std::collections::HashSet;

use dockernet::host::firewall::{
    CtState, Firewall, FlowPacket, FlowTuple, Hook, NatKind, NatTarget, Outcome, Target,
    Translation, simulate, translate,
};

use crate::{
    frame::{Cast, Packet, Payload},
    place::Place,
    world::{DEVICES, MARKS, Own},
};

/// What becomes of a packet.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// This drops it.
    Dropped(Place, Box<Stage>),
    /// It comes to the router itself (none), or leaves by a device, looking so, and is to be answered so.
    Passed(Option<usize>, Box<(Packet, Option<FlowTuple>)>),
    /// Routing ends it: netfilter has no part in it.
    Elsewhere,
    /// The simulation cannot tell. These may drop it; if `any`, others too.
    Unclear { may: HashSet<Place>, any: bool },
}

/// The packet as a hook's chains got it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stage {
    pub(crate) hook: Hook,
    pub(crate) packet: FlowPacket,
}

/// What conntrack makes of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) state: CtState,
    pub(crate) reply: bool,
    pub(crate) original: Option<FlowTuple>,
    pub(crate) answer: Option<FlowTuple>,
    /// `IPS_*NAT`.
    pub(crate) nat: u32,
}

impl Flow {
    /// As a packet that belongs to nothing seen before.
    pub(crate) fn of(packet: &Packet) -> Self {
        let state = match &packet.payload {
            Payload::Udp { .. } | Payload::Esp { .. } => CtState::NEW,
            Payload::Tcp { flags, .. } if flags & 0x3f == 0x02 || flags & 0x3f == 0x22 => {
                CtState::NEW
            }
            Payload::Icmp { kind: 8 | 13, .. } if !packet.v6() => CtState::NEW,
            Payload::Icmp { kind: 128, .. } if packet.v6() => CtState::NEW,
            _ => CtState::INVALID,
        };
        let original = (state == CtState::NEW).then(|| tuple(packet));
        Self {
            state,
            reply: false,
            original,
            answer: original.map(inverse),
            nat: 0,
        }
    }
}

pub(crate) fn inverse(tuple: FlowTuple) -> FlowTuple {
    FlowTuple {
        src: tuple.dst,
        dst: tuple.src,
        sport: tuple.dport,
        dport: tuple.sport,
    }
}

fn tuple(packet: &Packet) -> FlowTuple {
    let (sport, dport) = packet.ports().unzip();
    FlowTuple {
        src: packet.src,
        dst: packet.dst,
        sport,
        dport,
    }
}

/// What the generated rules change on the way, so that later hooks do not see what was sent.
#[derive(Clone, Copy, Debug, Default)]
struct Changes {
    mark: bool,
    ct_mark: bool,
}

impl Changes {
    fn at(firewall: &Firewall, hook: Hook) -> Self {
        let mut changes = Self::default();
        for (_, table) in firewall.tables() {
            let here = |base: &dockernet::host::firewall::Base| base.hook == hook;
            if !table
                .chains
                .iter()
                .any(|chain| chain.base.as_ref().is_some_and(here))
            {
                continue;
            }
            for target in table
                .chains
                .iter()
                .flat_map(|chain| &chain.rules)
                .flat_map(|rule| &rule.targets)
            {
                match target {
                    Target::SetMark { .. } | Target::SetMarkUnknown => changes.mark = true,
                    Target::SetCtMark => changes.ct_mark = true,
                    _ => {}
                }
            }
        }
        changes
    }
}

/// A packet on its way.
struct Way<'a> {
    firewall: &'a Firewall,
    own: &'a Own,
    seen: FlowPacket,
    packet: Packet,
    flow: Flow,
    may: HashSet<Place>,
    unclear: bool,
    stages: Vec<Stage>,
}

/// Follows a packet through all hooks. The stages are those that the simulation was sure of.
pub(crate) fn predict(
    firewall: &Firewall,
    own: &Own,
    packet: &Packet,
    flow: Flow,
) -> (Fate, Vec<Stage>) {
    let mut way = Way {
        firewall,
        own,
        seen: seen(packet, flow),
        packet: packet.clone(),
        flow,
        may: HashSet::new(),
        unclear: false,
        stages: Vec::new(),
    };
    let fate = way.follow();
    let fate = match fate {
        Fate::Unclear { any, .. } => Fate::Unclear { may: way.may, any },
        Fate::Dropped(place, _) if way.unclear => {
            way.may.insert(place);
            Fate::Unclear {
                may: way.may,
                any: false,
            }
        }
        _ if way.unclear => Fate::Unclear {
            may: way.may,
            any: false,
        },
        sure => sure,
    };
    (fate, way.stages)
}

fn seen(packet: &Packet, flow: Flow) -> FlowPacket {
    let (sport, dport) = packet.ports().unzip();
    let mark = match packet.device {
        None => packet.mark,
        Some(_) => MARKS
            .iter()
            .find(|(ttl, _)| *ttl == packet.ttl)
            .map_or(0, |(_, mark)| *mark),
    };
    let tracked = flow.state.0 & !CtState::NO_FLOW.0 != 0;
    let (tcp_flags, icmp) = match &packet.payload {
        Payload::Tcp { flags, .. } => (Some(*flags), None),
        Payload::Icmp { kind, code, .. } | Payload::Error { kind, code, .. } => {
            (None, Some((*kind, *code)))
        }
        _ => (None, None),
    };
    FlowPacket {
        ipv6: Some(packet.v6()),
        proto: Some(packet.proto()),
        src: Some(packet.src),
        dst: Some(packet.dst),
        sport,
        dport,
        iif: Some(
            packet
                .device
                .map_or(String::new(), |device| DEVICES[device].to_owned()),
        ),
        oif: None,
        physin: Some(String::new()),
        physout: Some(String::new()),
        mark: Some(mark),
        ttl: Some(packet.ttl),
        ct_state: flow.state,
        ct_status: if tracked { (0x30, flow.nat) } else { (0, 0) },
        ct_reply: tracked.then_some(flow.reply),
        ct_mark: (flow.state == CtState::NEW).then_some(0),
        ct_original: flow.original.filter(|_| tracked),
        ct_answer: flow.answer.filter(|_| tracked),
        pkt_type: Some(match packet.cast {
            Cast::Host => 0,
            Cast::Broadcast => 1,
            Cast::Multicast => 2,
        }),
        tcp_flags,
        icmp_type: icmp.map(|(kind, _)| kind),
        icmp_code: icmp.map(|(_, code)| code),
        routing_header: Some(false),
    }
}

impl Way<'_> {
    fn follow(&mut self) -> Fate {
        if self.packet.device.is_none() {
            return self.leave(Hook::Output);
        }
        for hook in [Hook::Ingress, Hook::Prerouting] {
            if let Some(fate) = self.hook(hook) {
                return fate;
            }
        }
        let to = self.packet.dst;
        let dst = self.flow.original.map_or(to, |original| original.dst);
        if self.packet.cast != Cast::Host && to != dst && !self.flow.reply {
            // A broadcast that was sent elsewhere: what routing makes of it is no question for rules.
            return Fate::Unclear {
                may: HashSet::new(),
                any: true,
            };
        }
        if to.is_multicast() || self.is_own() || self.is_broadcast() {
            return self.hook(Hook::Input).unwrap_or_else(|| self.passed(None));
        }
        if self.packet.cast != Cast::Host || self.packet.ttl <= 1 || self.own.route(to).is_none() {
            return Fate::Elsewhere;
        }
        self.packet.ttl -= 1;
        self.seen.ttl = Some(self.packet.ttl);
        self.leave(Hook::Forward)
    }

    fn is_own(&self) -> bool {
        use dockernet::host::firewall::Env as _;
        self.own.is_local(self.packet.dst) == Some(true)
    }

    fn is_broadcast(&self) -> bool {
        use dockernet::host::firewall::Env as _;
        self.own.is_broadcast(self.packet.dst) == Some(true)
    }

    /// By FORWARD or OUTPUT and POSTROUTING.
    fn leave(&mut self, hook: Hook) -> Fate {
        let Some(device) = self.own.route(self.packet.dst) else {
            return Fate::Elsewhere;
        };
        self.seen.oif = Some(DEVICES[device].to_owned());
        for hook in [hook, Hook::Postrouting] {
            if let Some(fate) = self.hook(hook) {
                return fate;
            }
        }
        self.passed(Some(device))
    }

    fn passed(&self, device: Option<usize>) -> Fate {
        Fate::Passed(device, Box::new((self.packet.clone(), self.flow.answer)))
    }

    /// One hook; `None` if the packet goes on.
    fn hook(&mut self, hook: Hook) -> Option<Fate> {
        let nothing = || {
            Some(Fate::Unclear {
                may: HashSet::new(),
                any: true,
            })
        };
        if hook != Hook::Ingress {
            let translation = translate(self.firewall, &self.seen, hook, self.own);
            match translation {
                Translation::CannotTell(_) => return nothing(),
                Translation::Untracked { .. } => self.untrack(),
                Translation::To(target, _) if self.flow.state == CtState::NEW => {
                    if !self.apply(&target) {
                        return nothing();
                    }
                }
                Translation::To(..) | Translation::Nothing => {}
            }
            if self.flow.state != CtState::NEW {
                self.translate_known(hook);
            }
        }
        let stage = Stage {
            hook,
            packet: self.seen.clone(),
        };
        match simulate(self.firewall, &self.seen, hook, self.own) {
            Outcome::Accepted => self.stages.push(stage),
            Outcome::Dropped(dropped) => {
                self.stages.push(stage.clone());
                return Some(Fate::Dropped(Place::from(&*dropped), Box::new(stage)));
            }
            Outcome::CannotTell { candidates, .. } => {
                self.unclear = true;
                self.may.extend(candidates.iter().map(Place::from));
            }
        }
        let changes = Changes::at(self.firewall, hook);
        if changes.mark {
            self.seen.mark = None;
        }
        if changes.ct_mark {
            self.seen.ct_mark = None;
        }
        None
    }

    /// A translation of a new flow. Tells whether it is known what it makes of the packet.
    fn apply(&mut self, target: &NatTarget) -> bool {
        let v6 = self.packet.v6();
        let ported = self.packet.ports().is_some();
        let address = match (target.kind, target.address) {
            (NatKind::Dnat | NatKind::Snat, address) => address,
            // Of a group's address only an address of the same scope is taken, and there may be none.
            (NatKind::Redirect, _) if self.packet.cast == Cast::Multicast => None,
            (NatKind::Redirect, _) => self
                .packet
                .device
                .and_then(|device| self.own.address(device, v6)),
            (NatKind::Masquerade, _) => self
                .own
                .route(self.packet.dst)
                .and_then(|device| self.own.address(device, v6)),
        };
        let Some(address) = address else {
            return false;
        };
        let port = target.port.filter(|_| ported);
        let Some(mut answer) = self.flow.answer else {
            return false;
        };
        match target.kind {
            NatKind::Dnat | NatKind::Redirect => {
                self.packet.dst = address;
                set_ports(&mut self.packet, None, port);
                answer.src = address;
                answer.sport = port.or(answer.sport);
                self.flow.nat |= 0x20;
            }
            NatKind::Snat | NatKind::Masquerade => {
                self.packet.src = address;
                set_ports(&mut self.packet, port, None);
                answer.dst = address;
                answer.dport = port.or(answer.dport);
                self.flow.nat |= 0x10;
            }
        }
        self.flow.answer = Some(answer);
        self.renew();
        true
    }

    /// A rule keeps it out of conntrack.
    fn untrack(&mut self) {
        self.flow = Flow {
            state: CtState::UNTRACKED,
            reply: false,
            original: None,
            answer: None,
            nat: 0,
        };
        self.seen = FlowPacket {
            ct_state: CtState::UNTRACKED,
            ct_status: (0, 0),
            ct_reply: None,
            ct_mark: None,
            ct_original: None,
            ct_answer: None,
            ..self.seen.clone()
        };
    }

    /// A flow's translation, done again for a later packet.
    fn translate_known(&mut self, hook: Hook) {
        let error = matches!(self.packet.payload, Payload::Error { .. });
        let (Some(original), Some(answer)) = (self.flow.original, self.flow.answer) else {
            return;
        };
        // In the reply direction the source's translation is undone at the destination's hook.
        let (mine, other) = if self.flow.reply {
            (answer, original)
        } else {
            (original, answer)
        };
        let destination = matches!(hook, Hook::Prerouting | Hook::Output);
        if destination && (other.src != mine.dst || other.sport != mine.dport) {
            self.packet.dst = other.src;
            if !error {
                set_ports(&mut self.packet, None, other.sport);
            }
        }
        if hook == Hook::Postrouting && (other.dst != mine.src || other.dport != mine.sport) {
            if !error || self.packet.src == mine.src {
                self.packet.src = other.dst;
            }
            if !error {
                set_ports(&mut self.packet, other.dport, None);
            }
        }
        self.renew();
    }

    /// Brings what rules see up to date after a translation.
    fn renew(&mut self) {
        let (sport, dport) = self.packet.ports().unzip();
        self.seen.src = Some(self.packet.src);
        self.seen.dst = Some(self.packet.dst);
        self.seen.sport = sport;
        self.seen.dport = dport;
        self.seen.ct_status = (0x30, self.flow.nat);
        self.seen.ct_answer = self.flow.answer;
    }
}

fn set_ports(packet: &mut Packet, new_sport: Option<u16>, new_dport: Option<u16>) {
    if let Payload::Udp { sport, dport } | Payload::Tcp { sport, dport, .. } = &mut packet.payload {
        *sport = new_sport.unwrap_or(*sport);
        *dport = new_dport.unwrap_or(*dport);
    }
}
