//! Statements of a rule in nft's JSON.

use serde_json::{Map, Value};

use super::{
    matching::{Elements, Field, Item, Match},
    model::Counter,
    nft::Sets,
    nft_set::{LeftSide, element, is, left, number},
    target::{NatKind, NatTarget, Target, Verdict},
};

/// What a rule's statements say.
#[derive(Default)]
pub(super) struct Body {
    pub(super) matches: Vec<Match>,
    pub(super) targets: Vec<Target>,
    pub(super) counter: Option<Counter>,
}

/// Reads all statements of a rule, which nft runs in order: conditions behind an action are [`Target::When`].
pub(super) fn statements(list: &[Value], sets: &Sets<'_>) -> Body {
    let mut body = Body::default();
    for statement in list {
        let Some((name, value)) = statement.as_object().and_then(|one| one.iter().next()) else {
            body.condition(Match::Unknown(statement.to_string()));
            continue;
        };
        if name == "counter" {
            // A counter in front of a condition counts more than the rule does.
            if body.targets.is_empty() {
                body.counter = counter(value);
            }
            continue;
        }
        if name == "reject" {
            // nft puts what `with tcp reset` and the like ask for in front of the whole rule (`stmt_reject_gen_dependency`).
            body.matches.extend(rejectable(value));
        }
        for condition in conditions(name, value, statement, sets) {
            body.condition(condition);
        }
        body.targets.extend(action(name, value, sets));
    }
    body
}

impl Body {
    fn condition(&mut self, condition: Match) {
        // A counter that stood before this condition says nothing about the rule's verdict.
        self.counter = None;
        let goes_on = |target: &Target| matches!(target, Target::Continue);
        if self.targets.iter().all(goes_on) {
            self.matches.push(condition);
        } else {
            self.targets.push(Target::When(condition));
        }
    }
}

/// What a rejection is limited to, though it does not say so.
fn rejectable(value: &Value) -> Option<Match> {
    match value.get("type")?.as_str()? {
        "tcp reset" => Some(is(Field::L4Proto, 6)),
        "icmp" => Some(is(Field::EtherType, 0x0800)),
        "icmpv6" => Some(is(Field::EtherType, 0x86dd)),
        _ => None,
    }
}

/// A rule without its counters, for listings that have no text of it.
pub(super) fn as_json(list: &[Value]) -> String {
    let shown: Vec<String> = list
        .iter()
        .filter(|statement| statement.get("counter").is_none())
        .map(Value::to_string)
        .collect();
    shown.join(" ")
}

fn counter(value: &Value) -> Option<Counter> {
    Some(Counter {
        packets: value.get("packets")?.as_u64()?,
        bytes: value.get("bytes")?.as_u64()?,
    })
}

/// Conditions of one statement.
fn conditions(name: &str, value: &Value, statement: &Value, sets: &Sets<'_>) -> Vec<Match> {
    match name {
        "match" => {
            let side = value.get("left").map(left);
            let test = side
                .as_ref()
                .and_then(|side| test(side, value, sets))
                .unwrap_or_else(|| Match::Unknown(statement.to_string()));
            let mut matches = side.map_or_else(Vec::new, |side| side.implied);
            matches.push(test);
            matches
        }
        "vmap" => value
            .get("key")
            .map(left)
            .map_or_else(Vec::new, |side| side.implied),
        "limit" | "quota" | "ct count" | "xt" => vec![Match::Unknown(statement.to_string())],
        // `add @set { ip saddr limit … }` is also a condition; a bare `add` fails only when the set is full.
        "set" | "map" | "meter" if value.get("stmt").is_some() => {
            vec![Match::Unknown(statement.to_string())]
        }
        "set" | "map" | "meter" => value
            .get("elem")
            .map(|elem| {
                left(
                    elem.get("elem")
                        .and_then(|elem| elem.get("val"))
                        .unwrap_or(elem),
                )
            })
            .map_or_else(Vec::new, |side| side.implied),
        "dnat" | "snat" | "masquerade" | "redirect" => {
            let family = value.get("family").and_then(Value::as_str);
            let mut found: Vec<Match> = match family {
                Some("ip") => vec![is(Field::EtherType, 0x0800)],
                Some("ip6") => vec![is(Field::EtherType, 0x86dd)],
                _ => Vec::new(),
            };
            // `dnat to ip daddr map { … }` goes on with the next rule where the map has no such entry.
            let computed = ["addr", "port"]
                .iter()
                .filter_map(|key| value.get(key))
                .any(|part| part.get("map").is_some() || part.get("concat").is_some());
            if computed {
                found.push(Match::Unknown(statement.to_string()));
            }
            found
        }
        "mangle" => {
            let mut found = value
                .get("key")
                .map_or_else(Vec::new, |key| left(key).implied);
            // What is computed from anything but the mark itself may end the rule: an entry that a map lacks, a flow that
            // the packet lacks.
            let plain = value.get("value").is_some_and(|value| {
                mark(value).is_some() || !value.is_object() || value.get("|").is_some()
            });
            if !plain {
                found.push(Match::Unknown(statement.to_string()));
            }
            found
        }
        _ => Vec::new(),
    }
}

