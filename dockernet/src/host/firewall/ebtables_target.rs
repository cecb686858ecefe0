//! `-j` of a rule as `ebtables-legacy -L` prints it.

use std::collections::HashSet;

use super::{iptables::Word, iptables_target::value_mask, matching::Field, target::Target};

/// Reads from `-j` on.
pub(super) fn parse_targets(words: &[Word], chains: &HashSet<String>) -> Vec<Target> {
    let [_, name, options @ ..] = words else {
        return vec![Target::Unknown("-j".to_owned())];
    };
    let unknown = || Target::Unknown(format!("-j {}", name.text));
    let value = |wanted: &str| {
        let at = options.iter().position(|word| word.text == wanted)?;
        options.get(at + 1).map(|word| word.text.as_str())
    };
    // Each target that changes something says itself what comes then.
    let then = |wanted: &str| value(wanted).and_then(verdict).unwrap_or_else(unknown);
    if chains.contains(&name.text) {
        return vec![Target::Jump(name.text.clone())];
    }
    match name.text.as_str() {
        "mark" => vec![mark(options), then("--mark-target")],
        // The frame's addresses, which no condition here looks at.
        "dnat" => vec![then("--dnat-target")],
        "snat" => vec![then("--snat-target")],
        // It becomes one for this machine: MAC address and packet type.
        "redirect" => vec![
            Target::Change(Some(Field::PktType)),
            then("--redirect-target"),
        ],
        other => vec![verdict(other).unwrap_or_else(unknown)],
    }
}

fn verdict(name: &str) -> Option<Target> {
    Some(match name {
        "ACCEPT" => Target::Accept,
        "DROP" => Target::Drop,
        "CONTINUE" => Target::Continue,
        "RETURN" => Target::Return,
        _ => return None,
    })
}

/// `ebt_mark_tg` (net/bridge/netfilter/ebt_mark.c).
fn mark(options: &[Word]) -> Target {
    let [name, value, ..] = options else {
        return Target::SetMarkUnknown;
    };
    let Some((value, _)) = value_mask(&value.text) else {
        return Target::SetMarkUnknown;
    };
    let (mask, value) = match name.text.as_str() {
        "--mark-set" => (u32::MAX, value),
        "--mark-or" => (value, value),
        "--mark-and" => (!value, 0),
        "--mark-xor" => (0, value),
        _ => return Target::SetMarkUnknown,
    };
    Target::SetMark { mask, value }
}
