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
    let Translation::Untracked(found) = kept_out else {
        panic!("{kept_out:?}");
    };
    assert_eq!((found.text(), found.table.as_str()), (rule, "raw"));
    assert_eq!(of(&raw("-p udp")), of(NAT));
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
    let both = |other: i32| {
        let json = format!(
            r#"{{"nftables":[{},{}]}}"#,
            chain("a", -100, 80),
            chain("b", other, 81)
        );
        translate(&native(&json, ""), &published(), Hook::Prerouting, &host())
    };
    let Translation::To(first, _) = both(-99) else {
        panic!("{:?}", both(-99));
    };
    assert_eq!(first.port, Some(80));
    let Translation::To(first, _) = both(-101) else {
        panic!("{:?}", both(-101));
    };
    assert_eq!(first.port, Some(81));
    assert!(
        matches!(both(-100), Translation::CannotTell(_)),
        "{:?}",
        both(-100)
    );
}
