//! The connection table, made up.

use dockernet_common::{conntrack::status, record::flag};

use super::{Scene, hook};
use crate::{
    cause::noise,
    evidence::HookPoint,
    host::{
        conntrack::{Counters, Flow},
        firewall::{Backend, Firewall, Hook, canned},
    },
    model::{Published, Tuple},
};

fn tuple(src: &str, src_port: u16, dst: &str, dst_port: u16) -> Tuple {
    Tuple {
        src: src.parse().unwrap(),
        src_port: Some(src_port),
        dst: dst.parse().unwrap(),
        dst_port: Some(dst_port),
    }
}

fn entry(protocol: u8, original: Tuple, reply: Tuple, status: u32) -> Flow {
    Flow {
        protocol,
        original,
        reply,
        status,
        timeout: Some(29),
        tcp_state: None,
    }
}

/// A resolver asks several servers and takes the first answer: its socket is closed when the second comes.
#[test]
fn an_answer_that_nobody_waits_for_any_more_is_no_fault() {
    let mut scene = Scene::new("NO_SOCKET", "__udp4_lib_rcv").in_container();
    scene.evidence.record.key.protocol = 17;
    scene.evidence.drop.published = None;
    let packet = scene.evidence.drop.packet.as_mut().unwrap();
    packet.protocol = "udp".into();
    packet.tcp_flags = None;
    (packet.src, packet.src_port) = (Some("203.0.113.53".parse().unwrap()), Some(53));
    (packet.dst, packet.dst_port) = (Some("172.17.0.2".parse().unwrap()), Some(12_345));
    assert_eq!(scene.id(), "no-listener");
    let question = tuple("172.17.0.2", 12_345, "203.0.113.53", 53);
    let reply = tuple("203.0.113.53", 53, "198.51.100.10", 12_345);
    scene.canned(0).flows = vec![entry(17, question, reply, status::SRC_NAT)];
    assert_eq!(scene.verdict(), None);
    assert_eq!(scene.ask(noise::leftover), Some("late"));
    // The other way round it is a question.
    let asked = tuple("203.0.113.53", 53, "172.17.0.2", 12_345);
    let answer = tuple("172.17.0.2", 12_345, "203.0.113.53", 53);
    scene.canned(0).flows = vec![entry(17, asked, answer, 0)];
    assert_eq!(scene.id(), "no-listener");
}

fn full(count: u64, max: u64, dropped: u64) -> Scene {
    let mut scene = Scene::new("NETFILTER_DROP", "nf_hook_slow");
    scene.evidence.hook = Some(hook(Hook::Prerouting));
    scene.evidence.drop.nat = None;
    let canned = scene.canned(0);
    canned
        .sysctls
        .insert("net/netfilter/nf_conntrack_count".into(), count.to_string());
    canned
        .sysctls
        .insert("net/netfilter/nf_conntrack_max".into(), max.to_string());
    canned.conntrack_counters = Counters {
        drop: dropped,
        ..Counters::default()
    };
    scene
}

#[test]
fn a_full_table_is_told_by_count_and_counter() {
    let verdict = full(65_530, 65_536, 12).verdict().unwrap();
    assert_eq!(verdict.cause.id, "conntrack-full");
    assert_eq!(
        verdict.cause.evidence[0],
        "nf_conntrack_count = 65530, nf_conntrack_max = 65536"
    );
    // Room enough, or nothing dropped, or no limit at all.
    for (count, max, dropped) in [(60_000, 65_536, 12), (65_536, 65_536, 0), (70_000, 0, 9)] {
        assert_eq!(
            full(count, max, dropped).id(),
            "unexplained",
            "{count} of {max}"
        );
    }
    // A rule of nf_tables', or a packet that has its flow.
    let mut scene = full(65_536, 65_536, 12);
    scene.evidence.hook = Some(HookPoint {
        nft: true,
        ..hook(Hook::Prerouting)
    });
    assert_eq!(scene.id(), "unexplained");
    let mut scene = full(65_536, 65_536, 12);
    scene.evidence.record.flags |= flag::CONNTRACK;
    assert_eq!(scene.id(), "unexplained");
}

/// A data segment for web's published port that reached the host itself.
fn untranslated(reason: &str, location: &str) -> Scene {
    let mut scene = Scene::new(reason, location);
    scene.evidence.drop.nat = None;
    let packet = scene.evidence.drop.packet.as_mut().unwrap();
    packet.dst = Some("198.51.100.10".parse().unwrap());
    packet.dst_port = Some(10001);
    packet.tcp_flags = Some("PA".into());
    scene
}

