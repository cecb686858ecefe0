//! `ebtables-legacy` 2.0.11 on Linux 6.12: a listing of what is read, and of what is not.

use super::{super::ebtables, *};

const LISTING: &str = include_str!("../testdata/ebtables.txt");

fn bridge(text: &str) -> Firewall {
    Firewall {
        rulesets: vec![ebtables::parse(text)],
        notes: Vec::new(),
        ..Firewall::default()
    }
}

fn site(hook: Hook) -> Site {
    Site {
        bridge: true,
        engine: Some(Engine::Legacy),
        family: Some(Family::Bridge),
        ..Site::new(hook)
    }
}

fn frame(src: &str, dst: &str, dport: u16) -> FlowPacket {
    FlowPacket {
        physin: Some("veth1".to_owned()),
        physout: Some("veth2".to_owned()),
        ..tcp(src, dst, dport, "br0", "br0")
    }
}

/// Everything that may have dropped the frame, the certain one first.
fn drops(firewall: &Firewall, packet: &FlowPacket) -> Vec<String> {
    drop_candidates(firewall, packet, &site(Hook::Forward), &host())
        .iter()
        .map(|found| {
            let sure = if found.dropped.certain { "" } else { "?" };
            format!("{}{sure}", found.place())
        })
        .collect()
}

fn forward(rules: &str) -> Firewall {
    bridge(&format!(
        "Bridge table: filter\n\nBridge chain: FORWARD, entries: 9, policy: ACCEPT\n{rules}\n"
    ))
}

#[test]
fn a_real_listing_is_read() {
    let firewall = bridge(LISTING);
    let (backend, table) = firewall.tables().next().unwrap();
    assert_eq!(backend, Backend::EbtablesLegacy);
    let chains: Vec<(&str, usize, bool)> = table
        .chains
        .iter()
        .map(|chain| (chain.name.as_str(), chain.rules.len(), chain.base.is_some()))
        .collect();
    assert_eq!(
        chains,
        [
            ("INPUT", 0, true),
            ("FORWARD", 11, true),
            ("OUTPUT", 0, true),
            ("OWN", 1, false),
            ("DROPPER", 1, false)
        ]
    );
    let forward = table.chain("FORWARD").unwrap();
    assert_eq!(
        forward.rules[0].text,
        "-A FORWARD -p IPv4 --ip-dst 192.0.2.2 --ip-proto tcp --ip-dport 80:90 -j DROP"
    );
    assert_eq!(forward.rules[6].number, 7);
    // A rule without a space behind nflog's prefix.
    assert!(forward.rules[6].text.contains("\"x y\" --nflog-group 3"));
    // To the service; to another port, where only what cannot be told is left.
    let doubts = ["FORWARD #8?", "FORWARD #10?"];
    assert_eq!(
        drops(&firewall, &frame("192.0.2.9", "192.0.2.2", 80)),
        ["FORWARD #1"]
    );
    let mut marked = frame("192.0.2.9", "192.0.2.2", 99);
    marked.mark = Some(1);
    assert_eq!(drops(&firewall, &marked), doubts);
    // Any other mark leaves by the seventh rule.
    assert!(drops(&firewall, &frame("192.0.2.9", "192.0.2.2", 99)).is_empty());
}

#[test]
fn the_rule_behind_a_drop_is_named_with_its_command() {
    let firewall = bridge(LISTING);
    let packet = frame("192.0.2.9", "192.0.2.2", 80);
    let found = attribute(None, &firewall, &packet, &site(Hook::Forward), &host()).unwrap();
    assert_eq!(found.dropped.backend.name(), "ebtables-legacy");
    assert_eq!(
        crate::cause::delete(&found.dropped),
        "ebtables-legacy -D FORWARD -p IPv4 --ip-dst 192.0.2.2 --ip-proto tcp --ip-dport 80:90 -j DROP"
    );
}

