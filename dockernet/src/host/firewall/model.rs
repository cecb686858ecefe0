//! One model of rules for all backends.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{matching::Match, target::Target};

/// Which implementation holds the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Backend {
    /// nf_tables, written by `nft` or a program of its kind.
    Nft,
    /// nf_tables, written by `iptables-nft`.
    IptablesNft,
    /// The legacy xtables in the kernel (`ip_tables`, `ip6_tables`).
    IptablesLegacy,
    /// The legacy bridge tables in the kernel (`ebtables`).
    EbtablesLegacy,
}

impl Backend {
    /// As the JSON contract names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::IptablesNft => "iptables-nft",
            Self::IptablesLegacy => "iptables-legacy",
            Self::EbtablesLegacy => "ebtables-legacy",
        }
    }

    /// The code in the kernel that runs such rules.
    #[must_use]
    pub fn engine(self) -> Engine {
        match self {
            Self::Nft | Self::IptablesNft => Engine::Nft,
            Self::IptablesLegacy | Self::EbtablesLegacy => Engine::Legacy,
        }
    }
}

/// The code in the kernel that runs rules. A drop's location tells which it was on 6.7+ (and 6.1.192 stable).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// `nft_do_chain` (net/netfilter/nf_tables_core.c).
    Nft,
    /// `ipt_do_table`, `ip6t_do_table`, `ebt_do_table`.
    Legacy,
}

/// Family of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// IPv4 and IPv6.
    Inet,
    /// Frames in a bridge.
    Bridge,
    /// Packets at a device's ingress or egress.
    Netdev,
    /// ARP.
    Arp,
}

impl Family {
    /// As `nft` names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
            Self::Bridge => "bridge",
            Self::Netdev => "netdev",
            Self::Arp => "arp",
        }
    }

    /// From `nft`'s name; also the suffix of `nft_do_chain_ipv4`, `…_ipv6`, `…_inet`, `…_bridge`, `…_netdev`, `…_arp`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "ip" | "ipv4" => Self::Ip,
            "ip6" | "ipv6" => Self::Ip6,
            "inet" => Self::Inet,
            "bridge" => Self::Bridge,
            "netdev" => Self::Netdev,
            "arp" => Self::Arp,
            _ => return None,
        })
    }
}

/// Point in a packet's way where chains hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Hook {
    /// A device's ingress (netdev, inet).
    Ingress,
    /// Before routing.
    Prerouting,
    /// To this machine.
    Input,
    /// Through this machine.
    Forward,
    /// From this machine.
    Output,
    /// After routing.
    Postrouting,
    /// A device's egress (netdev).
    Egress,
}

impl Hook {
    /// As `nft` names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
            Self::Egress => "egress",
        }
    }

    /// From `nft`'s name, a built-in chain's name (`FORWARD`), or the drop event's hook (`bridge-forward`).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.strip_prefix("bridge-").unwrap_or(name);
        [
            Self::Ingress,
            Self::Prerouting,
            Self::Input,
            Self::Forward,
            Self::Output,
            Self::Postrouting,
            Self::Egress,
        ]
        .into_iter()
        .find(|hook| hook.name().eq_ignore_ascii_case(name))
    }
}

/// Type of a base chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChainKind {
    /// Filter; also xtables' raw, mangle and security.
    #[default]
    Filter,
    /// NAT: sees only the first packet of a flow.
    Nat,
    /// Re-routes (xtables' mangle OUTPUT).
    Route,
}

/// What happens to a packet that no rule of a base chain decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Policy {
    /// Goes on.
    Accept,
    /// Dropped.
    Drop,
}

/// Packets and bytes that a rule or a policy saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Where and when a base chain runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Hook.
    pub hook: Hook,
    /// Type.
    pub kind: ChainKind,
    /// Order on the hook: the lowest runs first.
    pub priority: i32,
    /// Policy.
    pub policy: Policy,
    /// The policy's counter (xtables only).
    pub counter: Option<Counter>,
    /// For ingress and egress: the devices it is bound to; none if they are not known.
    pub devices: Vec<String>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Conditions: all must hold.
    pub matches: Vec<Match>,
    /// What is done, in order.
    pub targets: Vec<Target>,
    /// Its counter, if it has one.
    pub counter: Option<Counter>,
    /// As `iptables -S` or `nft list` shows it, without counters.
    pub text: String,
    /// Place in its chain, from 1.
    pub number: usize,
    /// nft's handle.
    pub handle: Option<u64>,
    /// Comment.
    pub comment: Option<String>,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Name.
    pub name: String,
    /// Set for a base chain.
    pub base: Option<Base>,
    /// Rules in order.
    pub rules: Vec<Rule>,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Family.
    pub family: Family,
    /// Name.
    pub name: String,
    /// Chains.
    pub chains: Vec<Chain>,
}

impl Table {
    /// A chain by name.
    #[must_use]
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.name == name)
    }
}

impl fmt::Display for Table {
    /// As the JSON contract names it: `ip filter`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family.name(), self.name)
    }
}

/// The tables of one backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// Backend.
    pub backend: Backend,
    /// Tables.
    pub tables: Vec<Table>,
}

/// All rules of a network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firewall {
    /// Rules by backend.
    pub rulesets: Vec<Ruleset>,
    /// What could not be read and why, one sentence each.
    pub notes: Vec<String>,
    /// `iptables` without more is iptables-legacy on this machine (update-alternatives).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_legacy_plain: bool,
}

impl Firewall {
    /// All tables with their backends.
    pub fn tables(&self) -> impl Iterator<Item = (Backend, &Table)> {
        self.rulesets.iter().flat_map(|ruleset| {
            ruleset
                .tables
                .iter()
                .map(move |table| (ruleset.backend, table))
        })
    }
}