#[test]
fn a_reset_is_explained_by_the_flow_that_is_there() {
    let mut scene = untranslated("NO_SOCKET", "tcp_v4_rcv");
    assert_eq!(scene.id(), "unexplained");
    let original = tuple("198.51.100.20", 48084, "198.51.100.10", 10001);
    let reply = tuple("172.17.0.2", 80, "198.51.100.20", 48084);
    scene.canned(0).flows = vec![entry(6, original.clone(), reply.clone(), status::DST_NAT)];
    assert_eq!(scene.id(), "conntrack-invalid-reset");
    for flags in ["S", "SA", "R", "FA"] {
        scene.evidence.drop.packet.as_mut().unwrap().tcp_flags = Some(flags.into());
        assert_ne!(scene.id(), "conntrack-invalid-reset", "{flags}");
    }
    let mut scene = untranslated("TCP_FLAGS", "tcp_v4_do_rcv");
    scene.canned(0).flows = vec![entry(6, original.clone(), reply.clone(), status::DST_NAT)];
    assert_eq!(scene.id(), "conntrack-invalid-reset");
    // Not translated: the host's own connection.
    scene.canned(0).flows = vec![entry(6, original, reply, 0)];
    assert_eq!(scene.id(), "unexplained");
}

#[test]
fn a_forgotten_connection_needs_a_strict_conntrack_and_a_published_port() {
    let mut scene = untranslated("NO_SOCKET", "tcp_v4_rcv");
    let loose = "net/netfilter/nf_conntrack_tcp_loose";
    scene.canned(0).sysctls.insert(loose.into(), "0".into());
    assert_eq!(scene.id(), "unexplained");
    scene.published = vec![published("tcp", 10001, 80)];
    assert_eq!(scene.id(), "conntrack-flushed");
    scene.canned(0).sysctls.insert(loose.into(), "1".into());
    assert_eq!(scene.id(), "unexplained");
}

pub(super) fn published(protocol: &str, host_port: u16, container_port: u16) -> Published {
    Published {
        host_ip: "0.0.0.0".parse().unwrap(),
        host_port,
        container_port,
        protocol: protocol.into(),
    }
}

#[test]
fn a_stale_udp_flow_is_one_that_a_rule_would_translate_today() {
    let mut scene = untranslated("NO_SOCKET", "__udp4_lib_rcv");
    scene.evidence.record.key.protocol = 17;
    let packet = scene.evidence.drop.packet.as_mut().unwrap();
    packet.protocol = "udp".into();
    packet.tcp_flags = None;
    scene.published = vec![published("udp", 10001, 53)];
    let leads = |condition: &str, port: u16| {
        let text = format!(
            "*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n-A PREROUTING -j DOCKER\n\
             -A DOCKER {condition}-p udp -m udp --dport {port} -j DNAT --to-destination 172.17.0.2:53\nCOMMIT\n"
        );
        Some(Firewall {
            rulesets: vec![canned::save(&text, Backend::IptablesNft)],
            notes: Vec::new(),
            ..Firewall::default()
        })
    };
    scene.firewall = leads("", 10001);
    let original = tuple("198.51.100.20", 48084, "198.51.100.10", 10001);
    let reply = tuple("198.51.100.10", 10001, "198.51.100.20", 48084);
    let stale = entry(17, original.clone(), reply.clone(), status::CONFIRMED);
    scene.canned(0).flows = vec![stale.clone()];
    assert_eq!(scene.id(), "conntrack-stale-udp");
    // The rule is what is missing.
    scene.firewall = leads("", 10002);
    assert_ne!(scene.id(), "conntrack-stale-udp");
    // It is not for who comes by this interface: docker-proxy is.
    scene.firewall = leads("! -i eth0 ", 10001);
    assert_ne!(scene.id(), "conntrack-stale-udp");
    scene.firewall = leads("", 10001);
    // The flow is translated, or is another one's answer.
    scene.canned(0).flows = vec![entry(17, original.clone(), reply.clone(), status::DST_NAT)];
    assert_ne!(scene.id(), "conntrack-stale-udp");
    scene.canned(0).flows = vec![entry(17, reply, original, status::CONFIRMED)];
    assert_ne!(scene.id(), "conntrack-stale-udp");
    scene.canned(0).flows.clear();
    assert_ne!(scene.id(), "conntrack-stale-udp");
}

#[test]
fn a_lack_of_ports_is_told_by_the_flow_that_holds_the_answer() {
    let mut scene = Scene::new("NETFILTER_DROP", "nf_hook_slow");
    scene.firewall = Some(Firewall::default());
    scene.evidence.hook = Some(hook(Hook::Postrouting));
    scene.evidence.record.flags |= flag::CONNTRACK;
    let own = scene.evidence.drop.nat.clone().unwrap();
    let other = Tuple {
        src_port: Some(40_001),
        ..own.original.clone()
    };
    // Nobody holds it: not told.
    assert_eq!(scene.id(), "unexplained");
    scene.canned(0).flows = vec![entry(6, other, own.reply.clone(), status::SRC_NAT)];
    assert_eq!(scene.id(), "snat-exhausted");
    // Two packets of one flow at once.
    scene.canned(0).flows = vec![entry(6, own.original, own.reply, status::SRC_NAT)];
    assert_eq!(scene.id(), "unexplained");
}
