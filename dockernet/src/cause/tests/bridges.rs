//! Ports that send nothing back, answers that come the short way, resolvers, routed networks, fragments.

use super::{Scene, listener, misrouted::bridge_network};
use crate::{
    cause::{Verdict, lan_port},
    host::{
        bridge::{Bridge, BridgePort, Bridges, PortState},
        firewall::Firewall,
        listeners::{Listener, Transport},
        resolver::Resolv,
    },
    model::{Link, LinkKind, Published},
};

fn bridges(hairpin: bool, calls: bool) -> Bridges {
    Bridges {
        bridges: vec![Bridge {
            ifindex: 3,
            name: "docker0".into(),
            up: true,
            stp: false,
            forward_delay: std::time::Duration::ZERO,
            nf_call_iptables: calls,
            nf_call_ip6tables: calls,
            vlan_filtering: false,
        }],
        ports: vec![BridgePort {
            ifindex: 2,
            name: "eth0".into(),
            bridge_ifindex: 3,
            bridge: "docker0".into(),
            state: PortState::Forwarding,
            hairpin,
            isolated: false,
            unicast_flood: true,
            multicast_flood: true,
            broadcast_flood: true,
            learning: true,
        }],
    }
}

#[test]
fn spanning_tree_is_left_on_where_a_bridge_has_a_port_to_the_lan() {
    let bridges = bridges(false, false);
    let mut port = super::link("192.0.2.10/24");
    port.name = "eth0".into();
    let fix = |port: &Link| {
        let lan = lan_port(&bridges, "docker0", std::slice::from_ref(port));
        let verdict =
            Verdict::confirmed("stp-forward-delay", "").end_spanning_tree("docker0", None, lan);
        format!("{:?}", verdict.cause.fix)
    };
    port.kind = LinkKind::Veth;
    assert!(fix(&port).contains("stp_state 0"), "{}", fix(&port));
    port.kind = LinkKind::Other("bond".into());
    let text = fix(&port);
    assert!(
        !text.contains("stp_state") && text.contains("eth0"),
        "{text}"
    );
}

#[test]
fn only_a_port_that_sends_nothing_back_is_blamed() {
    // The made-up host's eth0 is paired with web's by its index.
    let scene = |hairpin, src: &str| {
        let mut scene = Scene::new("NOT_SPECIFIED", "br_handle_frame_finish");
        let packet = scene.evidence.drop.packet.as_mut().unwrap();
        packet.src = Some(src.parse().unwrap());
        scene.host_links[0].peer_ifindex = Some(2);
        scene.host_links[0].peer_netnsid = Some(0);
        scene.behind_web = true;
        scene.canned(0).bridges = bridges(hairpin, false);
        scene
    };
    assert_eq!(scene(false, "172.17.0.2").id(), "hairpin-off");
    assert_eq!(scene(true, "172.17.0.2").id(), "unexplained");
    assert_eq!(scene(false, "172.17.0.3").id(), "unexplained");
}

#[test]
fn a_resolver_is_broken_only_where_it_is_the_containers_and_no_rule_leads_to_it() {
    let scene = |servers: &[&str]| {
        let mut scene = Scene::new("NO_SOCKET", "__udp4_lib_rcv").in_container();
        let packet = scene.evidence.drop.packet.as_mut().unwrap();
        packet.protocol = "udp".into();
        packet.tcp_flags = None;
        packet.dst = Some("127.0.0.11".parse().unwrap());
        packet.dst_port = Some(53);
        scene.firewall = Some(Firewall::default());
        let nameservers = servers
            .iter()
            .map(|server| server.parse().unwrap())
            .collect();
        scene.state.resolvers.insert(
            Some(42),
            Resolv {
                nameservers,
                ..Resolv::default()
            },
        );
        scene.canned(1).listeners = vec![Listener {
            transport: Transport::Udp,
            ..listener("127.0.0.11:40053")
        }];
        scene
    };
    let verdict = scene(&["127.0.0.11"]).verdict().unwrap();
    assert_eq!(verdict.cause.id, "embedded-dns-broken");
    assert!(
        format!("{:?}", verdict.cause.fix).contains("--to-destination 127.0.0.11:40053"),
        "{verdict:?}"
    );
    // Somebody asks where nothing was promised.
    assert_eq!(scene(&["203.0.113.7"]).id(), "no-listener");
    let mut unread = scene(&["127.0.0.11"]);
    unread.firewall = Some(Firewall {
        notes: vec!["nft is missing".into()],
        ..Firewall::default()
    });
    assert_ne!(unread.id(), "embedded-dns-broken");
}

