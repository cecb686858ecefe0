//! What causes ask about the rules as a whole.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    matching::{Field, Item, Match},
    model::{Backend, Chain, ChainKind, Family, Firewall, Hook, Policy, Rule},
    simulate::Dropped,
    target::{NatKind, Target},
};

/// A destination translation: what a published port comes down to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnatTarget {
    /// Backend.
    pub backend: Backend,
    /// IP protocol number, if the rule says one.
    pub proto: Option<u8>,
    /// Address on the host, if the rule says one.
    pub host_ip: Option<IpAddr>,
    /// Port on the host, if the rule says one.
    pub host_port: Option<u16>,
    /// New address.
    pub address: IpAddr,
    /// New port; none keeps the port.
    pub port: Option<u16>,
}

impl Firewall {
    /// Rules in DOCKER-USER, without the bare RETURN that Docker puts there.
    #[must_use]
    pub fn docker_user_rules(&self) -> Vec<(Backend, Family, &Rule)> {
        self.tables()
            .filter_map(|(backend, table)| {
                let chain = table.chain("DOCKER-USER")?;
                Some(chain.rules.iter().filter_map(move |rule| {
                    let bare = rule.matches.is_empty() && rule.targets == [Target::Return];
                    (!bare).then_some((backend, table.family, rule))
                }))
            })
            .flatten()
            .collect()
    }

    /// Policies of the FORWARD hook's filter chains that see this family (`Ip` or `Ip6`), in order.
    #[must_use]
    pub fn forward_policies(&self, family: Family) -> Vec<(Backend, String, Policy)> {
        let mut found: Vec<_> = self
            .tables()
            .filter(|(_, table)| table.family == family || table.family == Family::Inet)
            .flat_map(|(backend, table)| {
                table.chains.iter().filter_map(move |chain| {
                    let base = chain.base.as_ref()?;
                    (base.hook == Hook::Forward && base.kind == ChainKind::Filter)
                        .then(|| (base.priority, backend, table.to_string(), base.policy))
                })
            })
            .collect();
        found.sort_by_key(|(priority, ..)| *priority);
        found
            .into_iter()
            .map(|(_, backend, table, policy)| (backend, table, policy))
            .collect()
    }

    /// `Drop` if any policy on the FORWARD hook is; none where no chain hangs there.
    #[must_use]
    pub fn forward_policy(&self, family: Family) -> Option<Policy> {
        let policies = self.forward_policies(family);
        policies
            .iter()
            .find(|(.., policy)| *policy == Policy::Drop)
            .or(policies.first())
            .map(|(.., policy)| *policy)
    }

    /// Whether Docker's chains are there (any backend) for IPv4 or IPv6: an engine may be told to write those of one alone.
    #[must_use]
    pub fn has_docker_chains(&self, family: Family) -> bool {
        self.tables()
            .filter(|(_, table)| table.family == family || table.family == Family::Inet)
            .any(|(_, table)| table.name == "docker-bridges" || table.chain("DOCKER").is_some())
    }

    /// Whether Docker's chains are there for anything.
    #[must_use]
    pub fn has_any_docker_chains(&self) -> bool {
        self.has_docker_chains(Family::Ip) || self.has_docker_chains(Family::Ip6)
    }

    /// Whether a rule of this owner's naming is there: `firewalld`, `ufw-`, `KUBE-` …
    #[must_use]
    pub fn has_chain_or_table(&self, start: &str) -> bool {
        self.tables().any(|(_, table)| {
            table.name.starts_with(start)
                || table
                    .chains
                    .iter()
                    .any(|chain| chain.name.starts_with(start))
        })
    }

    /// Backends that hold any rule, or a policy that drops.
    #[must_use]
    pub fn active_backends(&self) -> Vec<Backend> {
        let mut found: Vec<Backend> = self
            .tables()
            .filter(|(_, table)| {
                table.chains.iter().any(|chain| {
                    !chain.rules.is_empty()
                        || chain
                            .base
                            .as_ref()
                            .is_some_and(|base| base.policy == Policy::Drop)
                })
            })
            .map(|(backend, _)| backend)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Whether rules of a table with a chain at one of these hooks set marks.
    #[must_use]
    pub fn sets_marks_at(&self, hooks: &[Hook]) -> bool {
        self.tables().any(|(_, table)| {
            let is_there = |chain: &Chain| {
                chain
                    .base
                    .as_ref()
                    .is_some_and(|base| hooks.contains(&base.hook))
            };
            let rules = || table.chains.iter().flat_map(|chain| &chain.rules);
            let sets = |target: &Target| {
                matches!(
                    target,
                    Target::SetMark { .. } | Target::SetMarkUnknown | Target::SetCtMark
                )
            };
            table.chains.iter().any(is_there) && rules().any(|rule| rule.targets.iter().any(sets))
        })
    }

    /// Whether both of iptables' backends hold rules.
    #[must_use]
    pub fn is_mixed(&self) -> bool {
        let active = self.active_backends();
        active.contains(&Backend::IptablesLegacy) && active.contains(&Backend::IptablesNft)
    }

    /// Whether `iptables` alone may mean another backend than that of iptables-nft's rules.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        self.is_legacy_plain || self.is_mixed()
    }

