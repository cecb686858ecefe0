//! Conditions of a rule as `ebtables-legacy -L` prints them.

use super::{
    iptables::Word,
    iptables_match::{icmp, prefix, protocol_number, ranges, test, test_masked},
    iptables_target::value_mask,
    matching::{Field, Item, Match},
    model::Family,
};

/// Reads everything before `-j`. An option that is not known is a condition that cannot be told, with all its words.
pub(super) fn parse_matches(words: &[Word]) -> Vec<Match> {
    let mut matches = Vec::new();
    let mut rest = words;
    while let Some((option, after)) = rest.split_first() {
        let end = after
            .iter()
            .position(|word| !word.quoted && word.text.starts_with('-'))
            .unwrap_or(after.len());
        let (values, next) = after.split_at(end);
        rest = next;
        if is_watcher(&option.text) {
            continue;
        }
        let (negated, values) = match values {
            [not, values @ ..] if not.text == "!" && !not.quoted => (true, values),
            values => (false, values),
        };
        let known = match values {
            [value] => condition(&option.text, &value.text, negated),
            _ => None,
        };
        matches.push(known.unwrap_or_else(|| {
            let not = if negated { "! " } else { "" };
            let values: Vec<&str> = values.iter().map(|word| word.text.as_str()).collect();
            Match::Unknown(format!("{} {not}{}", option.text, values.join(" ")))
        }));
    }
    matches
}

/// Options of what is told about a frame that fits: they decide nothing.
fn is_watcher(option: &str) -> bool {
    ["--log", "--nflog", "--ulog"].iter().any(|name| {
        option
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

fn condition(option: &str, value: &str, negated: bool) -> Option<Match> {
    let one = |field, item| Some(test(field, negated, vec![vec![item]]));
    match option {
        "-p" => one(Field::EtherType, Item::number(ether_type(value)?)),
        "-i" => one(Field::Iif, Item::interface(value, '+')),
        "-o" => one(Field::Oif, Item::interface(value, '+')),
        "--ip-src" | "--ip6-src" => one(Field::Saddr, prefix(value)?),
        "--ip-dst" | "--ip6-dst" => one(Field::Daddr, prefix(value)?),
        "--ip-proto" | "--ip6-proto" => {
            one(Field::L4Proto, Item::number(protocol_number(value)?.into()))
        }
        "--ip-sport" | "--ip6-sport" => Some(test(Field::Sport, negated, ranges(value)?)),
        "--ip-dport" | "--ip6-dport" => Some(test(Field::Dport, negated, ranges(value)?)),
        "--ip-icmp-type" => icmp(value, Family::Ip, negated),
        "--ip6-icmp-type" => icmp(value, Family::Ip6, negated),
        "--mark" => {
            let (mark, mask) = value_mask(value)?;
            Some(test_masked(Field::Mark, mask.into(), mark.into(), negated))
        }
        _ => None,
    }
}

/// A name of /etc/ethertypes or a number. `Length` is any frame of IEEE 802.3, which cannot be told.
fn ether_type(text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok();
    }
    Some(match text.to_ascii_uppercase().as_str() {
        "IPV4" => 0x0800,
        "IPV6" => 0x86dd,
        "ARP" => 0x0806,
        "RARP" => 0x8035,
        "802_1Q" => 0x8100,
        "802_1AD" => 0x88a8,
        "LLDP" => 0x88cc,
        "PAE" => 0x888e,
        "PPP_DISC" => 0x8863,
        "PPP_SES" => 0x8864,
        _ => return None,
    })
}
