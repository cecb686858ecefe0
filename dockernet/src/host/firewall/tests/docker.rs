use super::*;
use crate::host::firewall::{DropKind, Owner, Policy, moved};

const OLD: &str = include_str!("../testdata/docker-20.10.save");
const NEW: &str = include_str!("../testdata/docker-28.5.save");
const NEW6: &str = include_str!("../testdata/docker-28.5.save6");

fn newest() -> Firewall {
    native(
        include_str!("../testdata/docker-29-nft.json"),
        include_str!("../testdata/docker-29-nft.txt"),
    )
}

#[test]
fn published_ports_pass() {
    let packet = dnat(
        tcp("198.51.100.20", "172.17.0.2", 80, "eth0", "docker0"),
        "198.51.100.10",
        10001,
    );
    for text in [OLD, NEW] {
        assert_eq!(
            run(&save(text, Family::Ip), &packet, Hook::Forward),
            Outcome::Accepted
        );
    }
    assert_eq!(run(&newest(), &packet, Hook::Forward), Outcome::Accepted);
    // Before NAT the raw table sees the host's address.
    assert_eq!(
        run(&save(NEW, Family::Ip), &packet, Hook::Prerouting),
        Outcome::Accepted
    );
    assert_eq!(run(&newest(), &packet, Hook::Prerouting), Outcome::Accepted);
}

