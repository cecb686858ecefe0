//! Random rules for `iptables-restore` and `ip6tables-restore`.

use crate::{
    packets::PORTS,
    rng::Rng,
    world::{MARKS, NEIGHBOURS, NOWHERE, neighbour},
};

/// A table's built-in chains.
const TABLES: [(&str, &[&str]); 4] = [
    ("raw", &["PREROUTING", "OUTPUT"]),
    (
        "mangle",
        &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
    ),
    ("nat", &["PREROUTING", "POSTROUTING"]),
    ("filter", &["INPUT", "FORWARD", "OUTPUT"]),
];
/// Chains that rules jump to, each only to later ones: the kernel refuses loops.
const USER: [&str; 5] = ["ONE", "TWO", "THREE", "FOUR", "FIVE"];

/// What the rules of one family may hold.
pub(crate) struct Style {
    pub(crate) v6: bool,
    /// Matches that the simulation does not know.
    pub(crate) strange: bool,
    pub(crate) nat: bool,
    pub(crate) notrack: bool,
}

/// A whole dump.
pub(crate) fn dump(rng: &mut Rng, style: &Style) -> String {
    let mut text = String::new();
    for (table, chains) in TABLES {
        if table == "nat" && !style.nat || table != "filter" && rng.percent(30) {
            continue;
        }
        text += &format!("*{table}\n");
        for chain in chains {
            let policy = if table != "nat" && rng.percent(12) {
                "DROP"
            } else {
                "ACCEPT"
            };
            text += &format!(":{chain} {policy} [0:0]\n");
        }
        for chain in USER {
            text += &format!(":{chain} - [0:0]\n");
        }
        for (at, chain) in USER.iter().enumerate() {
            for _ in 0..1 + rng.below(4) {
                text += &Maker {
                    rng,
                    style,
                    table,
                    chain,
                    later: &USER[at + 1..],
                }
                .rule();
            }
        }
        for chain in chains {
            for _ in 0..1 + rng.below(6) {
                text += &Maker {
                    rng,
                    style,
                    table,
                    chain,
                    later: &USER,
                }
                .rule();
            }
        }
        text += "COMMIT\n";
    }
    text
}

struct Maker<'a> {
    rng: &'a mut Rng,
    style: &'a Style,
    table: &'a str,
    chain: &'a str,
    later: &'a [&'a str],
}

