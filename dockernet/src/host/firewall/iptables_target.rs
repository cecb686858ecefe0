//! `-j` and `-g` of a rule in iptables-save form.

use std::{collections::HashSet, net::IpAddr};

use super::{
    iptables::Word,
    matching::Field,
    target::{NatKind, NatTarget, Target},
};

/// Targets after which the next rule is asked, whatever they did to the packet.
const GO_ON: &[&str] = &[
    "AUDIT",
    "CHECKSUM",
    "CLASSIFY",
    "CONNSECMARK",
    "DSCP",
    "ECN",
    "HMARK",
    "IDLETIMER",
    "LED",
    "LOG",
    "NFLOG",
    "RATEEST",
    "SECMARK",
    "SET",
    "TCPMSS",
    "TCPOPTSTRIP",
    "TEE",
    "TOS",
    "TRACE",
    "ULOG",
];

/// Reads the part of a rule from `-j` or `-g` on; nothing there means that the rule only counts.
pub(super) fn parse_target(words: &[Word], chains: &HashSet<String>) -> Target {
    let [kind, name, options @ ..] = words else {
        return Target::Continue;
    };
    let name = name.text.as_str();
    if kind.text == "-g" {
        return Target::Goto(name.to_owned());
    }
    if chains.contains(name) {
        return Target::Jump(name.to_owned());
    }
    match name {
        "ACCEPT" => Target::Accept,
        "DROP" => Target::Drop,
        "REJECT" => Target::Reject,
        "RETURN" => Target::Return,
        "DNAT" => nat(NatKind::Dnat, option(options, &["--to-destination"])),
        "SNAT" => nat(NatKind::Snat, option(options, &["--to-source"])),
        "MASQUERADE" => nat(NatKind::Masquerade, None),
        "REDIRECT" => Target::Nat(NatTarget {
            kind: NatKind::Redirect,
            address: None,
            port: option(options, &["--to-ports"]).and_then(|port| port.parse().ok()),
        }),
        "NETMAP" => nat(NatKind::Dnat, None),
        "MARK" => mark(options),
        // `--zone`, `--helper` and the like.
        "CT" if option(options, &["--notrack"]).is_none() => Target::Template,
        "CT" | "NOTRACK" => Target::Untrack,
        "TTL" | "HL" => Target::Change(Some(Field::Ttl)),
        "CONNMARK" if option(options, &["--restore-mark"]).is_some() => Target::SetMarkUnknown,
        "CONNMARK" => Target::SetCtMark,
        _ if GO_ON.contains(&name) => Target::Continue,
        _ => Target::Unknown(format!("-j {name}")),
    }
}

/// The word after the first of these options; an option at the end counts as empty.
fn option<'a>(words: &'a [Word], names: &[&str]) -> Option<&'a str> {
    let at = words
        .iter()
        .position(|word| !word.quoted && names.contains(&word.text.as_str()))?;
    Some(words.get(at + 1).map_or("", |word| word.text.as_str()))
}

/// `172.17.0.2:80`, `[fd00::2]:80`, `172.17.0.2`, `:80`; ranges leave out what is not one value.
fn nat(kind: NatKind, to: Option<&str>) -> Target {
    let (address, port) = to.map_or((None, None), address_port);
    Target::Nat(NatTarget {
        kind,
        address,
        port,
    })
}

fn address_port(text: &str) -> (Option<IpAddr>, Option<u16>) {
    if let Ok(address) = text.trim_matches(['[', ']']).parse() {
        return (Some(address), None);
    }
    match text.rsplit_once(':') {
        Some((address, port)) => (
            address.trim_matches(['[', ']']).parse().ok(),
            port.parse().ok(),
        ),
        None => (None, None),
    }
}

fn mark(options: &[Word]) -> Target {
    // iptables-save writes all forms as --set-xmark VALUE/MASK: (mark & !MASK) ^ VALUE.
    if let Some((value, mask)) = option(options, &["--set-xmark"]).and_then(value_mask) {
        return Target::SetMark { mask, value };
    }
    // --set-mark clears the bits of both; mask and value then read as for xmark.
    match option(options, &["--set-mark"]).and_then(value_mask) {
        Some((value, mask)) => Target::SetMark {
            mask: mask | value,
            value,
        },
        None => Target::SetMarkUnknown,
    }
}

/// `0x1/0xff`, `0x1`, `1`.
pub(super) fn value_mask(text: &str) -> Option<(u32, u32)> {
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (value, number(mask)?),
        None => (text, u32::MAX),
    };
    Some((number(value)?, mask))
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
