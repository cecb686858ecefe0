//! What comes after the first packets of flows.

use anyhow::Result;
use dockernet::host::firewall::{CtState, FlowTuple};

use crate::{
    compare::{Probe, Run},
    frame::{Packet, Payload},
    packets,
    predict::{Fate, Flow},
};

/// What the other ends send.
pub(crate) struct FollowUps {
    pub(crate) replies: Vec<(Packet, Flow)>,
    pub(crate) errors: Vec<(Packet, Flow)>,
}

impl Run<'_> {
    /// Answers and errors to what certainly passed.
    pub(crate) fn follow_up(&mut self, sent: &[Probe]) -> FollowUps {
        let mut ups = FollowUps {
            replies: Vec::new(),
            errors: Vec::new(),
        };
        for probe in sent {
            let Fate::Passed(Some(device), arrived) = &probe.fate else {
                continue;
            };
            let (packet, answer) = &**arrived;
            // Who talks to himself by way of a translation is refused by routing.
            if packet.src == packet.dst || probe.packet.src == probe.packet.dst {
                continue;
            }
            if probe.flow.state != CtState::NEW || probe.packet.device.is_none() {
                continue;
            }
            // Without a flow what comes back is as new as it was.
            if answer.is_none() {
                if let Some(reply) = packets::answer(packet, *device, self.rng) {
                    let flow = Flow::of(&reply);
                    ups.replies.push((reply, flow));
                }
                continue;
            }
            let flow = Flow {
                answer: *answer,
                reply: true,
                nat: nat_bits(&probe.flow, *answer),
                ..probe.flow
            };
            if let Some(reply) = packets::answer(packet, *device, self.rng) {
                let state = CtState::ESTABLISHED;
                ups.replies.push((reply, Flow { state, ..flow }));
            }
            if self.rng.percent(40) && !matches!(packet.payload, Payload::Esp { .. }) {
                let state = CtState::RELATED;
                ups.errors.push((
                    packets::error(packet, *device, self.rng),
                    Flow { state, ..flow },
                ));
            }
        }
        ups
    }

    /// The first side's next packets, where the answer certainly passed.
    pub(crate) fn again(&mut self, answers: Vec<Probe>) -> Result<()> {
        let mut pairs = Vec::new();
        for probe in answers {
            let (Fate::Passed(Some(device), arrived), Some(original)) =
                (&probe.fate, probe.flow.original)
            else {
                continue;
            };
            // An answer that was not tracked leaves the flow as new as it was.
            let (packet, Some(_)) = &**arrived else {
                continue;
            };
            if !probe.flow.reply {
                continue;
            }
            let payload = match packet.payload {
                Payload::Udp { sport, dport } => Payload::Udp {
                    sport: dport,
                    dport: sport,
                },
                Payload::Tcp { sport, dport, .. } => Payload::Tcp {
                    sport: dport,
                    dport: sport,
                    flags: 0x10,
                },
                _ => continue,
            };
            let again = Packet {
                device: Some(*device),
                src: original.src,
                dst: original.dst,
                ttl: 64,
                payload,
                ..packet.clone()
            };
            pairs.push((
                again,
                Flow {
                    reply: false,
                    ..probe.flow
                },
            ));
        }
        self.pairs(pairs).map(drop)
    }
}

fn nat_bits(flow: &Flow, answer: Option<FlowTuple>) -> u32 {
    let (Some(original), Some(answer)) = (flow.original, answer) else {
        return 0;
    };
    let snat = (answer.dst, answer.dport) != (original.src, original.sport);
    let dnat = (answer.src, answer.sport) != (original.dst, original.dport);
    u32::from(snat) << 4 | u32::from(dnat) << 5
}
