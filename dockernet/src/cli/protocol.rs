//! IP protocols by name or number.

use std::{fmt, str::FromStr};

use super::suggest;

/// Names that are accepted, with their IANA numbers; the first of a number is the one shown.
const NAMES: &[(&str, u8)] = &[
    ("icmp", 1),
    ("igmp", 2),
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
    ("udplite", 136),
];

/// What `--proto` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Number in the IP header (for IPv6: of the last header).
    Ip(u8),
    /// ARP, which is no IP protocol but what users ask for in the same breath.
    Arp,
}

impl Protocol {
    /// Whether a packet's protocol, as the model holds it (a name or a number), is this one.
    #[must_use]
    pub fn matches(self, name: &str) -> bool {
        name.parse() == Ok(self)
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().to_ascii_lowercase();
        if text == "arp" {
            return Ok(Self::Arp);
        }
        if let Ok(number) = text.parse() {
            return Ok(Self::Ip(number));
        }
        NAMES
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, number)| Self::Ip(*number))
            .ok_or_else(|| {
                let names = NAMES.iter().map(|(name, _)| *name).chain(["arp"]);
                format!(
                    "expected a protocol's name or its number, 0 to 255{}",
                    suggest::hint(&text, names)
                )
            })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arp => f.write_str("arp"),
            Self::Ip(number) => match NAMES.iter().find(|(_, known)| known == number) {
                Some((name, _)) => f.write_str(name),
                None => number.fmt(f),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!("TCP".parse(), Ok(Protocol::Ip(6)));
        assert_eq!("6".parse(), Ok(Protocol::Ip(6)));
        assert_eq!("ipv6-icmp".parse(), Ok(Protocol::Ip(58)));
        assert_eq!("arp".parse(), Ok(Protocol::Arp));
        assert_eq!(
            "tpc".parse::<Protocol>(),
            Err("expected a protocol's name or its number, 0 to 255; did you mean 'tcp'?".into())
        );
        assert!("256".parse::<Protocol>().is_err());
        assert_eq!(Protocol::Ip(58).to_string(), "icmpv6");
        assert_eq!(Protocol::Ip(253).to_string(), "253");
        assert!(Protocol::Ip(58).matches("icmpv6"));
        assert!(Protocol::Ip(253).matches("253"));
        assert!(!Protocol::Ip(6).matches("udp"));
    }
}
