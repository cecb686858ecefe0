//! Random rules for `nft -f`.

mod conditions;

use crate::{
    packets::PORTS,
    rng::Rng,
    world::{NEIGHBOURS, neighbour},
};

/// Chains that rules jump to, each only to later ones.
const USER: [&str; 4] = ["one", "two", "three", "four"];

/// What the rules may hold.
pub(crate) struct Style {
    pub(crate) strange: bool,
    pub(crate) nat: bool,
    pub(crate) notrack: bool,
    pub(crate) netdev: bool,
}

/// One to three tables.
pub(crate) fn script(rng: &mut Rng, style: &Style) -> String {
    let mut text = String::new();
    for number in 0..1 + rng.below(3) {
        let family = rng.word(&["inet", "inet", "ip", "ip6"]);
        text += &Maker::new(rng, style, family).table(&format!("t{number}"), 1 + number);
    }
    if style.netdev {
        text += &Maker::new(rng, style, "netdev").table("ports", 1);
    }
    text
}

pub(super) struct Maker<'a> {
    rng: &'a mut Rng,
    style: &'a Style,
    family: &'static str,
    hook: &'static str,
    /// Whether the rule at hand is about IPv6, and whether it speaks of a transport protocol already: nft refuses
    /// contradictions.
    v6: bool,
    transport: bool,
}

impl<'a> Maker<'a> {
    fn new(rng: &'a mut Rng, style: &'a Style, family: &'static str) -> Self {
        Self {
            rng,
            style,
            family,
            hook: "",
            v6: false,
            transport: false,
        }
    }

    fn table(&mut self, name: &str, number: usize) -> String {
        let sets = self.sets();
        let mut text = format!("table {} {name} {{\n{sets}", self.family);
        // A chain calls later ones only; those come first, as they must be known.
        for at in (0..USER.len()).rev() {
            let rules = 1 + self.rng.below(4);
            self.hook = "";
            text += &format!("chain {} {{\n", USER[at]);
            for _ in 0..rules {
                text += &self.rule(&USER[at + 1..]);
            }
            text += "}\n";
        }
        text += "chain gone { counter drop; }\n";
        for base in 0..1 + self.rng.below(4) {
            text += &self.base(base, number);
        }
        text + "}\n"
    }

    fn base(&mut self, base: usize, table: usize) -> String {
        let policy = if self.rng.percent(15) {
            "drop"
        } else {
            "accept"
        };
        let priority = self
            .rng
            .word(&["-300", "-150", "-50", "0", "0", "10", "50", "150"]);
        let head = if self.family == "netdev" {
            self.hook = "ingress";
            let devices = self.rng.word(&["c0", "c0, s0", "c0, c1, s0, s1"]);
            format!(
                "type filter hook ingress devices = {{ {devices} }} priority {priority}; policy {policy};"
            )
        } else if self.style.nat && self.rng.percent(30) {
            let source = self.rng.percent(50);
            self.hook = if source {
                "nat postrouting"
            } else {
                "nat prerouting"
            };
            let standard = if source { 100 } else { -100 };
            let offset = self.rng.pick(&[0, 10, 200, -60]) + i32::try_from(table).unwrap_or(0);
            let priority = standard + offset;
            format!(
                "type nat hook {} priority {priority}; policy {policy};",
                &self.hook[4..]
            )
        } else {
            self.hook = self.rng.word(&[
                "prerouting",
                "input",
                "forward",
                "forward",
                "output",
                "postrouting",
            ]);
            format!(
                "type filter hook {} priority {priority}; policy {policy};",
                self.hook
            )
        };
        let mut text = format!("chain base{base} {{\n{head}\n");
        for _ in 0..1 + self.rng.below(6) {
            text += &self.rule(&USER);
        }
        text + "}\n"
    }

