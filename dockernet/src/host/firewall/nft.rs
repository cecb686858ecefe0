//! JSON of `nft -j list ruleset`.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    model::{Backend, Base, Chain, ChainKind, Family, Hook, Policy, Rule, Ruleset, Table},
    nft_expr,
    nft_text::Texts,
};

/// A named set or map of a table.
pub(super) struct NamedSet<'a> {
    pub(super) elements: &'a [Value],
    /// Its elements come and go while packets pass.
    pub(super) dynamic: bool,
}

/// Named sets and maps of one table.
pub(super) type Sets<'a> = HashMap<&'a str, NamedSet<'a>>;

/// Reads all tables.
///
/// `texts` are the rules as `nft -a list ruleset` shows them; a rule that is not there is shown as JSON.
///
/// # Errors
///
/// If `json` is not what `nft -j list ruleset` prints.
pub(super) fn parse(json: &str, texts: &Texts) -> Result<Ruleset> {
    let value: Value = serde_json::from_str(json).context("reading nft's JSON")?;
    let objects = value
        .get("nftables")
        .and_then(Value::as_array)
        .context("reading nft's JSON: it has no list \"nftables\"")?;

    let mut tables: Vec<Table> = Vec::new();
    let mut sets: HashMap<(Family, &str), Sets<'_>> = HashMap::new();
    for object in objects {
        if let Some(table) = object.get("table") {
            if let (Some(family), Some(name)) = (family(table), text(table, "name")) {
                tables.push(Table {
                    family,
                    name: name.to_owned(),
                    chains: Vec::new(),
                });
            }
        } else if let Some(set) = object.get("set").or(object.get("map"))
            && let (Some(family), Some(table), Some(name)) =
                (family(set), text(set, "table"), text(set, "name"))
        {
            sets.entry((family, table))
                .or_default()
                .insert(name, named_set(set));
        }
    }
    let nothing = Sets::new();
    for object in objects {
        if let Some(chain) = object.get("chain") {
            if let (Some(table), Some(name)) = (of(&mut tables, chain), text(chain, "name")) {
                let devices = texts.devices(table.family, &table.name, name);
                table.chains.push(Chain {
                    name: name.to_owned(),
                    base: base(chain, devices),
                    rules: Vec::new(),
                });
            }
        } else if let Some(rule) = object.get("rule")
            && let Some(table) = of(&mut tables, rule)
        {
            let sets = text(rule, "table")
                .and_then(|name| sets.get(&(table.family, name)))
                .unwrap_or(&nothing);
            let parsed = parse_rule(rule, table, sets, texts);
            let chain = text(rule, "chain");
            if let Some(chain) = table
                .chains
                .iter_mut()
                .find(|known| Some(known.name.as_str()) == chain)
            {
                chain.rules.push(Rule {
                    number: chain.rules.len() + 1,
                    ..parsed
                });
            }
        }
    }
    Ok(Ruleset {
        backend: Backend::Nft,
        tables,
    })
}

fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str()
}

fn family(object: &Value) -> Option<Family> {
    Family::from_name(text(object, "family")?)
}

/// The table that an object says it is in.
fn of<'a>(tables: &'a mut [Table], object: &Value) -> Option<&'a mut Table> {
    let family = family(object)?;
    let name = text(object, "table")?;
    tables
        .iter_mut()
        .find(|table| table.family == family && table.name == name)
}

fn named_set(set: &Value) -> NamedSet<'_> {
    let flags = set.get("flags");
    let has = |flag: &str| match flags {
        Some(Value::Array(flags)) => flags.iter().any(|each| each == flag),
        Some(one) => one == flag,
        None => false,
    };
    NamedSet {
        elements: set
            .get("elem")
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice),
        dynamic: has("dynamic") || has("timeout") || set.get("timeout").is_some(),
    }
}

/// `listed` are its devices in the other listing: nft 1.0.6 leaves them out of its JSON.
fn base(chain: &Value, listed: &[String]) -> Option<Base> {
    let hook = Hook::from_name(text(chain, "hook")?)?;
    let devices = match chain.get("dev") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many
            .iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect(),
        _ => listed.to_vec(),
    };
    Some(Base {
        hook,
        kind: match text(chain, "type") {
            Some("nat") => ChainKind::Nat,
            Some("route") => ChainKind::Route,
            _ => ChainKind::Filter,
        },
        priority: chain
            .get("prio")
            .and_then(Value::as_i64)
            .and_then(|priority| i32::try_from(priority).ok())
            .unwrap_or(0),
        policy: match text(chain, "policy") {
            Some("drop") => Policy::Drop,
            _ => Policy::Accept,
        },
        counter: None,
        devices,
    })
}

fn parse_rule(rule: &Value, table: &Table, sets: &Sets<'_>, texts: &Texts) -> Rule {
    let handle = rule.get("handle").and_then(Value::as_u64);
    let statements = rule
        .get("expr")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let body = nft_expr::statements(statements, sets);
    let shown = handle.and_then(|handle| texts.get(table.family, &table.name, handle));
    Rule {
        matches: body.matches,
        targets: body.targets,
        counter: body.counter,
        text: shown.map_or_else(|| nft_expr::as_json(statements), str::to_owned),
        number: 0,
        handle,
        comment: text(rule, "comment").map(str::to_owned),
    }
}
