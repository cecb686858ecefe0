//! Text of `iptables-save -c` and `ip6tables-save -c`.

use std::collections::HashSet;

use super::{
    iptables_match::parse_matches,
    iptables_target::parse_target,
    model::{Backend, Base, Chain, ChainKind, Counter, Family, Hook, Policy, Rule, Ruleset, Table},
    target::Target,
};

/// A word of a line, and whether it was quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) quoted: bool,
}

/// Reads all tables of a dump. A rule that makes no sense becomes one that cannot be told, in its chain or, where that is not
/// known either, at the beginning of each built-in one.
pub(super) fn parse(text: &str, backend: Backend, family: Family) -> Ruleset {
    let mut tables: Vec<Table> = Vec::new();
    let mut chain_names = HashSet::new();
    for section in sections(text) {
        let Some(name) = section.first().and_then(|line| line.strip_prefix('*')) else {
            continue;
        };
        let mut table = Table {
            family,
            name: name.trim().to_owned(),
            chains: Vec::new(),
        };
        chain_names.clear();
        for line in &section {
            if let Some(chain) = line
                .strip_prefix(':')
                .and_then(|rest| parse_chain(&table.name, rest))
                && chain_names.insert(chain.name.clone())
            {
                table.chains.push(chain);
            }
        }
        let rules = section.iter().skip(1).filter(|line| !line.starts_with(':'));
        for line in rules.filter(|line| !line.is_empty()) {
            let parsed = parse_rule(line, &chain_names, family);
            let place = parsed
                .as_ref()
                .and_then(|(name, _)| table.chains.iter().position(|chain| chain.name == *name));
            match (parsed, place.and_then(|place| table.chains.get_mut(place))) {
                (Some((_, rule)), Some(chain)) => chain.rules.push(rule),
                _ => {
                    let built_in = table.chains.iter_mut().filter(|chain| chain.base.is_some());
                    built_in.for_each(|chain| chain.rules.insert(0, unreadable(line)));
                }
            }
        }
        for chain in &mut table.chains {
            for (number, rule) in (1..).zip(&mut chain.rules) {
                rule.number = number;
            }
        }
        tables.push(table);
    }
    Ruleset { backend, tables }
}

/// Lines from `*table` to `COMMIT`.
fn sections(text: &str) -> Vec<Vec<&str>> {
    let mut sections: Vec<Vec<&str>> = Vec::new();
    let mut open = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('*') {
            sections.push(vec![line]);
            open = true;
        } else if line == "COMMIT" {
            open = false;
        } else if open
            && !line.starts_with('#')
            && let Some(section) = sections.last_mut()
        {
            section.push(line);
        }
    }
    sections
}

/// `FORWARD DROP [12:720]`, without the leading colon.
fn parse_chain(table: &str, line: &str) -> Option<Chain> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    let policy = match words.next()? {
        "ACCEPT" => Some(Policy::Accept),
        "DROP" => Some(Policy::Drop),
        _ => None,
    };
    let counter = words.next().and_then(parse_counter);
    Some(Chain {
        name: name.to_owned(),
        base: policy
            .zip(Hook::from_name(name))
            .map(|(policy, hook)| Base {
                hook,
                kind: kind(table, hook),
                priority: priority(table, hook),
                policy,
                counter,
                devices: Vec::new(),
            }),
        rules: Vec::new(),
    })
}

fn kind(table: &str, hook: Hook) -> ChainKind {
    match (table, hook) {
        ("nat", _) => ChainKind::Nat,
        ("mangle", Hook::Output) => ChainKind::Route,
        _ => ChainKind::Filter,
    }
}

/// `enum nf_ip_hook_priorities` (include/uapi/linux/netfilter_ipv4.h).
fn priority(table: &str, hook: Hook) -> i32 {
    match (table, hook) {
        ("raw", _) => -300,
        ("mangle", _) => -150,
        ("nat", Hook::Prerouting | Hook::Output) => -100,
        ("nat", _) => 100,
        ("security", _) => 50,
        _ => 0,
    }
}

/// `[packets:bytes]`
fn parse_counter(text: &str) -> Option<Counter> {
    let (packets, bytes) = text.strip_prefix('[')?.strip_suffix(']')?.split_once(':')?;
    Some(Counter {
        packets: packets.parse().ok()?,
        bytes: bytes.parse().ok()?,
    })
}

fn parse_rule(line: &str, chains: &HashSet<String>, family: Family) -> Option<(String, Rule)> {
    let (counter, text) = match line.strip_prefix('[') {
        Some(_) => {
            let (counter, rest) = line.split_once(' ')?;
            (parse_counter(counter), rest.trim_start())
        }
        None => (None, line),
    };
    let words = words(text.strip_prefix("-A ")?);
    let (chain, words) = words.split_first()?;
    let jump = words
        .iter()
        .position(|word| !word.quoted && matches!(word.text.as_str(), "-j" | "-g"));
    let (conditions, target) = words.split_at(jump.unwrap_or(words.len()));
    let (matches, comment) = parse_matches(conditions, family);
    let rule = Rule {
        matches,
        targets: vec![parse_target(target, chains)],
        counter,
        text: text.to_owned(),
        number: 0,
        handle: None,
        comment,
    };
    Some((chain.text.clone(), rule))
}

/// A line that is no rule: it may do anything.
fn unreadable(line: &str) -> Rule {
    Rule {
        matches: Vec::new(),
        targets: vec![Target::Unknown(line.to_owned())],
        counter: None,
        text: line.to_owned(),
        number: 0,
        handle: None,
        comment: None,
    }
}

/// Splits as `iptables-restore` does: quotes group, a backslash takes the next character as it is.
pub(super) fn words(line: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word = Word {
        text: String::new(),
        quoted: false,
    };
    let mut inside = false;
    let mut escaped = false;
    for character in line.chars() {
        match character {
            _ if escaped => {
                word.text.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => {
                inside = !inside;
                word.quoted = true;
            }
            space if space.is_whitespace() && !inside => {
                if word.quoted || !word.text.is_empty() {
                    words.push(std::mem::replace(
                        &mut word,
                        Word {
                            text: String::new(),
                            quoted: false,
                        },
                    ));
                }
            }
            other => word.text.push(other),
        }
    }
    if word.quoted || !word.text.is_empty() {
        words.push(word);
    }
    words
}
