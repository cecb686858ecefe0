use super::*;
use crate::host::firewall::{Policy, Table, read::add_merged};

/// Why no rule accepts what a policy drops.
fn why(firewall: &Firewall, packet: &FlowPacket, hook: Hook) -> String {
    let site = Site::new(hook);
    let found = drop_candidates(firewall, packet, &site, &host());
    let policy = found.iter().find(|found| found.dropped.rule.is_none());
    let why = policy.and_then(|policy| {
        super::super::unaccepted(firewall, packet, &site, &host(), &policy.dropped)
    });
    why.map(|why| why.to_string()).unwrap_or_default()
}

#[test]
fn ufw() {
    let firewall = save(include_str!("../testdata/ufw.save"), Family::Ip);
    let to_host = |dport| tcp("198.51.100.20", "198.51.100.10", dport, "eth0", "");
    assert_eq!(run(&firewall, &to_host(22), Hook::Input), Outcome::Accepted);
    assert_eq!(
        named(&firewall, &to_host(80), Hook::Input),
        "INPUT policy Input ufw"
    );
    assert_eq!(
        named(&firewall, &to_host(445), Hook::Input),
        "ufw-skip-to-policy-input #1 Input ufw"
    );
    // Docker sets the policy of FORWARD alone.
    let text =
        include_str!("../testdata/ufw.save").replace("*filter\n", "*filter\n:DOCKER - [0:0]\n");
    let beside = save(&text, Family::Ip);
    assert_eq!(
        named(&beside, &to_host(80), Hook::Input),
        "INPUT policy Input ufw"
    );
    // `ufw limit` depends on what came before.
    assert!(matches!(
        run(&firewall, &to_host(2222), Hook::Input),
        Outcome::CannotTell { .. }
    ));
    assert_eq!(
        named(&firewall, &to_host(2222), Hook::Input),
        "ufw-user-limit #2 Input ufw"
    );
    assert_eq!(
        why(&firewall, &to_host(80), Hook::Input),
        "none of the 13 rules before it that accept fits; one does but for the destination port (80): \
         -A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT (ufw-user-input rule 1)"
    );
    let from_container = tcp("172.17.0.2", "172.17.0.1", 53, "docker0", "");
    assert_eq!(
        run(&firewall, &from_container, Hook::Input),
        Outcome::Accepted
    );
    let invalid = FlowPacket {
        ct_state: CtState::INVALID,
        ..to_host(22)
    };
    assert_eq!(
        named(&firewall, &invalid, Hook::Input),
        "ufw-before-input #4 Input ufw"
    );
    let elsewhere = tcp("198.51.100.20", "203.0.113.9", 22, "eth0", "");
    assert_eq!(
        named(&firewall, &elsewhere, Hook::Input),
        "ufw-not-local #5 Input ufw"
    );
    let forwarded = tcp("198.51.100.20", "172.17.0.2", 80, "eth0", "docker0");
    assert_eq!(
        named(&firewall, &forwarded, Hook::Forward),
        "FORWARD policy ForwardPolicy ufw"
    );
    // That an established flow, or an ICMP error, would pass is beside the point.
    let text = why(&firewall, &forwarded, Hook::Forward);
    assert!(
        text.starts_with("none of the") && text.ends_with("accept fits"),
        "{text}"
    );
    let v6 = save(include_str!("../testdata/ufw.save6"), Family::Ip6);
    let ping = FlowPacket {
        proto: Some(58),
        icmp_type: Some(128),
        icmp_code: Some(0),
        sport: None,
        dport: None,
        ..tcp("2001:db8::20", "2001:db8::10", 0, "eth0", "")
    };
    assert_eq!(run(&v6, &ping, Hook::Input), Outcome::Accepted);
    let web = tcp("2001:db8::20", "2001:db8::10", 80, "eth0", "");
    assert_eq!(named(&v6, &web, Hook::Input), "INPUT policy Input ufw");
    // Every packet passes ufw's routing-header rule: that header has to be known.
    let vague = FlowPacket {
        routing_header: None,
        ..web
    };
    assert_eq!(named(&v6, &vague, Hook::Input), "nothing");
}