#[test]
fn a_loopback_resolver_is_wrong_only_where_the_container_was_told_to_ask_it() {
    let scene = |server: &str| {
        let mut scene = Scene::new("NO_SOCKET", "__udp4_lib_rcv").in_container();
        let packet = scene.evidence.drop.packet.as_mut().unwrap();
        packet.protocol = "udp".into();
        packet.tcp_flags = None;
        packet.dst = Some("127.0.0.53".parse().unwrap());
        packet.dst_port = Some(53);
        scene.state.resolvers.insert(
            Some(42),
            Resolv {
                nameservers: vec![server.parse().unwrap()],
                ..Resolv::default()
            },
        );
        scene
    };
    assert_eq!(scene("127.0.0.53").id(), "dns-wrong-resolver");
    assert_eq!(scene("203.0.113.7").id(), "no-listener");
    // It serves TCP there: that somebody asks by UDP is another matter.
    let mut served = scene("127.0.0.53");
    served.canned(1).listeners = vec![listener("127.0.0.53:53")];
    assert_ne!(served.id(), "dns-wrong-resolver");
}

#[test]
fn a_host_port_is_missing_by_design_only_on_a_routed_network() {
    let scene = |mode: Option<&str>| {
        let mut scene = Scene::new("NO_SOCKET", "tcp_v4_rcv");
        let packet = scene.evidence.drop.packet.as_mut().unwrap();
        packet.dst = Some("198.51.100.10".parse().unwrap());
        packet.dst_port = Some(10001);
        scene.networks = vec![bridge_network("172.17.0.0/16", "172.17.0.1")];
        scene.networks[0].gateway_mode = mode.map(str::to_owned);
        scene.published = vec![Published {
            host_ip: "::".parse().unwrap(),
            host_port: 10001,
            container_port: 80,
            protocol: "tcp".into(),
        }];
        scene
    };
    assert_eq!(scene(Some("routed")).id(), "routed-mode-host-port");
    for mode in [None, Some("nat"), Some("nat-unprotected")] {
        assert_eq!(scene(mode).id(), "no-listener");
    }
}

#[test]
fn a_fragment_is_lost_where_the_kernel_says_so() {
    let id = |reason: &str, location: &str| Scene::new(reason, location).id();
    // The made-up namespace has no counters: not confirmed.
    assert_eq!(id("FRAG_REASM_TIMEOUT", "ip_expire"), "fragment-lost");
    assert_eq!(id("NOT_SPECIFIED", "ip_expire"), "fragment-lost");
    assert_eq!(id("DUP_FRAG", "ip_frag_queue"), "unexplained");
}

#[test]
fn an_answer_came_the_short_way_only_where_bridged_packets_bypass_nat() {
    // web asked for its own published port, which is the shortest way of all.
    let scene = |set: Option<&str>, calls, flags: &str| {
        let mut scene = Scene::new("NO_SOCKET", "tcp_v4_rcv").in_container();
        let packet = scene.evidence.drop.packet.as_mut().unwrap();
        packet.src = Some("172.17.0.2".parse().unwrap());
        packet.src_port = Some(80);
        packet.dst_port = Some(48084);
        packet.tcp_flags = Some(flags.into());
        scene.networks = vec![bridge_network("172.17.0.0/16", "172.17.0.1")];
        scene.published = vec![Published {
            host_ip: "0.0.0.0".parse().unwrap(),
            host_port: 10001,
            container_port: 80,
            protocol: "tcp".into(),
        }];
        scene.canned(0).bridges = bridges(true, calls);
        if let Some(value) = set {
            let key = "net/bridge/bridge-nf-call-iptables";
            scene.canned(0).sysctls.insert(key.into(), value.into());
        }
        scene
    };
    assert_eq!(scene(Some("0"), false, "SA").id(), "bridge-nf-off");
    // br_netfilter is not loaded.
    assert_eq!(scene(None, false, "SA").id(), "bridge-nf-off");
    // Bridged packets are translated, by all bridges or by this one.
    assert_eq!(scene(Some("1"), false, "SA").id(), "unexplained");
    assert_eq!(scene(Some("0"), true, "SA").id(), "unexplained");
    // No answer to a connection that was opened here.
    assert_eq!(scene(Some("0"), false, "A").id(), "unexplained");
    let mut unpublished = scene(Some("0"), false, "SA");
    unpublished.published.clear();
    assert_eq!(unpublished.id(), "unexplained");
}