impl Maker<'_> {
    fn rule(&mut self) -> String {
        let (needs, target) = self.target();
        // At most one protocol with what goes with it, and at most one of each other.
        let mut words = vec![format!("-A {}", self.chain)];
        let count = 1 + self.rng.below(3);
        let mut kinds: Vec<usize> = Vec::new();
        while kinds.len() < count {
            let kind = self.rng.below(100);
            if !kinds.contains(&class(kind)) {
                kinds.push(class(kind));
            }
        }
        if !needs.is_empty() {
            kinds.retain(|kind| *kind != 0);
            words.push(needs.to_owned());
        }
        for kind in kinds {
            words.push(self.condition(kind));
        }
        words.retain(|word| !word.is_empty());
        words.push(target);
        words.join(" ") + "\n"
    }

    fn not(&mut self) -> &'static str {
        self.rng.maybe(25, "! ")
    }

    /// What the target needs, and the target.
    fn target(&mut self) -> (&'static str, String) {
        let plain = |text: &str| ("", text.to_owned());
        let roll = self.rng.below(100);
        if self.table == "nat" {
            return self.nat(roll);
        }
        match roll {
            0..24 => plain("-j DROP"),
            24..34 => plain("-j ACCEPT"),
            34..46 => plain("-j RETURN"),
            46..68 if !self.later.is_empty() => {
                let to = *self.rng.pick(self.later);
                let how = if self.rng.percent(25) { "-g" } else { "-j" };
                ("", format!("{how} {to}"))
            }
            68..86 if self.table == "mangle" => plain(self.rng.word(&[
                "-j MARK --set-xmark 0x1/0xffffffff",
                "-j MARK --set-xmark 0x10/0xf0",
                "-j MARK --or-mark 0x2",
                "-j MARK --and-mark 0xff01",
                "-j MARK --xor-mark 0x3",
                "-j CONNMARK --save-mark",
                "-j CONNMARK --restore-mark",
                "-j CONNMARK --set-xmark 0x7/0xffffffff",
            ])),
            68..74 if self.table == "filter" => {
                let reject = self.rng.percent(40);
                if reject {
                    (
                        "-p tcp -m tcp",
                        "-j REJECT --reject-with tcp-reset".to_owned(),
                    )
                } else {
                    plain("-j REJECT")
                }
            }
            74..78 if self.table == "raw" && self.style.notrack => plain("-j CT --notrack"),
            78..80 if self.table == "mangle" => {
                let (low, set) = if self.style.v6 {
                    ("HL", "--hl-set")
                } else {
                    ("TTL", "--ttl-set")
                };
                ("", format!("-j {low} {set} 33"))
            }
            80..84 => {
                plain("-m comment --comment \"a -j DROP in words\" -j NFLOG --nflog-group 77")
            }
            _ => plain(""),
        }
    }

    fn nat(&mut self, roll: usize) -> (&'static str, String) {
        let host = neighbour(
            self.rng.below(4),
            *self.rng.pick(&NEIGHBOURS),
            self.style.v6,
        );
        let plain = |text: String| ("", text);
        match (self.chain, roll) {
            ("PREROUTING", 0..25) => plain(format!("-j DNAT --to-destination {host}")),
            ("PREROUTING", 25..45) => {
                let port = *self.rng.pick(&PORTS);
                let to = if self.style.v6 {
                    format!("[{host}]:{port}")
                } else {
                    format!("{host}:{port}")
                };
                ("-p udp -m udp", format!("-j DNAT --to-destination {to}"))
            }
            ("PREROUTING", 45..60) => ("-p tcp -m tcp", "-j REDIRECT --to-ports 8081".to_owned()),
            ("POSTROUTING", 0..30) => plain("-j MASQUERADE".to_owned()),
            ("POSTROUTING", 30..50) => plain(format!("-j SNAT --to-source {host}")),
            (_, 60..80) if !self.later.is_empty() => {
                plain(format!("-j {}", self.rng.pick(self.later)))
            }
            (_, 80..90) => plain("-j RETURN".to_owned()),
            (_, 90..95) => plain("-j ACCEPT".to_owned()),
            _ => plain(String::new()),
        }
    }

    fn condition(&mut self, class: usize) -> String {
        let not = self.not();
        match class {
            0 => self.protocol(),
            1 => format!("{not}-s {}", self.net()),
            2 => format!("{not}-d {}", self.net()),
            3 => self.interface(),
            4 => self.conntrack(),
            5 => self.kind(),
            6 => {
                let (_, mark) = self.rng.pick(&MARKS);
                let mask = *self.rng.pick(&[0xffff_ffff_u32, 0xff, 0xf0, 0x1, 0x3]);
                let module = if self.rng.percent(75) {
                    "mark"
                } else {
                    "connmark"
                };
                format!("-m {module} {not}--mark {:#x}/{mask:#x}", mark & mask)
            }
            7 => {
                let (a, b) = (self.rng.below(4), 1 + self.rng.below(3));
                let low = neighbour(a, 2, self.style.v6);
                let high = neighbour(a, u8::try_from(2 + b).unwrap_or(2), self.style.v6);
                let side = self.rng.word(&["--src-range", "--dst-range"]);
                format!("-m iprange {not}{side} {low}-{high}")
            }
            8 => {
                let kind = self.rng.word(&["unicast", "broadcast", "multicast"]);
                format!("-m pkttype {not}--pkt-type {kind}")
            }
            9 => {
                let how = self.rng.word(&["eq", "lt", "gt"]);
                let value = self.rng.pick(&[41, 42, 63, 64, 127, 2]);
                let module = if self.style.v6 { "hl" } else { "ttl" };
                format!("-m {module} --{module}-{how} {value}")
            }
            10 if self.style.strange => self
                .rng
                .word(&[
                    "-m limit --limit 9999/sec --limit-burst 9999",
                    "-m statistic --mode nth --every 3 --packet 0",
                    "-m length --length 0:80",
                    "-m length ! --length 0:40",
                ])
                .to_owned(),
            _ => "-m comment --comment \"said \\\"so\\\"\"".to_owned(),
        }
    }

    fn net(&mut self) -> String {
        let v6 = self.style.v6;
        let device = self.rng.below(4);
        let host = neighbour(device, *self.rng.pick(&NEIGHBOURS), v6);
        match self.rng.below(10) {
            0..4 => host.to_string(),
            4..6 => format!("{}/{}", neighbour(device, 0, v6), if v6 { 64 } else { 25 }),
            6 => format!("{}/{}", neighbour(device, 2, v6), if v6 { 127 } else { 31 }),
            7 => NOWHERE[usize::from(v6)].to_owned(),
            8 if !v6 => "192.0.2.3/255.255.255.3".to_owned(),
            8 => "2001:db8:c0::/44".to_owned(),
            _ => neighbour(device, 1, v6).to_string(),
        }
    }

    fn interface(&mut self) -> String {
        let not = self.not();
        let name = self
            .rng
            .word(&["c0", "c1", "s0", "s1", "c+", "s+", "docker0", "br-+"]);
        let (way_in, way_out) = match self.chain {
            "PREROUTING" | "INPUT" => (true, false),
            "OUTPUT" | "POSTROUTING" => (false, true),
            _ => (true, true),
        };
        match (way_in, way_out) {
            (true, true) if self.rng.percent(30) => {
                let other = self.rng.word(&["c0", "s0", "c+", "s+"]);
                format!("{not}-i {name} -o {other}")
            }
            (true, _) if !way_out || self.rng.percent(50) => format!("{not}-i {name}"),
            _ => format!("{not}-o {name}"),
        }
    }

    fn protocol(&mut self) -> String {
        let not = self.not();
        let port = *self.rng.pick(&PORTS);
        let other = *self.rng.pick(&PORTS);
        let (low, high) = (port.min(other), port.max(other).max(port.min(other) + 1));
        let side = self.rng.word(&["--dport", "--dport", "--sport"]);
        let (icmp, kinds): (_, &[&str]) = if self.style.v6 {
            (
                "-p ipv6-icmp -m icmp6",
                &["128", "129", "1/4", "3", "echo-request"],
            )
        } else {
            (
                "-p icmp -m icmp",
                &["8", "0", "3/3", "3", "any", "11/0", "13"],
            )
        };
        let l4 = self.rng.word(&["udp", "udp", "tcp"]);
        match self.rng.below(100) {
            0..22 => format!("-p {l4} -m {l4} {not}{side} {port}"),
            22..32 => format!("-p {l4} -m {l4} {not}{side} {low}:{high}"),
            32..46 => {
                let sides = self.rng.word(&["--dports", "--sports", "--ports"]);
                format!("-p {l4} -m multiport {not}{sides} {port},{other},{low}:{high},9")
            }
            46..54 => format!("{not}-p {l4}"),
            54..60 => format!("-p tcp -m tcp {not}--syn"),
            60..68 => {
                let (mask, set) = self.rng.pick(&[
                    ("SYN,ACK", "SYN"),
                    ("FIN,SYN,RST,PSH,ACK,URG", "NONE"),
                    ("ALL", "SYN"),
                    ("RST", "RST"),
                    ("ACK,FIN", "FIN"),
                    ("SYN,RST", "SYN,RST"),
                ]);
                format!("-p tcp -m tcp {not}--tcp-flags {mask} {set}")
            }
            68..80 => format!(
                "{icmp} {not}--{}-type {}",
                if self.style.v6 { "icmpv6" } else { "icmp" },
                self.rng.word(kinds)
            ),
            80..86 => format!(
                "{not}-p {}",
                if self.style.v6 { "ipv6-icmp" } else { "icmp" }
            ),
            86..90 => format!("{not}-p esp"),
            90..95 => format!("-p {l4} -m {l4} --sport 1024:65535 {not}--dport {port}"),
            _ => format!("-p tcp -m tcp {not}--tcp-option 2"),
        }
    }

    fn kind(&mut self) -> String {
        let not = self.not();
        let side = self.rng.word(&["--dst-type", "--dst-type", "--src-type"]);
        let kinds = self.rng.word(&[
            "LOCAL",
            "LOCAL",
            "UNICAST",
            "MULTICAST",
            "LOCAL,MULTICAST",
            "UNICAST,LOCAL",
        ]);
        let kinds = if !self.style.v6 && self.rng.percent(25) {
            self.rng
                .word(&["BROADCAST", "LOCAL,BROADCAST", "BROADCAST,MULTICAST"])
        } else {
            kinds
        };
        let here = match self.chain {
            "PREROUTING" | "INPUT" => self.rng.maybe(15, " --limit-iface-in"),
            _ => "",
        };
        format!("-m addrtype {not}{side} {kinds}{here}")
    }

    fn conntrack(&mut self) -> String {
        let not = self.not();
        let states = self.rng.word(&[
            "NEW",
            "INVALID",
            "RELATED,ESTABLISHED",
            "RELATED,ESTABLISHED",
            "ESTABLISHED",
            "RELATED",
            "INVALID,NEW",
            "NEW,UNTRACKED",
            "INVALID,UNTRACKED",
        ]);
        let port = *self.rng.pick(&PORTS);
        let net = self.net();
        match self.rng.below(100) {
            0..45 => format!("-m conntrack {not}--ctstate {states}"),
            45..53 => format!("-m state {not}--state {states}"),
            53..60 => format!(
                "-m conntrack {not}--ctstate {}",
                self.rng.word(&["DNAT", "SNAT", "NEW,DNAT", "INVALID,SNAT"])
            ),
            60..66 => format!("-m conntrack {not}--ctorigdstport {port}"),
            66..71 => format!("-m conntrack {not}--ctorigdst {net}"),
            71..75 => format!("-m conntrack {not}--ctreplsrc {net}"),
            75..79 => format!("-m conntrack {not}--ctorigsrc {net}"),
            79..84 => format!(
                "-m conntrack --ctdir {}",
                self.rng.word(&["ORIGINAL", "REPLY"])
            ),
            84..88 => format!(
                "-m conntrack {not}--ctproto {}",
                self.rng.word(&["udp", "tcp", "icmp"])
            ),
            88..92 => format!(
                "-m conntrack {not}--ctstatus {}",
                self.rng
                    .word(&["CONFIRMED", "SEEN_REPLY", "ASSURED", "NONE"])
            ),
            92..96 => format!("-m conntrack {not}--ctstate {states} --ctorigdst {net}"),
            _ => format!("-m conntrack {not}--ctstate {states} --ctdir ORIGINAL"),
        }
    }
}

/// Which kind of condition a roll of 100 gives.
fn class(roll: usize) -> usize {
    match roll {
        0..30 => 0,
        30..42 => 1,
        42..54 => 2,
        54..68 => 3,
        68..80 => 4,
        80..87 => 5,
        87..91 => 6,
        91..94 => 7,
        94..96 => 8,
        96..98 => 9,
        98 => 10,
        _ => 11,
    }
}