    /// All destination translations to one address.
    #[must_use]
    pub fn dnat_targets(&self) -> Vec<DnatTarget> {
        self.rules()
            .flat_map(|(backend, rule)| {
                rule.targets.iter().filter_map(move |target| match target {
                    Target::Nat(nat) if nat.kind == NatKind::Dnat => Some(DnatTarget {
                        backend,
                        proto: proto(rule),
                        host_ip: one_address(rule, Field::Daddr),
                        host_port: dport(rule),
                        address: nat.address?,
                        port: nat.port,
                    }),
                    _ => None,
                })
            })
            .collect()
    }

    /// The rule that translates the destination of a protocol's port to an address and is none of Docker's own, in its place.
    #[must_use]
    pub fn stray_dnat(&self, of: u8, host_port: u16, address: IpAddr) -> Option<Dropped> {
        let leads = |rule: &&Rule| {
            let to = |target: &Target| matches!(target, Target::Nat(nat) if nat.kind == NatKind::Dnat && nat.address == Some(address));
            rule.targets.iter().any(to)
                && dport(rule).is_none_or(|port| port == host_port)
                && proto(rule).is_none_or(|number| number == of)
        };
        let is_ambiguous = self.is_ambiguous();
        let others = self
            .tables()
            .filter(|(_, table)| table.name != "docker-bridges");
        others
            .flat_map(|(backend, table)| {
                let chains = table
                    .chains
                    .iter()
                    .map(move |chain| (backend, table, chain));
                chains.filter(|(.., chain)| !chain.name.starts_with("DOCKER"))
            })
            .find_map(|(backend, table, chain)| {
                let rule = chain.rules.iter().find(leads)?;
                Some(Dropped {
                    is_ambiguous,
                    ..Dropped::at(backend, table, chain, rule)
                })
            })
    }

    /// Whether some rule is there to translate what is sent to this port of this address.
    #[must_use]
    pub fn has_dnat_for(&self, proto: u8, address: IpAddr, port: u16) -> bool {
        self.dnat_targets().iter().any(|dnat| {
            dnat.proto == Some(proto)
                && dnat.host_port == Some(port)
                && dnat.address.is_ipv4() == address.is_ipv4()
                && dnat.host_ip.is_none_or(|host| host == address)
        })
    }

    /// Whether some rule translates what is sent to this address (and port and protocol, if it says some).
    #[must_use]
    pub fn leads_elsewhere(&self, proto: u8, address: IpAddr, port: u16) -> bool {
        self.dnat_targets().iter().any(|dnat| {
            dnat.proto.is_none_or(|own| own == proto)
                && dnat.address.is_ipv4() == address.is_ipv4()
                && dnat.host_ip.is_none_or(|host| host == address)
                && dnat.host_port.is_none_or(|host| host == port)
        })
    }

    /// Whether some rule masquerades (or source-translates) what comes from this whole prefix.
    #[must_use]
    pub fn has_masquerade_for(&self, prefix: IpNet) -> bool {
        self.rules().any(|(_, rule)| {
            let nat = rule.targets.iter().any(|target| {
                matches!(target, Target::Nat(nat) if matches!(nat.kind, NatKind::Masquerade | NatKind::Snat))
            });
            // Docker's hairpin rules masquerade one port of one address to itself: those do not count.
            nat && !rule.matches.iter().any(narrows)
                && covers(rule, prefix)
        })
    }