#[test]
fn docker_user_rule_is_the_users() {
    for text in [OLD, NEW] {
        let firewall = save(text, Family::Ip);
        let packet = tcp("198.51.100.66", "172.17.0.2", 80, "eth0", "docker0");
        assert_eq!(
            named(&firewall, &packet, Hook::Forward),
            "DOCKER-USER #1 DockerUser user"
        );
        let rule = attributed(&firewall, &packet, Hook::Forward).unwrap();
        let shown = crate::model::Rule::from(&rule);
        assert_eq!(shown.table, "ip filter");
        assert_eq!(
            shown.rule,
            r#"#1 -A DOCKER-USER -s 198.51.100.66/32 -m comment --comment "block \"bad\" host" -j DROP"#
        );
        assert_eq!(
            rule.dropped.rule.unwrap().comment.as_deref(),
            Some(r#"block "bad" host"#)
        );
    }
}

#[test]
fn kinds_of_docker_drops() {
    let (old, new) = (save(OLD, Family::Ip), save(NEW, Family::Ip));
    let across = tcp("172.17.0.2", "172.20.0.2", 80, "docker0", "br-app");
    assert_eq!(
        named(&old, &across, Hook::Forward),
        "DOCKER-ISOLATION-STAGE-2 #2 NetworkIsolation docker"
    );
    assert_eq!(
        named(&new, &without_flow(across), Hook::Prerouting),
        "PREROUTING #2 DirectAccess docker"
    );
    let icc = tcp("172.22.0.3", "172.22.0.2", 80, "br-noicc", "br-noicc");
    assert_eq!(named(&old, &icc, Hook::Forward), "FORWARD #15 Icc docker");
    assert_eq!(
        named(&new, &icc, Hook::Forward),
        "DOCKER-FORWARD #7 Icc docker"
    );
    let internal = tcp("172.21.0.2", "203.0.113.1", 80, "br-int", "eth0");
    assert_eq!(
        named(&old, &internal, Hook::Forward),
        "DOCKER-ISOLATION-STAGE-1 #3 InternalNetwork docker"
    );
    let routed = tcp("198.51.100.20", "172.17.0.2", 81, "eth0", "docker0");
    assert_eq!(
        named(&old, &routed, Hook::Forward),
        "FORWARD policy ForwardPolicy unknown"
    );
    assert_eq!(
        named(&new, &routed, Hook::Forward),
        "DOCKER #6 UnpublishedPort docker"
    );
    let forged = without_flow(tcp("198.51.100.20", "127.0.0.1", 8443, "eth0", ""));
    assert_eq!(
        named(&new, &forged, Hook::Prerouting),
        "PREROUTING #3 LoopbackPublished docker"
    );
}

#[test]
fn a_packet_with_a_flow_did_not_die_in_raw() {
    let new = save(NEW, Family::Ip);
    // Its addresses before NAT are not known, so the raw rule cannot be told …
    let packet = FlowPacket {
        ct_status: (0, 0),
        ..tcp("198.51.100.20", "172.17.0.2", 80, "eth0", "")
    };
    let mut site = nft_site(Hook::Prerouting);
    assert_eq!(drop_candidates(&new, &packet, &site, &host()).len(), 4);
    // … but a packet that carries its flow came past it.
    site.nfct = Some(true);
    assert!(drop_candidates(&new, &packet, &site, &host()).is_empty());
}

#[test]
fn docker_29_nftables() {
    let firewall = newest();
    let direct = without_flow(tcp("198.51.100.20", "172.17.0.2", 80, "eth0", ""));
    assert_eq!(
        named(&firewall, &direct, Hook::Prerouting),
        "raw-PREROUTING #1 DirectAccess docker"
    );
    let found = attributed(&firewall, &direct, Hook::Prerouting).unwrap();
    assert_eq!(found.dropped.backend, Backend::Nft);
    assert_eq!(
        found.dropped.rule.unwrap().text,
        r#"iifname != "docker0" ip daddr 172.17.0.2 counter drop comment "DROP DIRECT ACCESS""#
    );
    let port = tcp("198.51.100.20", "172.17.0.2", 81, "eth0", "docker0");
    assert_eq!(
        named(&firewall, &port, Hook::Forward),
        "filter-forward-in__docker0 #4 UnpublishedPort docker"
    );
    let out = tcp("172.21.0.2", "203.0.113.1", 80, "br-int", "eth0");
    assert_eq!(
        named(&firewall, &out, Hook::Forward),
        "filter-forward-out__br-int #1 InternalNetwork docker"
    );
    // The device it leaves by is not known: the map may hold it.
    let vague = FlowPacket { oif: None, ..port };
    let Outcome::CannotTell { candidates, .. } = run(&firewall, &vague, Hook::Forward) else {
        panic!("an unknown device cannot be told");
    };
    assert_eq!(candidates.len(), 2, "{candidates:#?}");
}

#[test]
fn what_causes_ask() {
    for text in [OLD, NEW] {
        let firewall = save(text, Family::Ip);
        assert!(firewall.has_docker_chains(Family::Ip));
        assert!(!firewall.has_docker_chains(Family::Ip6));
        assert_eq!(firewall.docker_user_rules().len(), 1);
        assert_eq!(firewall.forward_policy(Family::Ip), Some(Policy::Drop));
        assert_eq!(firewall.forward_policy(Family::Ip6), None);
        let host: IpAddr = "198.51.100.10".parse().unwrap();
        assert!(firewall.has_dnat_for(6, host, 10001));
        assert!(firewall.has_dnat_for(17, host, 5353));
        assert!(!firewall.has_dnat_for(17, host, 10001));
        assert!(!firewall.has_dnat_for(6, "2001:db8::10".parse().unwrap(), 10001));
        assert!(firewall.has_masquerade_for("172.17.0.0/16".parse().unwrap()));
        assert!(!firewall.has_masquerade_for("172.21.0.0/16".parse().unwrap()));
        assert_eq!(firewall.dnat_targets().len(), 5);
    }
    let target = &save(NEW6, Family::Ip6).dnat_targets()[0];
    assert_eq!((target.host_port, target.port), (Some(10001), Some(80)));
    assert_eq!(target.address, "fd00:1::2".parse::<IpAddr>().unwrap());
    let newest = newest();
    assert!(newest.has_dnat_for(6, "198.51.100.10".parse().unwrap(), 8080));
    assert!(newest.has_masquerade_for("172.17.0.0/16".parse().unwrap()));
    assert!(!newest.has_masquerade_for("172.21.0.0/16".parse().unwrap()));
    assert_eq!(newest.forward_policy(Family::Ip), Some(Policy::Accept));
}

/// What was inserted since the earlier read has counted from 0, and so has what stands in the place of another of the same text.
#[test]
fn a_new_rule_is_not_one_that_stood_still() {
    let rules = |policy: u64, rules: &str| {
        let text = format!("*filter\n:FORWARD ACCEPT [{policy}:420]\n{rules}COMMIT\n");
        save(&text, Family::Ip)
    };
    let one = "-A FORWARD -p tcp -m tcp --dport 80 -j DROP\n";
    let counted = |packets: u64| format!("[{packets}:60] {one}");
    let packet = tcp("198.51.100.20", "172.17.0.2", 80, "eth0", "docker0");
    let site = nft_site(Hook::Forward);
    let how = |before: &Firewall, after: &Firewall| {
        let found = attribute(Some(before), after, &packet, &site, &host());
        found.map(|found| found.how)
    };
    let after = rules(9, &counted(1));
    assert_eq!(how(&rules(7, ""), &after), Some("counter"));
    assert_eq!(how(&rules(7, &counted(3)), &after), Some("counter"));
    // It stood still, while another chain's policy counted; but nftables has dropped the packet, and no other rule could.
    assert_eq!(how(&rules(7, &counted(1)), &after), Some("simulated"));
    let unknown = Site {
        engine: None,
        ..site.clone()
    };
    let before = rules(7, &counted(1));
    assert_eq!(
        attribute(Some(&before), &after, &packet, &unknown, &host()),
        None
    );
    // A table that was not read then is not new.
    let mut unread = Firewall {
        notes: vec!["iptables-save failed".into()],
        ..rules(7, "")
    };
    unread.rulesets.clear();
    assert_eq!(how(&unread, &after), Some("simulated"));
    // nft tells that it is another one.
    let with_handle = |mut firewall: Firewall, handle| {
        for ruleset in &mut firewall.rulesets {
            for table in &mut ruleset.tables {
                for chain in &mut table.chains {
                    chain
                        .rules
                        .iter_mut()
                        .for_each(|rule| rule.handle = Some(handle));
                }
            }
        }
        firewall
    };
    let before = with_handle(rules(7, &counted(1)), 11);
    assert_eq!(
        how(&before, &with_handle(after.clone(), 12)),
        Some("counter")
    );
    assert_eq!(how(&before, &with_handle(after, 11)), Some("simulated"));
}

#[test]
fn a_counter_that_moved_decides() {
    let before = save(
        "*filter\n:FORWARD ACCEPT [7:420]\n[1:60] -A FORWARD -m limit --limit 1/sec -j DROP\n\
         [0:0] -A FORWARD -m recent --rcheck -j DROP\nCOMMIT\n",
        Family::Ip,
    );
    let after = save(
        "*filter\n:FORWARD ACCEPT [9:540]\n[1:60] -A FORWARD -m limit --limit 1/sec -j DROP\n\
         [3:180] -A FORWARD -m recent --rcheck -j DROP\nCOMMIT\n",
        Family::Ip,
    );
    let packet = tcp("198.51.100.20", "172.17.0.2", 80, "eth0", "docker0");
    assert_eq!(attributed(&after, &packet, Hook::Forward), None);
    let site = nft_site(Hook::Forward);
    let found = attribute(Some(&before), &after, &packet, &site, &host()).unwrap();
    assert_eq!(
        (found.how, found.place().as_str()),
        ("counter", "FORWARD #2")
    );
    assert_eq!(
        (found.owner, found.kind),
        (Owner::User, DropKind::ForwardRule)
    );
    let moved = moved(&before, &after);
    assert_eq!(moved.len(), 2);
    assert_eq!((moved[1].number, moved[1].packets), (Some(2), 3));
}

#[test]
fn an_unknown_condition_is_no_answer_unless_it_is_the_only_one() {
    let firewall = save(
        "*filter\n:FORWARD ACCEPT [0:0]\n:OWN - [0:0]\n[0:0] -A FORWARD -m set --match-set bad src -j OWN\n\
         [0:0] -A OWN -p tcp -j DROP\nCOMMIT\n",
        Family::Ip,
    );
    let packet = tcp("198.51.100.20", "172.17.0.2", 80, "eth0", "docker0");
    let Outcome::CannotTell { at, candidates } = run(&firewall, &packet, Hook::Forward) else {
        panic!("an ipset cannot be told");
    };
    assert_eq!(at, "-A FORWARD -m set --match-set bad src -j OWN");
    assert_eq!(candidates.len(), 1);
    // A packet that nf_tables dropped here for certain can only have died by that rule …
    let found = attributed(&firewall, &packet, Hook::Forward).unwrap();
    assert_eq!(found.place(), "OWN #1");
    assert_eq!(found.dropped.doubts, [at]);
    // … but one that may have been dropped by conntrack itself may not.
    let site = Site::new(Hook::Forward);
    assert_eq!(attribute(None, &firewall, &packet, &site, &host()), None);
    let udp = FlowPacket {
        proto: Some(17),
        ..packet
    };
    assert_eq!(run(&firewall, &udp, Hook::Forward), Outcome::Accepted);
}

#[test]
fn from_a_drop_line() {
    let packet = crate::model::Packet {
        family: "ipv4".into(),
        protocol: "tcp".into(),
        src: Some("172.17.0.2".parse().unwrap()),
        src_port: Some(80),
        dst: Some("198.51.100.66".parse().unwrap()),
        dst_port: Some(40_000),
        tcp_flags: Some("SA".to_owned()),
        ..crate::model::Packet::default()
    };
    let tuple = |src: &str, src_port, dst: &str, dst_port| crate::model::Tuple {
        src: src.parse().unwrap(),
        src_port: Some(src_port),
        dst: dst.parse().unwrap(),
        dst_port: Some(dst_port),
    };
    let nat = crate::model::Nat {
        kind: crate::model::NatKind::Dnat,
        original: tuple("198.51.100.66", 40_000, "198.51.100.10", 10001),
        reply: tuple("172.17.0.2", 80, "198.51.100.66", 40_000),
    };
    let flow = FlowPacket {
        ct_state: CtState::ESTABLISHED,
        iif: Some("docker0".to_owned()),
        oif: Some("eth0".to_owned()),
        ..FlowPacket::from(&packet).with_flow(Some(&nat))
    };
    assert_eq!(
        (flow.ct_reply, flow.tcp_flags, flow.proto),
        (Some(true), Some(0x12), Some(6))
    );
    assert_eq!(
        run(&save(NEW, Family::Ip), &flow, Hook::Forward),
        Outcome::Accepted
    );
}

#[test]
fn a_candidate_without_a_counter_is_not_passed_over() {
    let dump = |packets| {
        save(
            &format!(
                "*filter\n:FORWARD ACCEPT [0:0]\n[{packets}:60] -A FORWARD -m limit --limit 1/sec -j DROP\n\
                 -A FORWARD -m recent --rcheck -j DROP\nCOMMIT\n"
            ),
            Family::Ip,
        )
    };
    let packet = tcp("198.51.100.20", "172.17.0.2", 80, "eth0", "docker0");
    let site = nft_site(Hook::Forward);
    let found = attribute(Some(&dump(1)), &dump(2), &packet, &site, &host());
    assert_eq!(found, None);
}
