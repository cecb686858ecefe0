//! Conditions of a rule in iptables-save form.

mod names;

use std::net::IpAddr;

use super::{
    eval::address_kind,
    iptables::Word,
    iptables_target::value_mask,
    matching::{Elements, Field, Item, Key, Match},
    model::Family,
    packet::CtState,
};
pub(super) use names::{icmp_code, icmp_name, protocol_number};

/// Reads everything before `-j`: the conditions, and the comment.
pub(super) fn parse_matches(words: &[Word], family: Family) -> (Vec<Match>, Option<String>) {
    let mut reader = Reader {
        words,
        at: 0,
        family,
        module: String::new(),
        limit_iface_in: words
            .iter()
            .any(|word| !word.quoted && word.text == "--limit-iface-in"),
        matches: Vec::new(),
        begun: 0,
        state_at: None,
        comment: None,
    };
    while reader.at < words.len() {
        reader.option();
    }
    reader.end_module();
    (reader.matches, reader.comment)
}

struct Reader<'a> {
    words: &'a [Word],
    at: usize,
    family: Family,
    module: String,
    limit_iface_in: bool,
    matches: Vec<Match>,
    /// First condition of the module that is being read.
    begun: usize,
    /// Its `--ctstate`.
    state_at: Option<usize>,
    comment: Option<String>,
}