    /// Whether what this machine itself sends out by an interface is masqueraded, whatever its source.
    #[must_use]
    pub fn masquerades_own(&self, interface: &str) -> bool {
        self.rules().any(|(_, rule)| {
            let nat = rule.targets.iter().any(|target| {
                matches!(target, Target::Nat(nat) if matches!(nat.kind, NatKind::Masquerade | NatKind::Snat))
            });
            let oif = one_item(rule, Field::Oif);
            let here = match oif {
                None => true,
                Some(Item::Name(name)) => name == interface,
                Some(Item::Prefix(start)) => interface.starts_with(start),
                Some(_) => false,
            };
            // A rule for a prefix of containers does not mean the machine's own packets.
            nat && here && one_item(rule, Field::Saddr).is_none() && !rule.matches.iter().any(narrows)
        })
    }

    /// A rule that translates sources to one port of this address, as it is written.
    #[must_use]
    pub fn snat_to_one_port(&self, address: IpAddr) -> Option<String> {
        let one = |target: &Target| {
            matches!(target, Target::Nat(nat)
                if matches!(nat.kind, NatKind::Masquerade | NatKind::Snat)
                    && nat.port.is_some()
                    && nat.address.is_none_or(|own| own == address))
        };
        self.rules()
            .find(|(_, rule)| rule.targets.iter().any(one))
            .map(|(_, rule)| rule.text.clone())
    }

    /// `iptables`, or `iptables-legacy` where Docker's chains are in the legacy tables alone.
    #[must_use]
    pub fn docker_iptables(&self) -> &'static str {
        let mut holders = self
            .tables()
            .filter(|(_, table)| table.chain("DOCKER").is_some())
            .map(|(backend, _)| backend);
        match holders.next() {
            Some(Backend::IptablesLegacy) if holders.all(|b| b == Backend::IptablesLegacy) => {
                "iptables-legacy"
            }
            _ => "iptables",
        }
    }

    fn rules(&self) -> impl Iterator<Item = (Backend, &Rule)> {
        self.tables().flat_map(|(backend, table)| {
            table
                .chains
                .iter()
                .flat_map(|chain| &chain.rules)
                .map(move |rule| (backend, rule))
        })
    }
}

/// The IP protocol number that a rule says, if it says one.
fn proto(rule: &Rule) -> Option<u8> {
    one_number(rule, Field::L4Proto).and_then(|number| u8::try_from(number).ok())
}

/// The destination port that a rule says, if it says one.
fn dport(rule: &Rule) -> Option<u16> {
    one_number(rule, Field::Dport)
        .or_else(|| one_number(rule, Field::ThDport))
        .and_then(|number| u16::try_from(number).ok())
}

fn narrows(condition: &Match) -> bool {
    matches!(condition, Match::Test { keys, negated: false, .. }
        if keys.iter().any(|key| matches!(key.field, Field::Dport | Field::Sport | Field::ThDport | Field::ThSport | Field::Daddr)))
}

/// Whether a rule's source conditions hold for all of a prefix of containers; a rule without one covers all.
fn covers(rule: &Rule, prefix: IpNet) -> bool {
    rule.matches.iter().all(|condition| match condition {
        Match::Test {
            keys,
            negated,
            elements,
        } if matches!(keys.as_slice(), [key] if key.field == Field::Saddr) => {
            let (first, last) = (prefix.network(), prefix.broadcast());
            let mut ranges = elements
                .iter()
                .filter_map(|element| match element.as_slice() {
                    [Item::Address(low, high)] => Some((*low, *high)),
                    _ => None,
                });
            if *negated {
                ranges.all(|(low, high)| high < first || last < low)
            } else {
                ranges.any(|(low, high)| low <= first && last <= high)
            }
        }
        // Of the host's own packets only.
        Match::Test { keys, negated, .. }
            if matches!(keys.as_slice(), [key] if key.field == Field::SaddrType) =>
        {
            *negated
        }
        // The bridge it comes from stands for the prefix in Docker's nftables rules; what cannot be read may hold.
        _ => true,
    })
}

fn one_item(rule: &Rule, field: Field) -> Option<&Item> {
    rule.matches.iter().find_map(|condition| match condition {
        Match::Test {
            keys,
            negated: false,
            elements,
        } if matches!(keys.as_slice(), [key] if key.field == field) => match elements.as_slice() {
            [element] => element.first(),
            _ => None,
        },
        _ => None,
    })
}

fn one_number(rule: &Rule, field: Field) -> Option<u64> {
    match one_item(rule, field)? {
        Item::Number(low, high) if low == high => Some(*low),
        _ => None,
    }
}

fn one_address(rule: &Rule, field: Field) -> Option<IpAddr> {
    match one_item(rule, field)? {
        Item::Address(low, high) if low == high => Some(*low),
        _ => None,
    }
}