#[test]
fn conditions_hold_as_in_the_kernel() {
    let packet = frame("192.0.2.9", "192.0.2.2", 80);
    for (rule, expected) in [
        ("-p IPv4 -j DROP", true),
        ("-p ! IPv4 -j DROP", false),
        ("-p IPv6 -j DROP", false),
        ("-p ARP -j DROP", false),
        ("-p 0x800 -j DROP", true),
        ("-i veth1 -o veth2 -j DROP", true),
        ("-i veth+ -o ! veth1 -j DROP", true),
        ("-i br0 -j DROP", false),
        ("-p IPv4 --ip-src ! 192.0.2.0/24 -j DROP", false),
        ("-p IPv4 --ip-proto udp --ip-dport 80 -j DROP", false),
        ("-p IPv4 --ip-proto tcp --ip-sport 40000 -j DROP", true),
        (
            "-p IPv4 --ip-proto icmp --ip-icmp-type echo-request -j DROP",
            false,
        ),
        ("--mark 0x0 -j DROP", true),
        (
            "--log-level notice --log-prefix \"a -j b\" --log-ip -j DROP",
            true,
        ),
        ("--log-level notice --log-prefix \"\" -j CONTINUE", false),
        (
            "-j mark --mark-set 0x5 --mark-target CONTINUE, pcnt = 1 -- bcnt = 84\n--mark 0x5 -j DROP",
            true,
        ),
        ("-j mark --mark-or 0x4 --mark-target ACCEPT\n-j DROP", false),
        ("-j snat --to-src 2:0:0:0:0:3 --snat-target DROP", true),
    ] {
        let expected: &[&str] = match (expected, rule.matches('\n').count()) {
            (false, _) => &[],
            (true, 0) => &["FORWARD #1"],
            (true, _) => &["FORWARD #2"],
        };
        assert_eq!(drops(&forward(rule), &packet), expected, "{rule}");
    }
}

#[test]
fn what_is_not_known_cannot_be_told() {
    let packet = frame("192.0.2.9", "192.0.2.2", 80);
    for rule in [
        "-s 2:0:0:0:0:1 -j DROP",
        "-d Broadcast -j DROP",
        "--logical-in br0 -j DROP",
        "-p Length -j DROP",
        "--among-dst 2:0:0:0:0:1=192.0.2.2, -j DROP",
        "--mark /0x1 -j DROP",
        "--limit 5/sec --limit-burst 5 -j DROP",
        "-p IPv4 --ip-dport -j DROP",
        "-j arpreply --arpreply-mac 2:0:0:0:0:1 --arpreply-target DROP",
    ] {
        let found = forward(&format!("{rule}\n-j DROP"));
        let drops = drops(&found, &packet);
        assert!(
            drops.iter().any(|place| place == "FORWARD #1?") || drops == ["FORWARD #2?"],
            "{rule}: {drops:?}"
        );
    }
}

#[test]
fn a_called_chain_ends_with_its_own_policy() {
    let packet = frame("192.0.2.9", "192.0.2.2", 80);
    let called = |policy: &str| {
        bridge(&format!(
            "Bridge table: filter\n\nBridge chain: FORWARD, entries: 1, policy: DROP\n-j OWN, pcnt = 0 -- bcnt = 0\n\n\
             Bridge chain: OWN, entries: 1, policy: {policy}\n-p ARP -j ACCEPT , pcnt = 0 -- bcnt = 0\n"
        ))
    };
    assert_eq!(drops(&called("RETURN"), &packet), ["FORWARD policy"]);
    assert!(drops(&called("ACCEPT"), &packet).is_empty());
    let dropping = called("DROP");
    assert_eq!(drops(&dropping, &packet), ["OWN #2"]);
    let found = attribute(None, &dropping, &packet, &site(Hook::Forward), &host()).unwrap();
    assert_eq!(
        crate::cause::delete(&found.dropped),
        "ebtables-legacy -P OWN RETURN"
    );
}
