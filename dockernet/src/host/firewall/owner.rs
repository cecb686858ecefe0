//! Who wrote a rule.

use super::{
    attribute::one_name,
    matching::Field,
    model::{Backend, Firewall, Hook, Rule, Table},
    simulate::Dropped,
    target::Target,
};

/// Program or person that a rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Docker.
    Docker,
    /// Podman: netavark or CNI.
    Podman,
    /// firewalld.
    Firewalld,
    /// ufw.
    Ufw,
    /// Kubernetes and its network plugins.
    Kube,
    /// The administrator.
    User,
    /// Cannot be told.
    Unknown,
}

impl Owner {
    /// As the JSON contract names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Firewalld => "firewalld",
            Self::Ufw => "ufw",
            Self::Kube => "kube",
            Self::User => "user",
            Self::Unknown => "unknown",
        }
    }
}

/// Beginnings of the names that programs give to their chains.
const CHAINS: &[(&str, Owner)] = &[
    ("DOCKER-USER", Owner::User),
    ("DOCKER", Owner::Docker),
    ("NETAVARK", Owner::Podman),
    ("CNI-", Owner::Podman),
    ("ufw-", Owner::Ufw),
    ("ufw6-", Owner::Ufw),
    ("KUBE-", Owner::Kube),
    ("cali-", Owner::Kube),
    ("CILIUM", Owner::Kube),
    ("OLD_CILIUM", Owner::Kube),
    ("FLANNEL", Owner::Kube),
    ("WEAVE", Owner::Kube),
    ("LIBVIRT_", Owner::Unknown),
    ("f2b-", Owner::Unknown),
    ("fail2ban", Owner::Unknown),
    ("CROWDSEC", Owner::Unknown),
    ("sshguard", Owner::Unknown),
    ("ts-", Owner::Unknown),
];

/// Names of nft tables.
const TABLES: &[(&str, Owner)] = &[
    ("docker-bridges", Owner::Docker),
    ("netavark", Owner::Podman),
    ("firewalld", Owner::Firewalld),
    ("kube-proxy", Owner::Kube),
    ("kube-", Owner::Kube),
    ("calico", Owner::Kube),
    ("cilium", Owner::Kube),
    ("f2b-", Owner::Unknown),
    ("crowdsec", Owner::Unknown),
    ("libvirt", Owner::Unknown),
    ("sshguard", Owner::Unknown),
];

fn by_prefix(names: &[(&str, Owner)], name: &str) -> Option<Owner> {
    names
        .iter()
        .find(|(start, _)| name.starts_with(start))
        .map(|(_, owner)| *owner)
}

/// Who wrote the rule or policy behind a drop.
pub(super) fn owner_of(firewall: &Firewall, dropped: &Dropped) -> Owner {
    if dropped.backend == Backend::Nft
        && let Some(owner) = by_prefix(TABLES, &dropped.table)
    {
        return owner;
    }
    if dropped.path.iter().any(|step| step.chain == "DOCKER-USER") {
        return Owner::User;
    }
    if let Some(owner) = by_prefix(CHAINS, &dropped.chain) {
        return owner;
    }
    let table = firewall
        .tables()
        .find(|(backend, table)| {
            *backend == dropped.backend
                && table.family == dropped.family
                && table.name == dropped.table
        })
        .map(|(_, table)| table);
    let has = |start: &str| {
        table.is_some_and(|table| {
            table
                .chains
                .iter()
                .any(|chain| chain.name.starts_with(start))
        })
    };
    // firewalld with its iptables backend names chains after zones: IN_public, FWDI_docker …
    let firewalld = has("INPUT_ZONES") || has("FORWARD_direct");
    if firewalld
        && [
            "IN_", "FWD", "PRE_", "POST_", "INPUT_", "FORWARD_", "OUTPUT_",
        ]
        .iter()
        .any(|start| dropped.chain.starts_with(start))
    {
        return Owner::Firewalld;
    }
    match &dropped.rule {
        Some(rule) if is_docker_rule(firewall, dropped, rule) => Owner::Docker,
        // firewalld ends INPUT and FORWARD itself.
        Some(_) if firewalld => Owner::Unknown,
        Some(_) => Owner::User,
        None if dropped.backend == Backend::Nft => Owner::User,
        // ufw sets policies; so does Docker for FORWARD.
        None if (has("ufw-") || has("ufw6-"))
            && (dropped.hook != Hook::Forward || !has("DOCKER")) =>
        {
            Owner::Ufw
        }
        None => Owner::Unknown,
    }
}

/// Docker's own rules in built-in chains: they speak of a bridge that another rule sends to a DOCKER chain.
fn is_docker_rule(firewall: &Firewall, dropped: &Dropped, rule: &Rule) -> bool {
    let raw = dropped.table == "raw" && dropped.chain == "PREROUTING";
    let forward = dropped.table == "filter" && dropped.chain == "FORWARD";
    if !raw && !forward || dropped.backend == Backend::Nft || rule.comment.is_some() {
        return false;
    }
    let bridges: Vec<&str> = firewall
        .tables()
        .filter(|(backend, _)| *backend == dropped.backend)
        .flat_map(|(_, table)| docker_bridges(table))
        .collect();
    let (iif, oif) = (one_name(rule, Field::Iif), one_name(rule, Field::Oif));
    if raw {
        // -d ADDRESS ! -i BRIDGE -j DROP, and -d 127.0.0.1 ! -i lo -p tcp --dport PORT -j DROP
        return match iif {
            Some(("lo", true)) => !bridges.is_empty() && rule.text.contains(" -d 127.0.0.1/32 "),
            Some((name, true)) => bridges.contains(&name),
            _ => false,
        };
    }
    // -i BRIDGE -o BRIDGE -j DROP, and nothing more: what looks at ports as well is somebody else's.
    match (iif, oif) {
        (Some((iif, false)), Some((oif, false))) => {
            iif == oif && bridges.contains(&iif) && rule.matches.len() == 2
        }
        _ => false,
    }
}

/// Bridges that Docker's rules in this table speak of.
pub(super) fn docker_bridges(table: &Table) -> Vec<&str> {
    table
        .chains
        .iter()
        .flat_map(|chain| &chain.rules)
        .filter(|rule| {
            rule.targets
                .iter()
                .any(|target| matches!(target, Target::Jump(to) if to == "DOCKER"))
        })
        .filter_map(|rule| one_name(rule, Field::Oif))
        .filter(|(_, negated)| !negated)
        .map(|(name, _)| name)
        .collect()
}
