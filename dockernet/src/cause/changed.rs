//! Which changes of the host's configuration may have brought a cause about.

use crate::{
    host::changes::{Change, Subject},
    model::Drop,
};

/// Causes of the links themselves: one that was set down, moved or changed brings them about.
const OF_LINKS: &[&str] = &[
    "bridge-down",
    "connected-route-conflict",
    "macvlan-parent-down",
    "mtu-exceeded",
    "no-route",
    "overlay-broken",
    "stp-forward-delay",
    "uplink-no-carrier",
    "veth-down",
    "veth-mtu-mismatch",
    "veth-off-bridge",
];
/// Causes of addresses.
const OF_ADDRESSES: &[&str] = &[
    "bridge-lost-address",
    "connected-route-conflict",
    "container-address-changed",
    "duplicate-address",
    "martian-source",
    "no-route",
];
/// Causes of routes.
const OF_ROUTES: &[&str] = &[
    "connected-route-conflict",
    "no-route",
    "policy-rule-misroutes",
    "route-rejects",
    "route-shadows-subnet",
    "rp-filter",
    "subnet-overlaps-lan",
];
/// Causes of policy rules.
const OF_RULES: &[&str] = &["policy-rule-misroutes", "route-rejects", "rp-filter"];
/// Causes of the firewall for which no single rule is named.
const OF_THE_FIREWALL: &[&str] = &[
    "dnat-to-dead-address",
    "firewalld-reload",
    "forward-drop",
    "iptables-backend-mix",
    "masquerade-missing",
    "nat-rules-missing",
    "pmtu-blackhole",
    "route-localnet",
];
/// Causes that come and go with the engine.
const OF_THE_ENGINE: &[&str] = &[
    "bridge-down",
    "container-stopped",
    "dnat-to-dead-address",
    "network-db-stale",
];

/// Whether the change is of the family of the drop's cause, and of the very thing that its evidence names.
#[must_use]
pub fn concerns(change: &Change, drop: &Drop) -> bool {
    let id = drop.cause.id.as_ref();
    let named = |what: &str| {
        std::iter::once(&drop.cause.summary)
            .chain(&drop.cause.evidence)
            .any(|text| mentions(text, what))
    };
    let by_firewall = drop.rule.is_some() || OF_THE_FIREWALL.contains(&id);
    match &change.subject {
        Subject::Setting(key) => named(&crate::host::sysctl::display_key(key)),
        Subject::Link(device) => OF_LINKS.contains(&id) && named(device),
        Subject::Address { device, address } => {
            OF_ADDRESSES.contains(&id) && (named(device) || named(&address.addr().to_string()))
        }
        Subject::Route(prefix) => {
            let packet = drop.packet.as_ref();
            let ends = packet.map_or([None; 2], |packet| [packet.src, packet.dst]);
            OF_ROUTES.contains(&id) && ends.into_iter().flatten().any(|end| prefix.contains(&end))
        }
        Subject::Rule => OF_RULES.contains(&id),
        Subject::Firewall => by_firewall,
        Subject::Engine => by_firewall || OF_THE_ENGINE.contains(&id),
    }
}

/// Whether a text holds a name as a word of its own: `eth0` is not in `eth0.100` nor in `veth0`.
fn mentions(text: &str, name: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    text.match_indices(name).any(|(at, _)| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let mut after = text.get(at + name.len()..).unwrap_or_default().chars();
        let next = after.next();
        // A full stop ends a sentence, a dot goes on.
        let goes_on = next.is_some_and(part)
            || matches!(next, Some('.' | '/')) && after.next().is_some_and(part);
        !before.is_some_and(|c| part(c) || matches!(c, '.' | '/')) && !goes_on
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::{model::Cause, report::samples};

    fn drop(id: &'static str, evidence: &str) -> Drop {
        Drop {
            cause: Cause {
                id: id.into(),
                summary: String::new(),
                evidence: vec![evidence.into()],
                ..samples::incident().cause
            },
            rule: None,
            ..samples::incident()
        }
    }

    fn change(subject: Subject) -> Change {
        Change {
            at: jiff::Timestamp::UNIX_EPOCH,
            subject,
            what: String::new(),
        }
    }

    #[test]
    fn a_setting_concerns_the_cause_that_names_it() {
        let setting = |key: &str| change(Subject::Setting(key.into()));
        let drop = drop(
            "interface-forwarding-disabled",
            "net.ipv4.conf.eth0.forwarding = 0",
        );
        assert!(concerns(&setting("net/ipv4/conf/eth0/forwarding"), &drop));
        assert!(!concerns(&setting("net/ipv4/conf/eth1/forwarding"), &drop));
        assert!(!concerns(&setting("net/ipv4/ip_forward"), &drop));
        assert!(!concerns(&change(Subject::Firewall), &drop));
    }

    #[test]
    fn a_link_concerns_causes_of_links_that_name_it() {
        let link = |name: &str| change(Subject::Link(name.into()));
        let down = drop("bridge-down", "br-lan is not UP");
        assert!(concerns(&link("br-lan"), &down));
        assert!(!concerns(&link("lan"), &down));
        assert!(!concerns(&link("br"), &down));
        assert!(!concerns(
            &link("br-lan"),
            &drop("no-listener", "br-lan is not UP")
        ));
    }

    #[test]
    fn a_route_concerns_packets_that_it_is_for() {
        let route = |prefix: &str| change(Subject::Route(prefix.parse().unwrap()));
        let mut lost = drop("no-route", "no route");
        lost.packet = Some(samples::packet(
            "tcp",
            ("172.17.0.2", 1),
            ("203.0.113.7", 80),
        ));
        assert!(concerns(&route("0.0.0.0/0"), &lost));
        assert!(!concerns(&route("192.0.2.0/24"), &lost));
        assert!(!concerns(&route("::/0"), &lost));
    }

    #[test]
    fn the_firewall_concerns_causes_with_a_rule() {
        let mut refused = drop("docker-user-drop", "");
        assert!(!concerns(&change(Subject::Firewall), &refused));
        refused.rule = samples::denied("198.51.100.20", 40000).rule;
        assert!(concerns(&change(Subject::Firewall), &refused));
    }
}