    fn sets(&mut self) -> String {
        // Not on s1's wire, whose prefix the sets hold as a whole.
        let host = |rng: &mut Rng, v6| neighbour(rng.below(3), *rng.pick(&NEIGHBOURS), v6);
        let (a, b) = (host(self.rng, false), host(self.rng, false));
        let (c, d) = (host(self.rng, true), host(self.rng, true));
        format!(
            "set ports {{ type inet_service; flags interval; elements = {{ 53, 80-81, 8000-9000 }}; }}
             set hosts {{ type ipv4_addr; flags interval; elements = {{ {a}, 198.51.100.128/25, 203.0.113.0-203.0.113.9 }}; }}
             set hosts6 {{ type ipv6_addr; flags interval; elements = {{ {c}, 2001:db8:51::/64 }}; }}
             set pairs {{ type ipv4_addr . inet_service; flags interval; elements = {{ {b} . 80-443, 198.51.100.0/30 . 53 }}; }}
             set pairs6 {{ type ipv6_addr . inet_service; elements = {{ {d} . 80, {c} . 443 }}; }}
             set names {{ type ifname; elements = {{ \"c0\", \"s1\" }}; }}
             chain gone {{ }}
             map ways {{ type inet_service : verdict; flags interval; elements = {{ 80 : jump gone, 81-443 : return, 8080 : continue }}; }}\n"
        )
    }

    fn rule(&mut self, later: &[&str]) -> String {
        let mut words = Vec::new();
        self.transport = false;
        self.v6 = match self.family {
            "ip" => false,
            "ip6" => true,
            _ => self.rng.percent(35),
        };
        for _ in 0..1 + self.rng.below(3) {
            words.push(self.condition());
        }
        if !self.transport && self.rng.percent(10) {
            return format!("{} {}\n", words.join(" "), self.map(later));
        }
        words.push("counter".to_owned());
        words.push(self.verdict(later));
        words.join(" ") + "\n"
    }

    fn map(&mut self, later: &[&str]) -> String {
        let to = if later.is_empty() {
            "return".to_owned()
        } else {
            format!("jump {}", self.rng.pick(later))
        };
        match self.rng.below(6) {
            0 => "udp dport vmap @ways".to_owned(),
            1 => format!("tcp dport vmap {{ 80 : {to}, 81-443 : jump gone, 8080 : accept }}"),
            2 if self.family == "netdev" => {
                format!("meta l4proto vmap {{ 6 : {to}, 17 : continue }}")
            }
            2 => format!(
                "ct state vmap {{ established : accept, related : accept, invalid : {to} }}"
            ),
            3 => format!("iifname vmap {{ \"c0\" : {to}, \"s*\" : continue }}"),
            4 => format!("meta l4proto vmap {{ tcp : {to}, udp : return, icmp : jump gone }}"),
            _ if !self.v6 => {
                format!(
                    "ip daddr . udp dport vmap {{ 198.51.100.2 . 80 : jump gone, 198.51.100.3 . 53 : {to} }}"
                )
            }
            _ => format!(
                "iifname . meta l4proto vmap {{ \"c0\" . tcp : {to}, \"s0\" . udp : jump gone }}"
            ),
        }
    }

    fn verdict(&mut self, later: &[&str]) -> String {
        let v6 = self.v6;
        if let Some(nat) = self.hook.strip_prefix("nat ") {
            let host = neighbour(self.rng.below(4), *self.rng.pick(&NEIGHBOURS), v6);
            let port = *self.rng.pick(&PORTS);
            let family = match self.family {
                "inet" if v6 => "ip6 ",
                "inet" => "ip ",
                _ => "",
            };
            let with_port = if v6 {
                format!("[{host}]:{port}")
            } else {
                format!("{host}:{port}")
            };
            return match (nat, self.rng.below(100)) {
                ("prerouting", 0..25) => format!("dnat {family}to {host}"),
                ("prerouting", 25..40) if !self.transport => {
                    format!("meta l4proto {{ tcp, udp }} dnat {family}to {with_port}")
                }
                ("prerouting", 40..50) if !self.transport => {
                    "meta l4proto tcp redirect to :8081".to_owned()
                }
                ("postrouting", 0..25) => "masquerade".to_owned(),
                ("postrouting", 25..45) => format!("snat {family}to {host}"),
                (_, 50..58) => "drop".to_owned(),
                (_, 58..68) => "accept".to_owned(),
                _ => String::new(),
            };
        }
        let filter = matches!(self.hook, "input" | "forward" | "output");
        match self.rng.below(100) {
            0..24 => "drop".to_owned(),
            24..34 => "accept".to_owned(),
            34..46 => "return".to_owned(),
            46..66 if !later.is_empty() => {
                let how = if self.rng.percent(25) { "goto" } else { "jump" };
                format!("{how} {}", self.rng.pick(later))
            }
            66..76 if self.hook != "ingress" && self.family != "netdev" => self
                .rng
                .word(&[
                    "meta mark set 0x1",
                    "meta mark set meta mark or 0x2",
                    "meta mark set meta mark and 0xff01",
                    "meta mark set meta mark xor 0x3",
                    "meta mark set 0x13 meta mark & 0x10 == 0x10 drop",
                    "ct mark set meta mark",
                    "meta mark set ct mark",
                    "meta mark set meta mark or 0x10 accept",
                ])
                .to_owned(),
            76..84 if filter => self.reject(),
            84..87 if self.style.notrack && self.hook == "prerouting" => "notrack".to_owned(),
            87..90 if !self.v6 && self.family != "netdev" => self
                .rng
                .word(&["ip ttl set 33", "ip ttl set 33 drop"])
                .to_owned(),
            90..92 => "log group 77 accept".to_owned(),
            _ => String::new(),
        }
    }

    fn reject(&mut self) -> String {
        let choices: &[&str] = match (self.family, self.v6) {
            _ if self.transport => &["reject"],
            ("inet", true) => &[
                "reject",
                "reject with tcp reset",
                "reject with icmpv6 no-route",
            ],
            ("inet", false) => &[
                "reject",
                "reject with tcp reset",
                "reject with icmp port-unreachable",
                "reject with icmpx admin-prohibited",
            ],
            ("ip", _) => &[
                "reject",
                "reject with tcp reset",
                "reject with icmp host-unreachable",
            ],
            _ => &[
                "reject",
                "reject with tcp reset",
                "reject with icmpv6 admin-prohibited",
            ],
        };
        self.rng.word(choices).to_owned()
    }
}