#[test]
fn firewalld() {
    let firewall = native(
        include_str!("../testdata/firewalld.json"),
        include_str!("../testdata/firewalld.txt"),
    );
    let to_host = |dport| tcp("198.51.100.20", "198.51.100.10", dport, "eth0", "");
    assert_eq!(run(&firewall, &to_host(22), Hook::Input), Outcome::Accepted);
    assert_eq!(
        named(&firewall, &to_host(80), Hook::Input),
        "filter_INPUT #6 Input firewalld"
    );
    let Outcome::Dropped(dropped) = run(&firewall, &to_host(80), Hook::Input) else {
        panic!("the reject is certain");
    };
    assert!(dropped.reject);
    let forwarded = tcp("198.51.100.20", "172.17.0.2", 80, "eth0", "docker0");
    assert_eq!(
        named(&firewall, &forwarded, Hook::Forward),
        "filter_FORWARD #7 ForwardRule firewalld"
    );
    let published = dnat(forwarded, "198.51.100.10", 10001);
    assert_eq!(run(&firewall, &published, Hook::Forward), Outcome::Accepted);
    // The reverse-path rule asks the routing table, for IPv6 only.
    let v6 = tcp("2001:db8::20", "2001:db8::10", 80, "eth0", "");
    assert!(matches!(
        run(&firewall, &v6, Hook::Prerouting),
        Outcome::CannotTell { .. }
    ));
    assert_eq!(
        run(&firewall, &to_host(80), Hook::Prerouting),
        Outcome::Accepted
    );
}

/// `iptables-nft-save` shows `iifname { "eth7", "eth8" } accept` as `-j ACCEPT`.
#[test]
fn a_table_that_iptables_and_nft_both_wrote() {
    let dump = include_str!("../testdata/mixed.save");
    let mut nft = nft::parse(
        include_str!("../testdata/mixed.json"),
        &Texts::parse(include_str!("../testdata/mixed.txt")),
    )
    .unwrap();
    let mut firewall = Firewall::default();
    let ruleset = iptables::parse(dump, Backend::IptablesNft, Family::Ip);
    add_merged(&mut firewall, Some(&mut nft), ruleset, dump);
    assert!(nft.tables.is_empty());
    let texts: Vec<&str> = firewall.rulesets[0].tables[0]
        .chain("FORWARD")
        .unwrap()
        .rules
        .iter()
        .map(|rule| rule.text.as_str())
        .collect();
    assert_eq!(
        texts,
        [
            r#"iifname { "eth7", "eth8" } accept"#,
            "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A FORWARD -m addrtype --dst-type LOCAL -j DROP",
        ]
    );
    let packet = tcp("198.51.100.20", "172.17.0.2", 80, "eth0", "docker0");
    assert_eq!(
        named(&firewall, &packet, Hook::Forward),
        "FORWARD policy ForwardPolicy unknown"
    );
    let passed = tcp("198.51.100.20", "172.17.0.2", 80, "eth7", "docker0");
    assert_eq!(run(&firewall, &passed, Hook::Forward), Outcome::Accepted);
}

