//! What a dropping rule is for.

use crate::host::firewall::{Dropped, Elements, Family, Field, Hook, Item, Match, Owner, Rule};

/// What a dropping rule or policy is for: tells the firewall's causes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropKind {
    /// The administrator's rule in DOCKER-USER, or in a chain it calls.
    DockerUser,
    /// Docker keeps its networks apart.
    NetworkIsolation,
    /// Docker keeps an `--internal` network apart.
    InternalNetwork,
    /// Docker keeps containers of one network apart (`enable_icc=false`).
    Icc,
    /// Docker 28+: a container's address is not reached from outside (raw table).
    DirectAccess,
    /// Docker 28+: a port published on loopback is not reached from outside (raw table).
    LoopbackPublished,
    /// Docker 28+: this port of the container is not published.
    UnpublishedPort,
    /// The policy of a FORWARD chain.
    ForwardPolicy,
    /// Another rule on the FORWARD hook.
    ForwardRule,
    /// On the INPUT hook.
    Input,
    /// On the OUTPUT hook.
    Output,
    /// In the bridge's own chains.
    Bridge,
    /// Anything else.
    Other,
}

impl DropKind {
    pub(super) fn of(dropped: &Dropped, owner: Owner) -> Self {
        if dropped.chain == "DOCKER-USER"
            || dropped.path.iter().any(|step| step.chain == "DOCKER-USER")
        {
            return Self::DockerUser;
        }
        if owner == Owner::Docker
            && let Some(rule) = &dropped.rule
            && let Some(kind) = docker(dropped, rule)
        {
            return kind;
        }
        match (dropped.family, dropped.hook) {
            (Family::Bridge, _) => Self::Bridge,
            (_, Hook::Forward) if dropped.rule.is_none() => Self::ForwardPolicy,
            (_, Hook::Forward) => Self::ForwardRule,
            (_, Hook::Input) => Self::Input,
            (_, Hook::Output) => Self::Output,
            _ => Self::Other,
        }
    }
}

/// Docker's rules, by what they look at: texts and chains differ between versions and backends.
fn docker(dropped: &Dropped, rule: &Rule) -> Option<DropKind> {
    match rule.comment.as_deref() {
        Some("DROP DIRECT ACCESS") => return Some(DropKind::DirectAccess),
        Some("DROP REMOTE") => return Some(DropKind::LoopbackPublished),
        Some("UNPUBLISHED PORT DROP") => return Some(DropKind::UnpublishedPort),
        Some(text) if text.starts_with("INTERNAL NETWORK") => {
            return Some(DropKind::InternalNetwork);
        }
        Some("ICC") => return Some(DropKind::Icc),
        _ => {}
    }
    let iif = one_name(rule, Field::Iif);
    let oif = one_name(rule, Field::Oif);
    let addressed = |negated_wanted: bool| {
        rule.matches.iter().any(|each| {
            matches!(each, Match::Test { keys, negated, .. }
                if *negated == negated_wanted
                    && keys.iter().any(|key| matches!(key.field, Field::Saddr | Field::Daddr)))
        })
    };
    match dropped.hook {
        Hook::Prerouting => match iif {
            Some(("lo", true)) => Some(DropKind::LoopbackPublished),
            Some((_, true)) => Some(DropKind::DirectAccess),
            _ => None,
        },
        Hook::Forward => {
            if dropped.chain == "DOCKER-INTERNAL"
                || dropped.chain.starts_with("DOCKER-ISOLATION") && addressed(true)
            {
                return Some(DropKind::InternalNetwork);
            }
            if dropped.chain.starts_with("DOCKER-ISOLATION") {
                return Some(DropKind::NetworkIsolation);
            }
            match (iif, oif) {
                (Some((iif, false)), Some((oif, false))) if iif == oif => Some(DropKind::Icc),
                (Some((iif, true)), Some((oif, false))) if iif == oif => {
                    Some(DropKind::UnpublishedPort)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// The one name that a rule compares an interface with, and whether it must not be that.
pub(in crate::host::firewall) fn one_name(rule: &Rule, wanted: Field) -> Option<(&str, bool)> {
    rule.matches.iter().find_map(|each| match each {
        Match::Test {
            keys,
            negated,
            elements,
        } if keys.len() == 1 && keys[0].field == wanted => match elements.as_slice() {
            [element] => name(element).map(|name| (name, *negated)),
            _ => None,
        },
        _ => None,
    })
}

fn name(element: &Elements) -> Option<&str> {
    match element.as_slice() {
        [Item::Name(name)] => Some(name),
        _ => None,
    }
}