/// Modules whose options are read one by one; all others cannot be told as a whole.
const KNOWN: &[&str] = &[
    "addrtype",
    "comment",
    "connmark",
    "conntrack",
    "dccp",
    "hl",
    "icmp",
    "icmp6",
    "ipv6-icmp",
    "iprange",
    "mark",
    "multiport",
    "physdev",
    "rt",
    "pkttype",
    "sctp",
    "state",
    "tcp",
    "ttl",
    "udp",
    "udplite",
];

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.at)?;
        self.at += 1;
        Some(&word.text)
    }

    fn option(&mut self) {
        let start = self.at;
        let mut negated = false;
        let Some(mut name) = self.next() else {
            return;
        };
        if name == "!" {
            negated = true;
            let Some(next) = self.next() else {
                return;
            };
            name = next;
        }
        if name == "-m" {
            self.module(start);
            return;
        }
        let Some(found) = self.condition(name, negated) else {
            // Not read: everything up to the next module is one condition that cannot be told.
            self.at = self.at.max(start + 1);
            self.skip(start);
            return;
        };
        self.matches.extend(found);
    }

    /// A packet without a flow whose state fits is not asked for more (`conntrack_mt`, net/netfilter/xt_conntrack.c).
    fn end_module(&mut self) {
        if let Some(state) = self.state_at.take() {
            let others = self.matches.iter_mut().enumerate().skip(self.begun);
            for (_, other) in others.filter(|(at, _)| *at != state) {
                let flowless = u64::from(CtState::NO_FLOW.0);
                *other = Match::AnyOf {
                    negated: false,
                    of: vec![
                        test(Field::CtState, false, vec![vec![Item::Bits(flowless)]]),
                        other.clone(),
                    ],
                };
            }
        }
        self.begun = self.matches.len();
    }

    fn module(&mut self, start: usize) {
        self.end_module();
        self.module = self.next().unwrap_or_default().to_owned();
        if !KNOWN.contains(&self.module.as_str()) {
            self.skip(start);
        }
    }

    /// Takes the words up to the next `-m` as one unknown condition.
    fn skip(&mut self, start: usize) {
        while let Some(word) = self.words.get(self.at) {
            if !word.quoted && word.text == "-m" {
                break;
            }
            self.at += 1;
        }
        let text: Vec<&str> = self
            .words
            .get(start..self.at)
            .unwrap_or_default()
            .iter()
            .map(|word| word.text.as_str())
            .collect();
        self.matches.push(Match::Unknown(text.join(" ")));
    }

    /// One option with its value. `None` if it cannot be read.
    fn condition(&mut self, name: &str, negated: bool) -> Option<Option<Match>> {
        if name == "--comment" {
            self.comment = Some(self.next()?.to_owned());
            return Some(None);
        }
        if name == "--limit-iface-in" {
            return Some(None);
        }
        let flag = match name {
            "--syn" => Some(test_masked(Field::TcpFlags, 0x17, 0x02, negated)),
            "--physdev-is-in" => Some(present(Field::PhysIn, negated)),
            "--physdev-is-out" => Some(present(Field::PhysOut, negated)),
            "--physdev-is-bridged" => Some(Match::AnyOf {
                negated: !negated,
                of: vec![present(Field::PhysIn, true), present(Field::PhysOut, true)],
            }),
            _ => None,
        };
        if flag.is_some() {
            return Some(flag);
        }
        let value = self.next()?;
        self.valued(name, value, negated).map(Some)
    }

    fn valued(&mut self, name: &str, value: &str, negated: bool) -> Option<Match> {
        let interface = |field| {
            Some(test(
                field,
                negated,
                vec![vec![Item::interface(value, '+')]],
            ))
        };
        let addresses = |field| Some(test(field, negated, vec![vec![prefix(value)?]]));
        let numbers = |field| Some(test(field, negated, ranges(value)?));
        let local = self.limit_iface_in;
        match name {
            "-i" => interface(Field::Iif),
            "-o" => interface(Field::Oif),
            "--physdev-in" => interface(Field::PhysIn),
            "--physdev-out" => interface(Field::PhysOut),
            "-s" => addresses(Field::Saddr),
            "-d" => addresses(Field::Daddr),
            "--src-range" => Some(test(Field::Saddr, negated, vec![vec![range(value)?]])),
            "--dst-range" => Some(test(Field::Daddr, negated, vec![vec![range(value)?]])),
            "-p" => Some(test(
                Field::L4Proto,
                negated,
                vec![vec![Item::number(protocol_number(value)?.into())]],
            )),
            "--sport" | "--sports" => numbers(Field::Sport),
            "--dport" | "--dports" => numbers(Field::Dport),
            "--ports" => Some(Match::AnyOf {
                negated,
                of: vec![
                    test(Field::Sport, false, ranges(value)?),
                    test(Field::Dport, false, ranges(value)?),
                ],
            }),
            "--tcp-flags" => {
                let mask = names::tcp_flags(value)?;
                let set = names::tcp_flags(self.next()?)?;
                Some(test_masked(Field::TcpFlags, mask, set, negated))
            }
            "--icmp-type" | "--icmpv6-type" => icmp(value, self.family, negated),
            "--ctstate" | "--state" => {
                self.state_at = Some(self.matches.len());
                state(value, negated)
            }
            "--ctstatus" => status(value, negated),
            "--ctproto" => Some(test(
                Field::CtProto,
                negated,
                vec![vec![Item::number(protocol_number(value)?.into())]],
            )),
            "--ctdir" => {
                let reply = match value {
                    "ORIGINAL" => 0,
                    "REPLY" => 1,
                    _ => return None,
                };
                Some(test(Field::CtDir, negated, vec![vec![Item::number(reply)]]))
            }
            "--ctorigsrc" => addresses(Field::CtOrigSaddr),
            "--ctorigdst" => addresses(Field::CtOrigDaddr),
            "--ctreplsrc" => addresses(Field::CtReplSaddr),
            "--ctrepldst" => addresses(Field::CtReplDaddr),
            "--ctorigsrcport" => numbers(Field::CtOrigSport),
            "--ctorigdstport" => numbers(Field::CtOrigDport),
            "--ctreplsrcport" => numbers(Field::CtReplSport),
            "--ctrepldstport" => numbers(Field::CtReplDport),
            "--mark" => {
                let (mark, mask) = value_mask(value)?;
                let field = match self.module.as_str() {
                    "mark" => Field::Mark,
                    "connmark" => Field::CtMark,
                    _ => return None,
                };
                Some(test_masked(field, mask.into(), mark.into(), negated))
            }
            "--src-type" if local => kinds(Field::SaddrTypeIif, value, negated, self.family),
            "--dst-type" if local => kinds(Field::DaddrTypeIif, value, negated, self.family),
            "--src-type" => kinds(Field::SaddrType, value, negated, self.family),
            "--dst-type" => kinds(Field::DaddrType, value, negated, self.family),
            "--pkt-type" => {
                let kind = match value {
                    "unicast" => 0,
                    "broadcast" => 1,
                    "multicast" => 2,
                    _ => return None,
                };
                Some(test(
                    Field::PktType,
                    negated,
                    vec![vec![Item::number(kind)]],
                ))
            }
            "--rt-type" => numbers(Field::RoutingType),
            "--ttl-eq" | "--hl-eq" => numbers(Field::Ttl),
            "--ttl-lt" | "--hl-lt" => {
                let limit: u64 = value.parse().ok()?;
                let below = limit.checked_sub(1).map(|most| vec![Item::Number(0, most)]);
                Some(test(Field::Ttl, negated, below.into_iter().collect()))
            }
            "--ttl-gt" | "--hl-gt" => {
                let limit: u64 = value.parse().ok()?;
                let above = Item::Number(limit.checked_add(1)?, u64::MAX);
                Some(test(Field::Ttl, negated, vec![vec![above]]))
            }
            _ => None,
        }
    }
}

pub(super) fn test(field: Field, negated: bool, elements: Vec<Elements>) -> Match {
    Match::Test {
        keys: vec![field.into()],
        negated,
        elements,
    }
}

pub(super) fn test_masked(field: Field, mask: u64, value: u64, negated: bool) -> Match {
    Match::Test {
        keys: vec![Key { field, mask }],
        negated,
        elements: vec![vec![Item::number(value)]],
    }
}

/// Whether there is such a device at all: no name is the empty one.
fn present(field: Field, negated: bool) -> Match {
    test(field, !negated, vec![vec![Item::Name(String::new())]])
}

pub(super) fn prefix(text: &str) -> Option<Item> {
    if let Ok(net) = text.parse::<ipnet::IpNet>() {
        return Some(Item::prefix(net));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(Item::Address(address, address));
    }
    // A mask that is no prefix length, such as 10.0.0.1/255.0.0.255.
    let (address, mask) = text.split_once('/')?;
    let net = ipnet::IpNet::with_netmask(address.parse().ok()?, mask.parse().ok()?).ok()?;
    Some(Item::prefix(net))
}