#[test]
fn dockers_tables_in_both_listings_are_counted_once() {
    let dump = include_str!("../testdata/docker-28.5.save");
    let mut nft = nft::parse(
        include_str!("../testdata/docker-28.5.json"),
        &Texts::default(),
    )
    .unwrap();
    let plain = save(dump, Family::Ip);
    let mut merged = Firewall::default();
    let ruleset = iptables::parse(dump, Backend::IptablesNft, Family::Ip);
    add_merged(&mut merged, Some(&mut nft), ruleset, dump);
    assert!(nft.tables.iter().all(|table| table.family == Family::Ip6));
    assert_eq!(merged.rulesets.len(), 1);
    let texts = |table: &Table| -> Vec<String> {
        let rules = table.chains.iter().flat_map(|chain| &chain.rules);
        rules.map(|rule| rule.text.clone()).collect()
    };
    for ((_, table), (_, other)) in merged.tables().zip(plain.tables()) {
        assert_eq!(texts(table), texts(other));
    }
    assert_eq!(merged.dnat_targets(), plain.dnat_targets());
    assert_eq!(merged.forward_policy(Family::Ip), Some(Policy::Drop));
    for packet in [
        tcp("198.51.100.66", "172.17.0.2", 80, "eth0", "docker0"),
        tcp("172.22.0.3", "172.22.0.2", 80, "br-noicc", "br-noicc"),
        tcp("198.51.100.20", "172.17.0.2", 81, "eth0", "docker0"),
    ] {
        let expected = named(&plain, &packet, Hook::Forward);
        assert_eq!(named(&merged, &packet, Hook::Forward), expected);
    }
}

#[test]
fn accept_is_not_final_across_tables() {
    let mut firewall = save(include_str!("../testdata/docker-20.10.save"), Family::Ip);
    let foreign = r#"{"nftables":[{"table":{"family":"inet","name":"mine","handle":1}},
        {"chain":{"family":"inet","table":"mine","name":"fwd","handle":1,"type":"filter","hook":"forward","prio":10,"policy":"drop"}}]}"#;
    firewall
        .rulesets
        .extend([nft::parse(foreign, &Texts::default()).unwrap()] as [Ruleset; 1]);
    let packet = tcp("172.17.0.2", "203.0.113.1", 80, "docker0", "eth0");
    let found = attributed(&firewall, &packet, Hook::Forward).unwrap();
    assert_eq!(
        (found.place().as_str(), found.owner.name()),
        ("fwd policy", "user")
    );
    // Where the location says that legacy rules dropped it, an nft table did not.
    let site = Site {
        engine: Some(Engine::Legacy),
        ..Site::new(Hook::Forward)
    };
    assert_eq!(attribute(None, &firewall, &packet, &site, &host()), None);
    assert_eq!(
        firewall.active_backends(),
        [Backend::Nft, Backend::IptablesNft]
    );
}

#[test]
fn bridged_packets_have_ports() {
    let firewall = save(
        "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m physdev --physdev-is-bridged -j ACCEPT\nCOMMIT\n",
        Family::Ip,
    );
    let routed = FlowPacket {
        physin: Some(String::new()),
        physout: Some(String::new()),
        ..tcp("172.17.0.3", "172.17.0.2", 80, "docker0", "docker0")
    };
    let bridged = FlowPacket {
        physin: Some("veth1".to_owned()),
        physout: Some("veth2".to_owned()),
        ..routed.clone()
    };
    assert_eq!(run(&firewall, &bridged, Hook::Forward), Outcome::Accepted);
    assert_eq!(
        named(&firewall, &routed, Hook::Forward),
        "FORWARD policy ForwardPolicy unknown"
    );
}

#[test]
fn the_mark_of_a_dead_packet_may_come_from_the_hook_itself() {
    let firewall = save(
        "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m mark --mark 0x0 -j MARK --set-xmark 0x5/0xffffffff\n\
         -A FORWARD -m mark --mark 0x9 -j DROP\n-A FORWARD -p tcp -j DROP\nCOMMIT\n",
        Family::Ip,
    );
    let packet = |mark| FlowPacket {
        mark: Some(mark),
        ..tcp("198.51.100.20", "172.17.0.2", 80, "eth0", "docker0")
    };
    let candidates = |mark| {
        let site = nft_site(Hook::Forward);
        drop_candidates(&firewall, &packet(mark), &site, &host()).len()
    };
    assert_eq!((candidates(0), candidates(5)), (1, 2));
    // What the hook's rules cannot have given it, it had before them.
    assert_eq!((candidates(7), candidates(9)), (1, 1));
}
