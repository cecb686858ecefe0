//! `NFT_MSG_TRACE`: what became of a traced packet (include/uapi/linux/netfilter/nf_tables.h, 4.5+).

use std::collections::HashMap;

use super::flow::Flow;
use crate::host::{
    changes::attribute,
    firewall::{Family, Jump, Traced},
};

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_TRACE`.
const TRACE: u16 = 10 << 8 | 17;
/// `NFT_TRACETYPE_*`.
const POLICY: u32 = 1;
const RULE: u32 = 3;
/// `NF_DROP`, `NFT_JUMP` and `NFT_GOTO`.
const DROP: i32 = 0;
const JUMP: i32 = -3;
const GOTO: i32 = -4;
/// Packets whose traces are followed; more are those of other people's rules, or lost ones.
const PACKETS: usize = 1024;
/// Jumps remembered of a packet.
const JUMPS: usize = 256;

/// Packets on their way, by the id of their trace.
#[derive(Default)]
pub(super) struct Packets(HashMap<u32, Packet>);

struct Packet {
    flow: Flow,
    /// Within the base chain that it is in.
    jumps: Vec<Jump>,
}

/// One message, as far as it is needed.
#[derive(Default)]
struct Event<'a> {
    id: u32,
    kind: u32,
    table: String,
    chain: String,
    handle: Option<u64>,
    verdict: Option<i32>,
    target: Option<String>,
    policy: Option<i32>,
    network: &'a [u8],
    transport: &'a [u8],
}

impl Packets {
    /// Takes a message with its header; the packet as it was dropped and by what, if it was.
    pub(super) fn take(&mut self, kind: u16, message: &[u8]) -> Option<(Flow, Traced)> {
        if kind != TRACE {
            return None;
        }
        let body = message.get(16..)?;
        let event = event(body.get(4..)?)?;
        // The table's family, not the packet's.
        let family = family(*body.first()?)?;
        // Only the first message of a base chain has the headers. The id alone would not do: it is another one behind a
        // bridge, since the kernel makes it from `skb_iif` too.
        if let Some(flow) = Flow::of_headers(event.network, event.transport) {
            if self.0.len() >= PACKETS {
                self.0.clear();
            }
            let jumps = Vec::new();
            self.0.insert(event.id, Packet { flow, jumps });
        }
        let jumps = &mut self.0.get_mut(&event.id)?.jumps;
        let handle = match (event.kind, event.verdict?) {
            (RULE, JUMP | GOTO) if jumps.len() < JUMPS => {
                jumps.push(Jump {
                    chain: event.chain,
                    handle: event.handle?,
                    target: event.target?,
                });
                return None;
            }
            (RULE, DROP) => Some(event.handle?),
            (POLICY, _) if event.policy == Some(DROP) => None,
            _ => return None,
        };
        let Packet { flow, jumps } = self.0.remove(&event.id)?;
        let traced = Traced {
            family,
            table: event.table,
            chain: event.chain,
            handle,
            jumps,
        };
        Some((flow, traced))
    }
}

/// `NFPROTO_*` of the chain.
fn family(number: u8) -> Option<Family> {
    Some(match number {
        1 => Family::Inet,
        2 => Family::Ip,
        5 => Family::Netdev,
        7 => Family::Bridge,
        10 => Family::Ip6,
        _ => return None,
    })
}

fn event(mut rest: &[u8]) -> Option<Event<'_>> {
    let mut event = Event::default();
    while let Some((kind, value, after)) = attribute(rest) {
        rest = after;
        match kind {
            1 => event.table = text(value),
            2 => event.chain = text(value),
            3 => event.handle = Some(u64::from_be_bytes(*value.first_chunk()?)),
            4 => event.kind = u32::from_be_bytes(*value.first_chunk()?),
            5 => {
                let mut rest = value;
                while let Some((kind, value, after)) = attribute(rest) {
                    rest = after;
                    match kind {
                        1 => event.verdict = Some(i32::from_be_bytes(*value.first_chunk()?)),
                        2 => event.target = Some(text(value)),
                        _ => {}
                    }
                }
            }
            6 => event.id = u32::from_be_bytes(*value.first_chunk()?),
            8 => event.network = value,
            9 => event.transport = value,
            16 => event.policy = Some(i32::from_be_bytes(*value.first_chunk()?)),
            _ => {}
        }
    }
    Some(event)
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == 0);
    let value = value.get(..end.unwrap_or(value.len())).unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn attr(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len())
            .unwrap()
            .to_ne_bytes()
            .to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// A message of packet 7 in `ip filter`: what is in it beside the chain.
    fn message(chain: &str, parts: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        bytes.extend([2, 0, 0, 0]);
        bytes.extend(attr(1, b"filter\0"));
        bytes.extend(attr(2, chain.as_bytes()));
        bytes.extend(attr(6, &7_u32.to_be_bytes()));
        bytes.extend(parts.concat());
        bytes
    }

    fn rule(handle: u64, verdict: i32, target: &str) -> Vec<u8> {
        let code = attr(1, &verdict.to_be_bytes());
        let verdict = [code, attr(2, target.as_bytes())].concat();
        let handle = attr(3, &handle.to_be_bytes());
        [handle, attr(4, &RULE.to_be_bytes()), attr(5, &verdict)].concat()
    }

    fn headers() -> Vec<u8> {
        let mut network = [0; 20];
        network[0] = 0x45;
        network[9] = 6;
        network[12..20].copy_from_slice(&[172, 17, 0, 2, 192, 0, 2, 1]);
        let transport = [0x9c, 0x40, 0, 80];
        [attr(8, &network), attr(9, &transport)].concat()
    }

    #[test]
    fn the_dropping_rule_and_the_way_to_it() {
        let mut packets = Packets::default();
        let first = message("FORWARD", &[headers(), rule(3, JUMP, "DOCKER-USER")]);
        assert_eq!(packets.take(TRACE, &first), None);
        let last = message("DOCKER-USER", &[rule(9, DROP, "")]);
        // Another kind of message, and each beginning of this one, say nothing.
        assert_eq!(packets.take(TRACE - 1, &last), None);
        for end in 0..20 {
            assert_eq!(packets.take(TRACE, &last[..end]), None, "{end}");
        }
        let (flow, traced) = packets.take(TRACE, &last).unwrap();
        assert_eq!(flow.ports, Some([40000, 80]));
        assert_eq!(flow.dst.to_string(), "192.0.2.1");
        let jump = Jump {
            chain: "FORWARD".into(),
            handle: 3,
            target: "DOCKER-USER".into(),
        };
        let wanted = Traced {
            family: Family::Ip,
            table: "filter".into(),
            chain: "DOCKER-USER".into(),
            handle: Some(9),
            jumps: vec![jump],
        };
        assert_eq!(traced, wanted);
        // It is dead.
        assert_eq!(packets.take(TRACE, &last), None);
    }

    #[test]
    fn a_policy_drops_or_accepts() {
        let policy = |policy: i32| {
            let kind = attr(4, &POLICY.to_be_bytes());
            let verdict = attr(5, &attr(1, &policy.to_be_bytes()));
            [headers(), kind, verdict, attr(16, &policy.to_be_bytes())]
        };
        let mut packets = Packets::default();
        let accepted = packets.take(TRACE, &message("FORWARD", &policy(1)));
        assert_eq!(accepted, None);
        let dropped = packets.take(TRACE, &message("FORWARD", &policy(DROP)));
        assert_eq!(dropped.map(|(_, traced)| traced.handle), Some(None));
    }
}
