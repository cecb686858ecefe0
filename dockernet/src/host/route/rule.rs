//! Policy rules (`ip rule`): which table a packet's route is looked for in.

use std::fmt;

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use netlink_packet_route::{RouteNetlinkMessage, rule::RuleMessage};
use serde::{Deserialize, Serialize};

use super::{Family, decode, prefix_text, table_name};
use crate::host::{netlink, netns::NetnsHandle};

/// What a rule does with a packet that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RuleVerdict {
    /// Looks in this table; goes on if nothing is found.
    Table(u32),
    /// Goes on with the rule of this priority.
    Goto(u32),
    /// Nothing.
    Nop,
    /// Drops in silence.
    Blackhole,
    /// Drops and says "host unreachable".
    Unreachable,
    /// Drops and says "administratively prohibited".
    Prohibit,
}

impl RuleVerdict {
    /// True for a rule that exists to refuse packets.
    #[must_use]
    pub fn rejects(self) -> bool {
        matches!(self, Self::Blackhole | Self::Unreachable | Self::Prohibit)
    }
}

impl fmt::Display for RuleVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => write!(f, "lookup {}", table_name(*table)),
            Self::Goto(priority) => write!(f, "goto {priority}"),
            Self::Nop => f.write_str("nop"),
            Self::Blackhole => f.write_str("blackhole"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Prohibit => f.write_str("prohibit"),
        }
    }
}

/// A policy rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PolicyRule {
    /// IPv4 and IPv6 have rules of their own.
    pub family: Family,
    /// Rules are tried from the lowest to the highest.
    pub priority: u32,
    /// Matches where the rest does not.
    pub not: bool,
    /// Source addresses.
    pub from: Option<IpNet>,
    /// Destination addresses.
    pub to: Option<IpNet>,
    /// Interface that the packet came in by; `lo` for this host's own.
    pub iif: Option<String>,
    /// Interface that the sender bound itself to.
    pub oif: Option<String>,
    /// Packet mark, and the bits of it that count.
    pub fwmark: Option<(u32, u32)>,
    /// Type of service; 0 matches all.
    pub tos: u8,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// First and last source port.
    pub source_ports: Option<(u16, u16)>,
    /// First and last destination port.
    pub destination_ports: Option<(u16, u16)>,
    /// First and last user id of the sending socket; a forwarded packet counts as 0.
    pub uids: Option<(u32, u32)>,
    /// A route found with a prefix no longer than this does not count.
    pub suppress_prefixlength: Option<u8>,
    /// It has a condition that is not read here (VRF, tunnel id).
    pub unread: bool,
    /// What it does.
    pub verdict: RuleVerdict,
}

impl PolicyRule {
    /// A rule that matches everything.
    #[must_use]
    pub fn new(family: Family, priority: u32, verdict: RuleVerdict) -> Self {
        Self {
            family,
            priority,
            not: false,
            from: None,
            to: None,
            iif: None,
            oif: None,
            fwmark: None,
            tos: 0,
            protocol: None,
            source_ports: None,
            destination_ports: None,
            uids: None,
            suppress_prefixlength: None,
            unread: false,
            verdict,
        }
    }

    /// The command that deletes this rule.
    #[must_use]
    pub fn delete_command(&self) -> String {
        let ip = self.family.ip_command();
        format!(
            "{ip} rule del priority {} {}",
            self.priority,
            self.selector()
        )
    }

    /// What follows the priority in `ip rule`.
    fn selector(&self) -> String {
        let mut words = Vec::new();
        if self.not {
            words.push("not".to_owned());
        }
        let any = || "all".to_owned();
        let from = self.from.as_ref().map_or_else(any, prefix_text);
        words.push(format!("from {from}"));
        if let Some(to) = &self.to {
            words.push(format!("to {}", prefix_text(to)));
        }
        if self.tos != 0 {
            words.push(format!("tos {:#x}", self.tos));
        }
        match self.fwmark {
            Some((mark, u32::MAX)) => words.push(format!("fwmark {mark:#x}")),
            Some((mark, mask)) => words.push(format!("fwmark {mark:#x}/{mask:#x}")),
            None => {}
        }
        if let Some(iif) = &self.iif {
            words.push(format!("iif {iif}"));
        }
        if let Some(oif) = &self.oif {
            words.push(format!("oif {oif}"));
        }
        if let Some((first, last)) = self.uids {
            words.push(format!("uidrange {first}-{last}"));
        }
        match self.protocol {
            Some(1) => words.push("ipproto icmp".into()),
            Some(6) => words.push("ipproto tcp".into()),
            Some(17) => words.push("ipproto udp".into()),
            Some(58) => words.push("ipproto ipv6-icmp".into()),
            Some(other) => words.push(format!("ipproto {other}")),
            None => {}
        }
        for (name, range) in [
            ("sport", self.source_ports),
            ("dport", self.destination_ports),
        ] {
            match range {
                Some((first, last)) if first == last => words.push(format!("{name} {first}")),
                Some((first, last)) => words.push(format!("{name} {first}-{last}")),
                None => {}
            }
        }
        words.push(self.verdict.to_string());
        if let Some(length) = self.suppress_prefixlength {
            words.push(format!("suppress_prefixlength {length}"));
        }
        words.join(" ")
    }
}

/// As `ip rule` prints it, with a blank after the colon.
impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.priority, self.selector())
    }
}

/// Every policy rule of a namespace, lowest priority first.
pub fn rules(netns: &NetnsHandle, family: Family) -> Result<Vec<PolicyRule>> {
    netns
        .run(|| {
            let mut message = RuleMessage::default();
            message.header.family = decode::address_family(family);
            netlink::dump(
                RouteNetlinkMessage::GetRule(message),
                |message| match message {
                    RouteNetlinkMessage::NewRule(rule) => decode::rule(&rule),
                    _ => None,
                },
            )
        })?
        .with_context(|| {
            let inum = netns.inum();
            format!("reading the policy rules of network namespace {inum}")
        })
}
