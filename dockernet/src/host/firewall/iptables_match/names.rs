//! Names that stand for numbers.

/// IP protocol numbers (IANA), as far as rules name them.
const PROTOCOLS: &[(&str, u8)] = &[
    ("icmp", 1),
    ("igmp", 2),
    ("ipencap", 4),
    ("ipip", 4),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", 58),
    ("ipv6-icmp", 58),
    ("icmp6", 58),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("sctp", 132),
    ("mobility-header", 135),
    ("udplite", 136),
];

/// A protocol's number from its name or number.
pub(in crate::host::firewall) fn protocol_number(text: &str) -> Option<u8> {
    text.parse().ok().or_else(|| {
        PROTOCOLS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text))
            .map(|(_, number)| *number)
    })
}

/// TCP flags as bits of the header's 14th byte.
pub(super) fn tcp_flags(text: &str) -> Option<u64> {
    text.split(',').try_fold(0, |flags, name| {
        Some(
            flags
                | match name {
                    "FIN" => 0x01,
                    "SYN" => 0x02,
                    "RST" => 0x04,
                    "PSH" => 0x08,
                    "ACK" => 0x10,
                    "URG" => 0x20,
                    "ALL" => 0x3f,
                    "NONE" => 0,
                    _ => return None,
                },
        )
    })
}

/// Type and code of ICMP messages, as nft and older iptables name them.
const ICMP: &[(&str, u64, Option<u64>)] = &[
    ("echo-reply", 0, None),
    ("pong", 0, None),
    ("destination-unreachable", 3, None),
    ("network-unreachable", 3, Some(0)),
    ("host-unreachable", 3, Some(1)),
    ("protocol-unreachable", 3, Some(2)),
    ("port-unreachable", 3, Some(3)),
    ("fragmentation-needed", 3, Some(4)),
    ("source-quench", 4, None),
    ("redirect", 5, None),
    ("echo-request", 8, None),
    ("ping", 8, None),
    ("router-advertisement", 9, None),
    ("router-solicitation", 10, None),
    ("time-exceeded", 11, None),
    ("ttl-exceeded", 11, None),
    ("parameter-problem", 12, None),
    ("timestamp-request", 13, None),
    ("timestamp-reply", 14, None),
    ("info-request", 15, None),
    ("info-reply", 16, None),
    ("address-mask-request", 17, None),
    ("address-mask-reply", 18, None),
];
const ICMPV6: &[(&str, u64, Option<u64>)] = &[
    ("destination-unreachable", 1, None),
    ("packet-too-big", 2, None),
    ("time-exceeded", 3, None),
    ("ttl-exceeded", 3, None),
    ("parameter-problem", 4, None),
    ("echo-request", 128, None),
    ("echo-reply", 129, None),
    ("mld-listener-query", 130, None),
    ("mld-listener-report", 131, None),
    ("mld-listener-done", 132, None),
    ("mld-listener-reduction", 132, None),
    ("nd-router-solicit", 133, None),
    ("router-solicitation", 133, None),
    ("nd-router-advert", 134, None),
    ("router-advertisement", 134, None),
    ("nd-neighbor-solicit", 135, None),
    ("neighbour-solicitation", 135, None),
    ("neighbor-solicitation", 135, None),
    ("nd-neighbor-advert", 136, None),
    ("neighbour-advertisement", 136, None),
    ("neighbor-advertisement", 136, None),
    ("nd-redirect", 137, None),
    ("redirect", 137, None),
    ("router-renumbering", 138, None),
    ("ind-neighbor-solicit", 141, None),
    ("ind-neighbor-advert", 142, None),
    ("mld2-listener-report", 143, None),
];

/// Type and code of an ICMP message's name.
pub(in crate::host::firewall) fn icmp_name(text: &str, v6: bool) -> Option<(u64, Option<u64>)> {
    let names = if v6 { ICMPV6 } else { ICMP };
    names
        .iter()
        .find(|(name, ..)| *name == text)
        .map(|(_, kind, code)| (*kind, *code))
}

/// Codes of destination-unreachable messages, as nft names them.
const CODES: &[(&str, u64)] = &[
    ("net-unreachable", 0),
    ("host-unreachable", 1),
    ("prot-unreachable", 2),
    ("port-unreachable", 3),
    ("frag-needed", 4),
    ("net-prohibited", 9),
    ("host-prohibited", 10),
    ("admin-prohibited", 13),
];
const CODES_V6: &[(&str, u64)] = &[
    ("no-route", 0),
    ("admin-prohibited", 1),
    ("addr-unreachable", 3),
    ("port-unreachable", 4),
    ("policy-fail", 5),
    ("reject-route", 6),
];

/// An ICMP code's number from nft's name.
pub(in crate::host::firewall) fn icmp_code(text: &str, v6: bool) -> Option<u64> {
    let names = if v6 { CODES_V6 } else { CODES };
    names
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, code)| *code)
}
