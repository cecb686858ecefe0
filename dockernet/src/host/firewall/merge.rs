//! Tables that both `iptables-nft-save` and `nft` list.
//!
//! Neither listing is whole. nft cannot read xtables extensions; `iptables-nft-save` 1.8.9 leaves out, without a
//! word, conditions that nft wrote (`iifname { "a", "b" } accept` becomes `-j ACCEPT`). So each rule is taken from the one that
//! can read it.

use super::{
    matching::Match,
    model::{Backend, Chain, Rule, Table},
    target::Target,
};

/// Merges both views of one table, and tells who wrote it.
pub(super) fn merge(iptables: Table, nft: &Table) -> (Backend, Table) {
    let same_shape = nft.chains.iter().all(|chain| {
        iptables
            .chain(&chain.name)
            .is_some_and(|known| known.rules.len() == chain.rules.len())
    });
    let rules = nft.chains.iter().flat_map(|chain| &chain.rules);
    // iptables-nft gives every rule a counter.
    let by_nft = rules.clone().count() > 0 && rules.clone().all(|rule| rule.counter.is_none());
    let readable = rules.clone().all(readable);
    if by_nft && readable {
        return (Backend::Nft, nft.clone());
    }
    if !same_shape {
        return (Backend::IptablesNft, iptables);
    }
    let chains = iptables
        .chains
        .into_iter()
        .map(|chain| match nft.chain(&chain.name) {
            Some(other) => merge_chain(chain, other),
            None => chain,
        })
        .collect();
    (Backend::IptablesNft, Table { chains, ..iptables })
}

fn merge_chain(iptables: Chain, nft: &Chain) -> Chain {
    let rules = iptables
        .rules
        .into_iter()
        .zip(&nft.rules)
        .map(|(rule, other)| merge_rule(rule, other))
        .collect();
    Chain { rules, ..iptables }
}

fn merge_rule(iptables: Rule, nft: &Rule) -> Rule {
    if !readable(nft) {
        return Rule {
            handle: nft.handle,
            ..iptables
        };
    }
    if nft.counter.is_none() || nft_only(nft) {
        return nft.clone();
    }
    Rule {
        matches: nft.matches.clone(),
        targets: nft.targets.clone(),
        handle: nft.handle,
        ..iptables
    }
}

/// Whether nft's listing says all of a rule.
fn readable(rule: &Rule) -> bool {
    !rule
        .matches
        .iter()
        .any(|each| matches!(each, Match::Unknown(_)))
        && !rule
            .targets
            .iter()
            .any(|target| matches!(target, Target::Unknown(_) | Target::When(Match::Unknown(_))))
}

/// Whether a rule uses what iptables-nft never writes: sets and maps.
fn nft_only(rule: &Rule) -> bool {
    rule.matches.iter().any(|each| {
        matches!(each, Match::Test { elements, keys, .. } if elements.len() != 1 || keys.len() > 1)
    }) || rule
        .targets
        .iter()
        .any(|target| matches!(target, Target::Vmap { .. }))
}
