use super::*;
use crate::host::firewall::{Match, Rule, Target, eval::Changed, eval::Context, eval::Truth};

fn features() -> Firewall {
    native(
        include_str!("../testdata/nft-features.json"),
        include_str!("../testdata/nft-features.txt"),
    )
}

fn rule<'a>(firewall: &'a Firewall, text: &str) -> &'a Rule {
    firewall
        .tables()
        .flat_map(|(_, table)| &table.chains)
        .flat_map(|chain| &chain.rules)
        .find(|rule| rule.text == text)
        .unwrap_or_else(|| panic!("no rule {text}"))
}

fn truth(rule: &Rule, packet: &FlowPacket) -> Truth {
    let host = host();
    let context = Context {
        packet,
        hook: Hook::Forward,
        family: Family::Inet,
        changed: &Changed::default(),
        env: &host,
        mark: packet.mark,
        ct_mark: packet.ct_mark,
    };
    context.all(&rule.matches)
}

#[test]
fn conditions() {
    use Truth::{Maybe, No, Yes};
    let firewall = features();
    let web = tcp("192.0.2.1", "203.0.113.1", 80, "docker0", "eth0");
    let unknown = FlowPacket::default();
    let v6 = tcp("2001:db8::20", "ff02::1", 80, "veth1", "eth0");
    for (text, on_web, on_v6) in [
        ("ct state established,related accept", No, No),
        ("ct state { established, related } accept", No, No),
        ("ct state != established drop", Yes, Yes),
        ("ct status dnat accept", No, No),
        ("ct status != dnat counter", Yes, Yes),
        ("ct direction original accept", Yes, Yes),
        ("meta mark 0x00000010 accept", No, No),
        ("meta mark & 0x000000ff != 0x00000012 accept", Yes, Yes),
        ("ct mark & 0x0000000f == 0x00000001 drop", No, No),
        (r#"iifname { "br-*", "docker0" } drop"#, Yes, No),
        ("iifname @ifs drop", Yes, No),
        (r#"iifname "veth*" drop"#, No, Yes),
        (r#"iif "lo" accept"#, No, No),
        ("ip saddr @bad drop", Yes, No),
        ("ip saddr { 10.0.0.0/8, 192.0.2.7 } drop", No, No),
        // Inverted or not, it asks for IPv4.
        ("ip saddr != { 10.0.0.0/8, 192.0.2.7 } drop", Yes, No),
        ("ip saddr . tcp dport @conc drop", Yes, No),
        ("ip saddr . tcp dport @ci drop", Yes, No),
        ("ip saddr . tcp dport { 192.0.2.1 . 80 } drop", Yes, No),
        ("meta l4proto { tcp, udp } th dport 53 accept", No, No),
        ("tcp dport { 22, 80-90 } accept", Yes, Yes),
        ("tcp dport 1024-65535 drop", No, No),
        ("tcp dport != 80 drop", No, No),
        ("tcp dport >= 80 drop", Yes, Yes),
        ("udp sport 53-60 accept", No, No),
        ("tcp flags syn drop", Yes, Yes),
        ("tcp flags syn / fin,syn,rst,ack drop", Yes, Yes),
        ("tcp flags != syn drop", No, No),
        ("icmp type echo-request limit rate 1/second accept", No, No),
        (
            "icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept",
            No,
            No,
        ),
        ("fib daddr type local accept", No, No),
        (
            "fib daddr . iif type != { local, broadcast, multicast } drop",
            Yes,
            No,
        ),
        ("fib saddr . mark . iif oif missing drop", Maybe, Maybe),
        ("meta nfproto ipv4 drop", Yes, No),
        ("meta pkttype broadcast drop", No, No),
        ("ether saddr 02:00:00:00:00:01 drop", Maybe, Maybe),
        ("ip protocol tcp drop", Yes, No),
        ("ip6 nexthdr tcp drop", No, Maybe),
        ("ip ttl 1 drop", No, No),
        ("ip6 daddr ff00::/8 drop", No, Yes),
        (
            "add @dyn { ip saddr limit rate over 10/second } drop",
            Maybe,
            Maybe,
        ),
        ("ip saddr @dyn drop", Maybe, No),
        ("ct count over 3 drop", Maybe, Maybe),
        ("meta skuid 0 accept", Maybe, Maybe),
        ("ip saddr 10.0.0.0-10.0.0.9 drop", No, No),
    ] {
        let rule = rule(&firewall, text);
        assert_eq!(truth(rule, &web), on_web, "{text} on {web:?}: {rule:?}");
        assert_eq!(truth(rule, &v6), on_v6, "{text} on {v6:?}: {rule:?}");
        let blind = truth(rule, &unknown);
        assert_eq!(blind, Maybe, "{text} on a packet of which nothing is known");
    }
}

#[test]
fn marks() {
    let firewall = features();
    for (text, target) in [
        (
            "meta mark set 0x00000005",
            Target::SetMark {
                mask: u32::MAX,
                value: 5,
            },
        ),
        (
            "meta mark set meta mark | 0x00000010",
            Target::SetMark {
                mask: 0x10,
                value: 0x10,
            },
        ),
        ("meta mark set ct mark", Target::SetMarkUnknown),
        ("ct mark set 0x00000007", Target::SetCtMark),
    ] {
        assert_eq!(rule(&firewall, text).targets, [target], "{text}");
    }
}

#[test]
fn translations() {
    let firewall = features();
    let targets = firewall.dnat_targets();
    let shown: Vec<String> = targets
        .iter()
        .map(|dnat| {
            format!(
                "{:?} {:?} {} {:?}",
                dnat.proto, dnat.host_port, dnat.address, dnat.port
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "Some(6) Some(80) 172.17.0.2 Some(8080)",
            "Some(6) Some(81) 2001:db8::2 Some(80)",
            "Some(6) None 172.17.0.4 None",
        ]
    );
}

#[test]
fn comments_handles_and_counters() {
    let firewall = features();
    let counted = rule(&firewall, r#"counter comment "hello world""#);
    assert_eq!(counted.comment.as_deref(), Some("hello world"));
    assert_eq!(counted.handle, Some(93));
    assert!(counted.counter.is_some());
    assert!(
        !rule(&firewall, "ip saddr @bad drop")
            .matches
            .iter()
            .any(|each| matches!(each, Match::Unknown(_)))
    );
}

#[test]
fn bridge_chains_run_only_where_the_site_says_bridge() {
    let firewall = features();
    let packet = tcp("192.0.2.9", "192.0.2.1", 80, "v1", "v2");
    let site = Site {
        bridge: true,
        family: Some(Family::Bridge),
        ..nft_site(Hook::Forward)
    };
    let found = attribute(None, &firewall, &packet, &site, &host()).unwrap();
    assert_eq!(found.dropped.rule.unwrap().text, "ip daddr 192.0.2.1 drop");
    assert_eq!(found.dropped.family, Family::Bridge);
}