fn test(side: &LeftSide, value: &Value, sets: &Sets<'_>) -> Option<Match> {
    let keys = side.all()?;
    let (operator, right) = (value.get("op")?.as_str()?, value.get("right")?);
    let field = keys.first()?.field;
    let plain = |negated, elements| {
        Some(Match::Test {
            keys: keys.clone(),
            negated,
            elements,
        })
    };
    match operator {
        "==" | "!=" => {
            let (elements, dynamic) = right_side(side, right, sets)?;
            let test = plain(operator == "!=", elements);
            if dynamic { None } else { test }
        }
        // Flags: any of them is set.
        "in" | "!" => plain(
            operator == "!",
            vec![vec![Item::Bits(number(field, right, side.v6)?)]],
        ),
        "<" | "<=" | ">" | ">=" if keys.len() == 1 => {
            let limit = number(field, right, side.v6)?;
            let range = match operator {
                "<" => (0, limit.checked_sub(1)?),
                "<=" => (0, limit),
                ">" => (limit.checked_add(1)?, u64::MAX),
                _ => (limit, u64::MAX),
            };
            plain(false, vec![vec![Item::Number(range.0, range.1)]])
        }
        _ => None,
    }
}

/// The right side as elements, and whether they may have changed since.
fn right_side(side: &LeftSide, right: &Value, sets: &Sets<'_>) -> Option<(Vec<Elements>, bool)> {
    let (list, dynamic): (&[Value], bool) = match right {
        Value::String(name) if name.starts_with('@') => {
            let set = sets.get(name.trim_start_matches('@'))?;
            (set.elements, set.dynamic)
        }
        Value::Object(object) => match object.get("set") {
            Some(Value::Array(list)) => (list, false),
            Some(one) => (std::slice::from_ref(one), false),
            None => (std::slice::from_ref(right), false),
        },
        _ => (std::slice::from_ref(right), false),
    };
    let elements: Vec<Elements> = list.iter().map(|each| element(side, each)).collect();
    Some((merged(side, elements), dynamic))
}

/// Fields with exactly one bit set: several values are one set of bits, so that "one of all" is certain.
fn merged(side: &LeftSide, elements: Vec<Elements>) -> Vec<Elements> {
    let one_bit = matches!(side.keys.as_slice(), [Some(key)] if matches!(key.field,
        Field::CtState | Field::SaddrType | Field::DaddrType | Field::SaddrTypeIif | Field::DaddrTypeIif));
    let all = elements
        .iter()
        .try_fold(0, |bits, element| match element.as_slice() {
            [Item::Bits(more)] => Some(bits | more),
            _ => None,
        });
    match all {
        Some(bits) if one_bit => vec![vec![Item::Bits(bits)]],
        _ => elements,
    }
}

/// What one statement does.
fn action(name: &str, value: &Value, sets: &Sets<'_>) -> Option<Target> {
    Some(match name {
        "match" | "limit" | "quota" | "ct count" | "counter" => return None,
        "accept" => Target::Accept,
        "drop" => Target::Drop,
        "reject" => Target::Reject,
        "return" => Target::Return,
        "notrack" => Target::Untrack,
        "continue" | "log" | "last" | "ct helper" | "ct timeout" | "ct expectation" | "secmark"
        | "flow" | "tunnel" | "set" | "map" | "meter" | "comment" | "reset" => Target::Continue,
        "jump" => Target::Jump(chain(value)?),
        "goto" => Target::Goto(chain(value)?),
        "dnat" => nat(NatKind::Dnat, value),
        "snat" => nat(NatKind::Snat, value),
        "masquerade" => nat(NatKind::Masquerade, value),
        "redirect" => nat(NatKind::Redirect, value),
        "mangle" => mangle(value),
        "vmap" => vmap(value, sets),
        // queue, synproxy, tproxy, fwd, dup, xt …
        other => Target::Unknown(other.to_owned()),
    })
}

