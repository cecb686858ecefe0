//! Commands that let a packet pass, for the program and table of the rule that dropped it.

use crate::host::firewall::{Attribution, Backend, Dropped, Family};

/// The command that accepts something before the base chain of a drop comes to it.
pub(crate) fn accept(
    found: &Attribution,
    interfaces: &[(&str, &str)],
    service: Option<(&str, Option<u16>)>,
) -> String {
    accept_what(found, interfaces, &conditions(found, service))
}

/// The same for the answers to connections that the host opened: their port is another one each time.
pub(super) fn accept_answers(found: &Attribution, interfaces: &[(&str, &str)]) -> String {
    let answers = match found.dropped.backend {
        Backend::Nft => " ct state established,related",
        _ => " -m conntrack --ctstate RELATED,ESTABLISHED",
    };
    accept_what(found, interfaces, answers)
}

fn accept_what(found: &Attribution, interfaces: &[(&str, &str)], what: &str) -> String {
    let dropped = &found.dropped;
    let chain = dropped
        .path
        .first()
        .map_or(dropped.chain.as_str(), |step| step.chain.as_str());
    let mut command = match dropped.backend {
        Backend::Nft => format!(
            "nft insert rule {} {} {chain}",
            dropped.family.name(),
            dropped.table
        ),
        _ => format!("{} -I {chain}", tables(&found.dropped)),
    };
    for (direction, name) in interfaces {
        command += &match dropped.backend {
            Backend::Nft => format!(" {direction}ifname {name}"),
            _ => format!(" -{direction} {name}"),
        };
    }
    command
        + what
        + match dropped.backend {
            Backend::Nft => " accept",
            _ => " -j ACCEPT",
        }
}

/// What a service is told by.
fn conditions(found: &Attribution, service: Option<(&str, Option<u16>)>) -> String {
    match (service, found.dropped.backend) {
        (Some((protocol, Some(port))), Backend::Nft) => format!(" {protocol} dport {port}"),
        (Some((protocol, None)), Backend::Nft) => {
            // nft's name for it.
            let protocol = if protocol == "icmpv6" {
                "ipv6-icmp"
            } else {
                protocol
            };
            format!(" meta l4proto {protocol}")
        }
        (Some((protocol, Some(port))), _) => format!(" -p {protocol} --dport {port}"),
        (Some((protocol, None)), _) => format!(" -p {protocol}"),
        (None, _) => String::new(),
    }
}

/// The command that lets "fragmentation needed" and "packet too big" pass before the base chain of a drop comes to it.
pub(super) fn pass_size_errors(found: &Attribution, ipv6: bool) -> String {
    let dropped = &found.dropped;
    let first = dropped.path.first();
    let chain = first.map_or(dropped.chain.as_str(), |step| step.chain.as_str());
    match dropped.backend {
        Backend::EbtablesLegacy if ipv6 => format!(
            "{} -I {chain} -p IPv6 --ip6-proto ipv6-icmp --ip6-icmp-type packet-too-big -j ACCEPT",
            tables(&found.dropped)
        ),
        Backend::EbtablesLegacy => format!(
            "{} -I {chain} -p IPv4 --ip-proto icmp --ip-icmp-type fragmentation-needed -j ACCEPT",
            tables(&found.dropped)
        ),
        Backend::Nft => format!(
            "nft insert rule {} {} {chain} {} accept",
            dropped.family.name(),
            dropped.table,
            if ipv6 {
                "icmpv6 type packet-too-big"
            } else {
                "icmp type destination-unreachable icmp code frag-needed"
            }
        ),
        _ if ipv6 => format!(
            "{} -I {chain} -p ipv6-icmp --icmpv6-type packet-too-big -j ACCEPT",
            tables(&found.dropped)
        ),
        _ => format!(
            "{} -I {chain} -p icmp --icmp-type fragmentation-needed -j ACCEPT",
            tables(&found.dropped)
        ),
    }
}

/// `iptables` and its like, for the family and backend of a rule.
fn program(dropped: &Dropped) -> &'static str {
    match (dropped.backend, dropped.family) {
        (Backend::IptablesLegacy, Family::Ip6) => "ip6tables-legacy",
        (Backend::IptablesLegacy, _) => "iptables-legacy",
        (Backend::EbtablesLegacy, _) => "ebtables-legacy",
        (_, Family::Ip6) if dropped.is_ambiguous => "ip6tables-nft",
        _ if dropped.is_ambiguous => "iptables-nft",
        (_, Family::Ip6) => "ip6tables",
        _ => "iptables",
    }
}

/// The program, and the table where it is not the default one.
fn tables(dropped: &Dropped) -> String {
    match dropped.table.as_str() {
        "filter" => program(dropped).to_owned(),
        table => format!("{} -t {table}", program(dropped)),
    }
}

/// The command that takes the rule away, or opens the policy.
pub(crate) fn delete(dropped: &Dropped) -> String {
    match (&dropped.rule, dropped.backend) {
        (Some(rule), Backend::Nft) => match rule.handle {
            Some(handle) => format!(
                "nft delete rule {} {} {} handle {handle}",
                dropped.family.name(),
                dropped.table,
                dropped.chain
            ),
            None => format!(
                "nft -a list chain {} {} {}",
                dropped.family.name(),
                dropped.table,
                dropped.chain
            ),
        },
        (None, Backend::Nft) => format!(
            "nft chain {} {} {} '{{ policy accept; }}'",
            dropped.family.name(),
            dropped.table,
            dropped.chain
        ),
        // The end of a bridge chain that is called: without a policy of its own the caller goes on.
        (Some(rule), Backend::EbtablesLegacy) if rule.text.starts_with("-P ") => {
            format!("{} -P {} RETURN", tables(dropped), dropped.chain)
        }
        (Some(rule), _) => match rule.text.strip_prefix("-A ") {
            // By what it says: a number is another rule's as soon as the command is run twice. `iptables-save` quotes for
            // its own parser; what a shell would expand is left to the number.
            Some(text) if means_itself(text) && is_found(text) => {
                format!("{} -D {text}", tables(dropped))
            }
            _ => format!("{} -D {} {}", tables(dropped), dropped.chain, rule.number),
        },
        (None, _) => format!("{} -P {} ACCEPT", tables(dropped), dropped.chain),
    }
}

/// Whether `-D` finds the rule by what `iptables-save` writes of it. Of these two modules it writes defaults that set other flags
/// than leaving them out does (iptables 1.8.9 and 1.8.11, nft and legacy).
fn is_found(text: &str) -> bool {
    !text.contains("-m connlimit ") && !text.contains("-m recent ")
}

/// Whether a shell takes it as it stands: a `!` alone is no history, and nothing else is special.
fn means_itself(text: &str) -> bool {
    !text.contains(['$', '`', '\\'])
        && text
            .split(' ')
            .all(|word| word == "!" || !word.contains('!'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_expand_is_told() {
        assert!(means_itself("FORWARD ! -s 192.0.2.0/24 -j DROP"));
        assert!(!means_itself(
            "FORWARD -m comment --comment \"wow!\" -j DROP"
        ));
        assert!(!means_itself(
            "FORWARD -m comment --comment \"$HOME\" -j DROP"
        ));
    }
}
