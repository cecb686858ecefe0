//! Text of `ebtables-legacy -t TABLE -L --Lc`.
//!
//! Legacy bridge tables are a third place for rules beside nf_tables and `ip_tables`. Debian's kernels have them up to 6.12.

use std::collections::HashSet;

use super::{
    ebtables_match::parse_matches,
    ebtables_target::parse_targets,
    iptables::words,
    model::{Backend, Base, Chain, ChainKind, Counter, Family, Hook, Policy, Rule, Ruleset, Table},
    target::Target,
};

/// The tables whose DROP is one. `broute` is left out: there, DROP means "route this frame instead of bridging it"
/// (`ebt_broute`, net/bridge/netfilter/ebtable_broute.c).
pub(super) const TABLES: [&str; 2] = ["filter", "nat"];

/// Reads a listing of one or more tables. What makes no sense becomes a rule that cannot be told, at the end of its chain.
pub(super) fn parse(text: &str) -> Ruleset {
    let mut tables: Vec<Table> = Vec::new();
    let names: HashSet<String> = text
        .lines()
        .filter_map(|line| heading(line).map(|(name, _)| name.to_owned()))
        .collect();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("Bridge table: ") {
            tables.push(Table {
                family: Family::Bridge,
                name: name.to_owned(),
                chains: Vec::new(),
            });
            continue;
        }
        let Some(table) = tables.last_mut() else {
            continue;
        };
        if let Some((name, policy)) = heading(line) {
            if let Some(ended) = table.chains.last_mut() {
                end(ended);
            }
            let chain = chain(&table.name, name, policy);
            table.chains.push(chain);
        } else if !line.is_empty()
            && let Some(chain) = table.chains.last_mut()
        {
            let rule = rule(line, chain, &names);
            // The policy of a chain that is called comes behind its rules.
            let last = chain.rules.len() - usize::from(chain.base.is_none());
            chain.rules.insert(last, rule);
        }
    }
    for chain in tables.iter_mut().flat_map(|table| &mut table.chains) {
        end(chain);
    }
    Ruleset {
        backend: Backend::EbtablesLegacy,
        tables,
    }
}

/// Numbers the rules of a chain that is complete.
fn end(chain: &mut Chain) {
    for (number, rule) in (1..).zip(&mut chain.rules) {
        rule.number = number;
    }
}

/// `Bridge chain: FORWARD, entries: 11, policy: ACCEPT`
fn heading(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line
        .trim()
        .strip_prefix("Bridge chain: ")?
        .split_once(", entries: ")?;
    let (_, policy) = rest.split_once(", policy: ")?;
    Some((name, policy.trim()))
}

fn chain(table: &str, name: &str, policy: &str) -> Chain {
    let base = Hook::from_name(name)
        .filter(|hook| hook.name().to_uppercase() == name)
        .map(|hook| Base {
            hook,
            // Unlike IP's, this `nat` is asked for each frame.
            kind: ChainKind::Filter,
            priority: priority(table, hook),
            policy: match policy {
                "DROP" => Policy::Drop,
                _ => Policy::Accept,
            },
            counter: None,
            devices: Vec::new(),
        });
    let rules = match base {
        Some(_) => Vec::new(),
        None => vec![bare(
            format!("-P {name} {policy}"),
            match policy {
                "ACCEPT" => Target::Accept,
                "DROP" => Target::Drop,
                "RETURN" => Target::Return,
                other => Target::Unknown(other.to_owned()),
            },
        )],
    };
    Chain {
        name: name.to_owned(),
        base,
        rules,
    }
}

/// `enum nf_br_hook_priorities` (include/uapi/linux/netfilter_bridge.h), as ebtable_filter.c and ebtable_nat.c use it.
fn priority(table: &str, hook: Hook) -> i32 {
    match (table, hook) {
        ("nat", Hook::Prerouting) => -300,
        ("nat", Hook::Output) => 100,
        ("nat", _) => 300,
        (_, Hook::Output) => 200,
        _ => -200,
    }
}

fn rule(line: &str, chain: &Chain, chains: &HashSet<String>) -> Rule {
    let (line, counter) = match line.rsplit_once(", pcnt = ") {
        Some((line, counts)) => (line.trim_end(), counter(counts)),
        None => (line, None),
    };
    // The watcher `nflog` prints no space behind its prefix.
    let text = format!("-A {} {}", chain.name, line.replace("\"--", "\" --"));
    let words = words(&text);
    let words = words.get(2..).unwrap_or_default();
    let Some(jump) = words
        .iter()
        .position(|word| !word.quoted && word.text == "-j")
    else {
        let unknown = Target::Unknown(line.to_owned());
        return bare(text, unknown);
    };
    let (conditions, target) = words.split_at(jump);
    Rule {
        matches: parse_matches(conditions),
        targets: parse_targets(target, chains),
        counter,
        ..bare(text, Target::Continue)
    }
}

fn bare(text: String, target: Target) -> Rule {
    Rule {
        matches: Vec::new(),
        targets: vec![target],
        counter: None,
        text,
        number: 0,
        handle: None,
        comment: None,
    }
}

/// `12 -- bcnt = 1008`
fn counter(text: &str) -> Option<Counter> {
    let (packets, bytes) = text.split_once(" -- bcnt = ")?;
    Some(Counter {
        packets: packets.trim().parse().ok()?,
        bytes: bytes.trim().parse().ok()?,
    })
}