fn chain(value: &Value) -> Option<String> {
    Some(value.get("target")?.as_str()?.to_owned())
}

fn nat(kind: NatKind, value: &Value) -> Target {
    let port = value
        .get("port")
        .and_then(Value::as_u64)
        .and_then(|port| u16::try_from(port).ok());
    Target::Nat(NatTarget {
        kind,
        address: value
            .get("addr")
            .and_then(Value::as_str)
            .and_then(|address| address.parse().ok()),
        port,
    })
}

fn mangle(value: &Value) -> Target {
    let key = value.get("key");
    let named = |kind: &str| key.and_then(|key| key.get(kind)?.get("key")?.as_str());
    match (named("meta"), named("ct")) {
        (Some("mark"), _) => match value.get("value").and_then(mark) {
            Some((mask, value)) => Target::SetMark { mask, value },
            None => Target::SetMarkUnknown,
        },
        (Some("pkttype"), _) => Target::Change(Some(Field::PktType)),
        (_, Some("mark")) => Target::SetCtMark,
        (_, Some("zone")) => Target::Template,
        _ => match key.and_then(|key| key.get("payload")) {
            // Bytes by their place: any field may lie there.
            Some(payload) if payload.get("field").is_none() => Target::Change(None),
            Some(_) => key
                .map(left)
                .and_then(|side| side.keys.first().copied().flatten())
                .map_or(Target::Continue, |key| Target::Change(Some(key.field))),
            // TCP options, priorities and the like are no conditions here.
            None => Target::Continue,
        },
    }
}

/// `5`, `mark | 5`, `mark & 5`, `mark ^ 5`, and `(mark & 5) ^ 6`: as `(mark & !mask) ^ value`.
fn mark(value: &Value) -> Option<(u32, u32)> {
    let read = |value: &Value| u32::try_from(number(Field::Mark, value, false)?).ok();
    if let Some(plain) = read(value) {
        return Some((u32::MAX, plain));
    }
    let (operator, parts) = value.as_object().and_then(single)?;
    let [left, right] = parts.as_array()?.as_slice() else {
        return None;
    };
    let right = read(right)?;
    let inner = if left.get("meta")?.get("key")? == "mark" {
        (0, 0)
    } else {
        mark(left)?
    };
    // (((m & !a) ^ b) & !c) ^ d = (m & !(a | c)) ^ ((b & !c) ^ d)
    let (clear, flip) = match operator {
        "|" => (right, right),
        "&" => (!right, 0),
        "^" => (0, right),
        _ => return None,
    };
    Some((inner.0 | clear, (inner.1 & !clear) ^ flip))
}

fn single(object: &Map<String, Value>) -> Option<(&str, &Value)> {
    object
        .iter()
        .next()
        .map(|(name, value)| (name.as_str(), value))
}

fn vmap(value: &Value, sets: &Sets<'_>) -> Target {
    let unreadable = || Target::Unknown("vmap".to_owned());
    let Some(side) = value.get("key").map(left) else {
        return unreadable();
    };
    let Some(keys) = side.all() else {
        return unreadable();
    };
    let (list, dynamic): (&[Value], bool) = match value.get("data") {
        Some(Value::String(name)) => match sets.get(name.trim_start_matches('@')) {
            Some(set) => (set.elements, set.dynamic),
            None => return unreadable(),
        },
        Some(data) => match data.get("set").and_then(Value::as_array) {
            Some(list) => (list, false),
            None => return unreadable(),
        },
        None => return unreadable(),
    };
    let entries: Option<_> = list
        .iter()
        .map(|entry| match entry.as_array().map(Vec::as_slice) {
            Some([key, verdict]) => Some((element(&side, key), read_verdict(verdict))),
            _ => None,
        })
        .collect();
    let Some(entries) = entries else {
        return unreadable();
    };
    Target::Vmap {
        keys,
        entries,
        dynamic,
    }
}

fn read_verdict(value: &Value) -> Verdict {
    let known = value
        .as_object()
        .and_then(single)
        .and_then(|(name, value)| {
            Some(match name {
                "accept" => Verdict::Accept,
                "drop" => Verdict::Drop,
                "continue" => Verdict::Continue,
                "return" => Verdict::Return,
                "jump" => Verdict::Jump(chain(value)?),
                "goto" => Verdict::Goto(chain(value)?),
                _ => return None,
            })
        });
    known.unwrap_or_else(|| Verdict::Unknown(value.to_string()))
}