fn range(text: &str) -> Option<Item> {
    let (low, high) = text.split_once('-')?;
    Some(Item::Address(low.parse().ok()?, high.parse().ok()?))
}

/// `80`, `1024:65535`, `80,443,8000:8100`.
pub(super) fn ranges(text: &str) -> Option<Vec<Elements>> {
    text.split(',')
        .map(|part| {
            let (low, high) = part.split_once(':').unwrap_or((part, part));
            Some(vec![Item::Number(low.parse().ok()?, high.parse().ok()?)])
        })
        .collect()
}

fn state(text: &str, negated: bool) -> Option<Match> {
    let mut states = 0_u64;
    let mut status = 0_u64;
    for name in text.split(',') {
        match name {
            "INVALID" => states |= u64::from(CtState::INVALID.0),
            "ESTABLISHED" => states |= u64::from(CtState::ESTABLISHED.0),
            "RELATED" => states |= u64::from(CtState::RELATED.0),
            "NEW" => states |= u64::from(CtState::NEW.0),
            "UNTRACKED" => states |= u64::from(CtState::UNTRACKED.0),
            "SNAT" => status |= 0x10,
            "DNAT" => status |= 0x20,
            _ => return None,
        }
    }
    let by_state = |negated| test(Field::CtState, negated, vec![vec![Item::Bits(states)]]);
    let by_status = test(Field::CtStatus, false, vec![vec![Item::Bits(status)]]);
    Some(match status {
        0 => by_state(negated),
        _ => Match::AnyOf {
            negated,
            of: vec![by_state(false), by_status],
        },
    })
}

/// `enum ip_conntrack_status` (include/uapi/linux/netfilter/nf_conntrack_common.h).
fn status(text: &str, negated: bool) -> Option<Match> {
    let mut bits = 0_u64;
    for name in text.split(',') {
        bits |= match name {
            "EXPECTED" => 1,
            "SEEN_REPLY" => 2,
            "ASSURED" => 4,
            "CONFIRMED" => 8,
            _ => return None,
        };
    }
    Some(test(Field::CtStatus, negated, vec![vec![Item::Bits(bits)]]))
}

fn kinds(field: Field, text: &str, negated: bool, family: Family) -> Option<Match> {
    let mut bits = 0_u64;
    for name in text.split(',') {
        bits |= match name {
            "UNICAST" => address_kind::UNICAST,
            "LOCAL" => address_kind::LOCAL,
            "BROADCAST" => address_kind::BROADCAST,
            "ANYCAST" => address_kind::ANYCAST,
            "MULTICAST" => address_kind::MULTICAST,
            "BLACKHOLE" => 1 << 6,
            "UNREACHABLE" => 1 << 7,
            "PROHIBIT" => 1 << 8,
            "THROW" => 1 << 9,
            _ => return None,
        };
    }
    if family == Family::Ip6 {
        return Some(kinds_v6(field, bits, negated));
    }
    Some(test(field, negated, vec![vec![Item::Bits(bits)]]))
}

/// For IPv6 several kinds must hold together, and a local address is a unicast one too (`addr_type6`,
/// net/netfilter/xt_addrtype.c).
fn kinds_v6(field: Field, bits: u64, negated: bool) -> Match {
    use address_kind::{ANYCAST, LOCAL, MULTICAST, REJECTED, UNICAST};
    let routed = bits & (LOCAL | ANYCAST | REJECTED);
    let any_unicast = UNICAST | LOCAL | ANYCAST | REJECTED;
    let parts = [
        (bits & MULTICAST != 0, MULTICAST),
        (bits & UNICAST != 0, any_unicast),
        (routed != 0, routed),
    ];
    let failing = parts
        .into_iter()
        .filter(|(asked, _)| *asked)
        .map(|(_, bits)| test(field, true, vec![vec![Item::Bits(bits)]]));
    Match::AnyOf {
        negated: !negated,
        of: failing.collect(),
    }
}

/// `8`, `3/4`, `any`, and the names that old programs write.
pub(super) fn icmp(text: &str, family: Family, negated: bool) -> Option<Match> {
    if text == "any" || text == "255" {
        return Some(test(Field::IcmpType, negated, vec![vec![Item::Any]]));
    }
    let (kind, code) = match text.split_once('/') {
        Some((kind, code)) => (kind.parse().ok()?, Some(code.parse().ok()?)),
        None => match text.parse() {
            Ok(kind) => (kind, None),
            Err(_) => icmp_name(text, family == Family::Ip6)?,
        },
    };
    Some(match code {
        None => test(Field::IcmpType, negated, vec![vec![Item::number(kind)]]),
        Some(code) => Match::Test {
            keys: vec![Field::IcmpType.into(), Field::IcmpCode.into()],
            negated,
            elements: vec![vec![Item::number(kind), Item::number(code)]],
        },
    })
}
