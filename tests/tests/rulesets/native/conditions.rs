//! Conditions of nft's rules.

use super::Maker;
use crate::{
    packets::PORTS,
    world::{MARKS, NEIGHBOURS, NOWHERE, neighbour},
};

impl Maker<'_> {
    pub(super) fn condition(&mut self) -> String {
        let ne = if self.rng.percent(25) { "!= " } else { "" };
        let v4 = !self.v6;
        match self.rng.below(100) {
            0..28 if !self.transport => self.transport(ne),
            28..42 => self.address(ne, v4),
            42..54 => self.interface(ne),
            54..66 if self.family != "netdev" => self.flow(ne),
            66..72 => {
                let side = self.rng.word(&["daddr", "daddr", "saddr"]);
                if self.family == "netdev" {
                    return format!("meta protocol {}", if self.v6 { "ip6" } else { "ip" });
                }
                let here = if matches!(self.hook, "prerouting" | "input" | "forward") {
                    self.rng.maybe(15, " . iif")
                } else {
                    ""
                };
                format!(
                    "fib {side}{here} type {ne}{}",
                    self.rng.word(&[
                        "local",
                        "local",
                        "unicast",
                        "multicast",
                        "{ local, multicast }"
                    ])
                )
            }
            72..78 => {
                let (_, mark) = self.rng.pick(&MARKS);
                match self.rng.below(3) {
                    0 => format!("meta mark {ne}{mark:#x}"),
                    1 => format!(
                        "meta mark and 0xf {}{:#x}",
                        if ne.is_empty() { "== " } else { ne },
                        mark & 0xf
                    ),
                    _ => format!("meta mark {ne}{{ 0x1, 0x2, 0xff00 }}"),
                }
            }
            78..82 => format!(
                "meta pkttype {ne}{}",
                self.rng
                    .word(&["host", "multicast", "broadcast", "{ host, broadcast }"])
            ),
            82..86 if v4 => format!(
                "ip ttl {}",
                self.rng
                    .word(&["> 63", "< 42", "41", "!= 63", "{ 41, 63, 64 }"])
            ),
            82..86 => format!(
                "ip6 hoplimit {}",
                self.rng.word(&["> 63", "< 42", "41", "!= 63"])
            ),
            86..89 if self.family == "inet" => {
                format!("meta nfproto {}", if self.v6 { "ipv6" } else { "ipv4" })
            }
            89..92 if self.family == "inet" => {
                format!("meta protocol {}", if self.v6 { "ip6" } else { "ip" })
            }
            92..94 if self.style.strange => self
                .rng
                .word(&[
                    "limit rate 9999/second",
                    "meta length < 80",
                    "numgen inc mod 2 0",
                    "ip dscp cs0",
                ])
                .to_owned(),
            _ => String::new(),
        }
        .replace(
            "ip dscp cs0",
            if self.v6 {
                "ip6 dscp cs0"
            } else {
                "ip dscp cs0"
            },
        )
    }

    fn transport(&mut self, ne: &str) -> String {
        self.transport = true;
        let port = *self.rng.pick(&PORTS);
        let other = *self.rng.pick(&PORTS);
        let (low, high) = (port.min(other), port.max(other));
        let l4 = self.rng.word(&["udp", "udp", "tcp", "th"]);
        let side = self.rng.word(&["dport", "dport", "sport"]);
        let high = if low == high { high + 1 } else { high };
        match self.rng.below(100) {
            0..18 => format!("{l4} {side} {ne}{port}"),
            18..30 => format!("{l4} {side} {ne}{low}-{high}"),
            30..40 => format!("{l4} {side} {ne}{{ 9, {low}, {high} }}"),
            40..48 => format!("{l4} {side} {ne}@ports"),
            48..54 => format!(
                "{l4} {side} {} {port}",
                self.rng.word(&["<", ">", "<=", ">="])
            ),
            54..62 => format!(
                "meta l4proto {ne}{}",
                self.rng.word(&["tcp", "udp", "{ tcp, udp }", "esp"])
            ),
            62..70 => format!("meta l4proto {{ tcp, udp }} th {side} {ne}{{ {low}, {high} }}"),
            70..80 => self
                .rng
                .word(&[
                    "tcp flags syn",
                    "tcp flags & (syn | ack) == syn",
                    "tcp flags != syn",
                    "tcp flags & (fin | syn | rst | ack) != syn",
                    "tcp flags { syn, syn | ack }",
                    "tcp flags & fin != 0",
                    "tcp flags fin,rst",
                    "tcp flags syn / syn,ack",
                    "tcp flags ! syn",
                ])
                .to_owned(),
            _ => {
                if self.v6 {
                    format!(
                        "icmpv6 type {ne}{}",
                        self.rng.word(&[
                            "echo-request",
                            "{ echo-request, destination-unreachable }",
                            "1"
                        ])
                    )
                } else {
                    self.rng
                        .word(&[
                            "icmp type echo-request",
                            "icmp type != echo-request",
                            "icmp type { echo-reply, 8 }",
                            "icmp code 3",
                            "icmp type destination-unreachable icmp code host-unreachable",
                        ])
                        .to_owned()
                }
            }
        }
    }

    fn address(&mut self, ne: &str, v4: bool) -> String {
        let side = self.rng.word(&["saddr", "daddr", "daddr"]);
        let device = self.rng.below(4);
        let joined = !self.transport && self.rng.percent(25);
        self.transport |= joined;
        let host = neighbour(device, *self.rng.pick(&NEIGHBOURS), !v4);
        let nowhere = NOWHERE[usize::from(!v4)];
        if v4 {
            let own = neighbour(device, 1, false);
            match self.rng.below(8) {
                _ if joined => format!(
                    "ip {side} . {} dport {ne}@pairs",
                    self.rng.word(&["udp", "tcp", "th"])
                ),
                0..3 => format!("ip {side} {ne}{host}"),
                3 => format!("ip {side} {ne}198.51.100.0/25"),
                4 => format!("ip {side} {ne}{{ {host}, 192.0.2.128/25, {nowhere} }}"),
                5 => format!("ip {side} {ne}@hosts"),
                _ => format!("ip {side} {ne}{}-{own}", neighbour(device, 0, false)),
            }
        } else {
            match self.rng.below(4) {
                _ if joined => format!("ip6 {side} . udp dport {ne}@pairs6"),
                0 | 1 => format!("ip6 {side} {ne}{host}"),
                2 => format!("ip6 {side} {ne}2001:db8:50::/64"),
                _ => format!("ip6 {side} {ne}@hosts6"),
            }
        }
    }

    fn interface(&mut self, ne: &str) -> String {
        let name = self.rng.word(&["c0", "c1", "s0", "s1"]);
        let way = match self.hook {
            "ingress" | "prerouting" | "nat prerouting" | "input" => "iif",
            "output" => "oif",
            _ if self.family == "netdev" => "iif",
            _ => self.rng.word(&["iif", "oif"]),
        };
        match self.rng.below(8) {
            0..2 => format!("{way}name {ne}\"{name}\""),
            2 => format!("{way} {ne}\"{name}\""),
            3 => format!("{way}name {ne}\"{}*\"", &name[..1]),
            4 => format!("{way}name {ne}{{ \"{name}\", \"docker0\" }}"),
            5 => format!("{way}name {ne}@names"),
            6 => format!("{way}name {ne}{{ \"s*\", \"c1\" }}"),
            _ => format!("iifname . {way}name {ne}{{ \"c0\" . \"{name}\", \"s0\" . \"s0\" }}"),
        }
    }

    fn flow(&mut self, ne: &str) -> String {
        let port = *self.rng.pick(&PORTS);
        let family = if self.v6 { "ip6" } else { "ip" };
        let host = neighbour(
            self.rng.below(4),
            *self.rng.pick(&NEIGHBOURS),
            family == "ip6",
        );
        match self.rng.below(100) {
            0..25 => format!(
                "ct state {}",
                self.rng.word(&[
                    "new",
                    "established,related",
                    "invalid",
                    "established",
                    "new,invalid",
                    "related"
                ])
            ),
            25..38 => format!(
                "ct state {ne}{}",
                self.rng.word(&[
                    "{ new, related }",
                    "{ established, related }",
                    "new",
                    "invalid",
                    "{ invalid, untracked }"
                ])
            ),
            38..50 => format!(
                "ct status {}",
                self.rng.word(&[
                    "dnat",
                    "snat",
                    "dnat,snat",
                    "confirmed",
                    "& dnat == dnat",
                    "seen-reply"
                ])
            )
            .replace("status & ", "status and "),
            50..60 => format!("ct direction {ne}{}", self.rng.word(&["original", "reply"])),
            60..75 => format!(
                "ct original {family} {} {ne}{host}",
                self.rng.word(&["saddr", "daddr"])
            ),
            75..82 => format!("ct reply {family} saddr {ne}{host}"),
            82..92 if !self.transport => {
                self.transport = true;
                format!("meta l4proto {{ tcp, udp }} ct original proto-dst {ne}{port}")
            }
            92..96 => format!("ct mark {ne}0x7"),
            // Not beside ports: nft 1.0.6 then leaves it out of its listing, and nobody can know of it.
            _ if !self.transport => {
                self.transport = true;
                format!(
                    "ct original protocol {ne}{}",
                    self.rng.word(&["udp", "tcp"])
                )
            }
            _ => String::new(),
        }
    }
}
