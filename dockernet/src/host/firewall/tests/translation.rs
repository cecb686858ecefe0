//! What NAT chains make of a flow's first packet.

use super::*;
use crate::host::firewall::{NatKind, Translation, translate};

fn published() -> FlowPacket {
    FlowPacket {
        oif: None,
        ..tcp("203.0.113.7", "198.51.100.10", 8080, "eth0", "")
    }
}

const NAT: &str = "*nat\n:PREROUTING ACCEPT [0:0]\n\
    [0:0] -A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80\nCOMMIT\n";

fn raw(conditions: &str) -> String {
    format!(
        "*raw\n:PREROUTING ACCEPT [0:0]\n[0:0] -A PREROUTING {conditions} -j CT --notrack\nCOMMIT\n{NAT}"
    )
}

fn of(text: &str) -> Translation {
    let firewall = save(text, Family::Ip);
    translate(&firewall, &published(), Hook::Prerouting, &host())
}

#[test]
fn a_rule_that_keeps_a_packet_out_of_conntrack_keeps_it_from_translation() {
    let Translation::To(target, _) = of(NAT) else {
        panic!("{:?}", of(NAT));
    };
    assert_eq!(
        (target.kind, target.port),
        (NatKind::Dnat, Some(80)),
        "{target:?}"
    );
    let rule = "-A PREROUTING -p tcp -m tcp --dport 8080 -j CT --notrack";
    let kept_out = of(&raw("-p tcp -m tcp --dport 8080"));
    let Translation::Untracked {
        rule: found,
        instead: true,
    } = kept_out
    else {
        panic!("{kept_out:?}");
    };
    assert_eq!((found.text(), found.table.as_str()), (rule, "raw"));
    assert_eq!(of(&raw("-p udp")), of(NAT));
    // A rule in front of it has given the packet a zone, and with it a template: it cannot be kept out any more.
    let zoned = raw("-p tcp -m tcp --dport 8080").replace(
        "[0:0] -A PREROUTING -p tcp -m tcp --dport 8080 -j CT",
        "[0:0] -A PREROUTING -j CT --zone 5\n[0:0] -A PREROUTING -p tcp -m tcp --dport 8080 -j CT",
    );
    assert_eq!(of(&zoned), of(NAT));
    // What the simulation does not know may keep it out, or not.
    let doubt = of(&raw("-p tcp -m quota --quota 5"));
    assert!(matches!(doubt, Translation::CannotTell(_)), "{doubt:?}");
}

#[test]
fn of_nat_chains_of_one_priority_none_is_certainly_first() {
    let chain = |table: &str, priority: i32, port: u16| {
        let chain = format!(
            r#"{{"chain":{{"family":"ip","table":"{table}","name":"pre","handle":1,"type":"nat","hook":"prerouting","prio":{priority},"policy":"accept"}}}}"#
        );
        let rule = format!(
            r#"{{"rule":{{"family":"ip","table":"{table}","chain":"pre","handle":2,"expr":[{{"match":{{"op":"==","left":{{"payload":{{"protocol":"tcp","field":"dport"}}}},"right":8080}}}},{{"dnat":{{"addr":"172.17.0.2","port":{port}}}}}]}}}}"#
        );
        format!(r#"{{"table":{{"family":"ip","name":"{table}","handle":1}}}},{chain},{rule}"#)
    };
    let two = |other: i32, port: u16| {
        let json = format!(
            r#"{{"nftables":[{},{}]}}"#,
            chain("a", -100, 80),
            chain("b", other, port)
        );
        translate(&native(&json, ""), &published(), Hook::Prerouting, &host())
    };
    let port = |translation: &Translation| match translation {
        Translation::To(target, _) => target.port,
        other => panic!("{other:?}"),
    };
    assert_eq!(port(&two(-99, 81)), Some(80));
    assert_eq!(port(&two(-101, 81)), Some(81));
    let doubt = two(-100, 81);
    assert!(
        matches!(&doubt, Translation::CannotTell(rule) if rule.ends_with("(another NAT chain has the same priority)")),
        "{doubt:?}"
    );
    // Which of them does it makes no difference.
    assert_eq!(port(&two(-100, 80)), Some(80));
}

/// What a restart of the engine mends is not deleted by hand.
#[test]
fn a_stray_translation_is_of_the_same_port_and_none_of_dockers() {
    let firewall = save(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n-A PREROUTING -p tcp -m tcp --dport 2222 -j DNAT --to-destination 172.17.0.5:22\n\
         -A DOCKER ! -i docker0 -p tcp -m tcp --dport 10001 -j DNAT --to-destination 172.17.0.5:80\nCOMMIT\n",
        Family::Ip,
    );
    let stray = |proto, port| firewall.stray_dnat(proto, port, "172.17.0.5".parse().unwrap());
    assert_eq!(stray(6, 2222).unwrap().chain, "PREROUTING");
    assert_eq!(stray(6, 10001), None);
    assert_eq!(stray(17, 2222), None);
}
