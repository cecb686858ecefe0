//! Causes below IP: each with what must not be enough for it.

use super::{listener, yard::*};
use crate::{
    host::{
        hosts::HostsEntry,
        listeners::{Listener, Transport},
        neighbour::{Neighbour, NeighbourState},
        queue::Queue,
        route::{Route, RouteKind},
        vxlan::Vxlan,
    },
    model::{Confidence, LinkKind, State},
};

const GAVE_UP: (&str, &str) = ("NEIGH_FAILED", "neigh_invalidate");

fn gave_up_in_web() -> Yard {
    Yard::in_web(GAVE_UP.0, GAVE_UP.1)
}

#[test]
fn a_neighbour_that_does_not_answer_on_a_sound_bridge_is_nobodys_fault() {
    assert_eq!(gave_up_in_web().id(), "unexplained");
    let mut host = Yard::in_host(GAVE_UP.0, GAVE_UP.1, BRIDGE);
    host.evidence.record.iif = 0;
    assert_eq!(host.id(), "unexplained");
}

#[test]
fn a_bridge_that_is_down_or_gone() {
    let mut yard = gave_up_in_web();
    yard.canned(0).bridges.bridges[0].up = false;
    assert_eq!(yard.id(), "bridge-down");
    yard.canned(0).bridges.bridges.clear();
    let cause = yard.cause().unwrap();
    assert_eq!(cause.id, "bridge-down");
    assert_eq!(cause.evidence[0], "there is no interface br-lan");
    // The state of a network that the packet had nothing to do with.
    let mut other = Yard::in_host("NETFILTER_DROP", "nft_do_chain", UPLINK);
    other.evidence.out_device = Some("br-lan".into());
    other.canned(0).bridges.bridges[0].up = false;
    assert_ne!(other.id(), "bridge-down");
    other.evidence.out_device = Some("eth0".into());
    assert_eq!(other.id(), "bridge-down");
}

#[test]
fn a_veth_is_off_its_bridge_only_if_docker_put_it_there_and_nobody_took_it() {
    let taken = |yard: &mut Yard| {
        yard.link(0, VETH_WEB).master = None;
        yard.canned(0).bridges.ports.remove(0);
    };
    let mut yard = gave_up_in_web();
    taken(&mut yard);
    assert_eq!(yard.id(), "veth-off-bridge");
    // It came into the host by the veth, which no bridge does.
    let mut yard = Yard::in_host("OTHERHOST", "ip_rcv_core", VETH_WEB).stack(&[
        "ip_rcv_core",
        "ip_rcv",
        "__netif_receive_skb_one_core",
    ]);
    assert_eq!(yard.id(), "unexplained");
    taken(&mut yard);
    assert_eq!(yard.id(), "veth-off-bridge");
    // On another bridge, or routed by hand.
    yard.link(0, VETH_WEB).master = Some(99);
    assert_eq!(yard.id(), "unexplained");
    yard.link(0, VETH_WEB).master = None;
    yard.containers[0].attachments.clear();
    assert_eq!(yard.id(), "unexplained");
}

#[test]
fn flooded_frames_name_a_stale_neighbour_only_with_the_entry() {
    let mut yard = Yard::in_db("OTHERHOST", "ip_rcv_core");
    yard.evidence.drop.packet.as_mut().unwrap().dst_mac = Some("02:42:ac:12:00:99".into());
    assert_eq!(yard.id(), "unexplained");
    let entry = |mac: &str| Neighbour {
        address: "172.18.0.3".parse().unwrap(),
        device: "eth0".into(),
        mac: Some(mac.into()),
        state: NeighbourState::Reachable,
        router: false,
    };
    yard.canned(1).neighbours = vec![entry(MAC_DB)];
    assert_eq!(yard.id(), "unexplained");
    yard.canned(1).neighbours = vec![entry("02:42:ac:12:00:99")];
    assert_eq!(yard.id(), "stale-neighbour");
    // The right address, flooded because the bridge has forgotten it.
    let mut flooded = Yard::in_web("OTHERHOST", "ip_rcv_core");
    flooded.canned(1).neighbours = vec![entry(MAC_DB)];
    assert_eq!(flooded.id(), "unexplained");
}

#[test]
fn isolation_takes_two_ports() {
    let refused = || Yard::in_host("NOT_SPECIFIED", "br_handle_frame_finish", VETH_WEB);
    let isolate = |yard: &mut Yard, ports: &[usize]| {
        for &port in ports {
            yard.canned(0).bridges.ports[port].isolated = true;
        }
    };
    let mut one = refused();
    isolate(&mut one, &[0]);
    assert_eq!(one.id(), "unexplained");
    let mut both = refused();
    isolate(&mut both, &[0, 1]);
    assert_eq!(both.id(), "bridge-port-isolated");
    let mut unflooded = Yard::in_host("NO_TX_TARGET", "br_handle_frame_finish", VETH_WEB);
    unflooded.canned(0).bridges.ports[0].unicast_flood = false;
    assert_eq!(unflooded.id(), "unexplained");
    unflooded.canned(0).bridges.ports[1].unicast_flood = false;
    assert_eq!(unflooded.id(), "bridge-port-isolated");
}

#[test]
fn one_mac_address_twice() {
    let mut yard = Yard::in_host("NOT_SPECIFIED", "br_handle_frame_finish", VETH_WEB);
    yard.link(1, ETH_WEB).mac = Some(MAC_DB.into());
    assert_eq!(yard.id(), "duplicate-mac");
    // The frame was for somebody else.
    yard.evidence.drop.packet.as_mut().unwrap().dst_mac = Some("02:42:00:00:00:01".into());
    assert_eq!(yard.id(), "unexplained");
    // Two bridges may each have that address.
    yard.evidence.drop.packet.as_mut().unwrap().dst_mac = Some(MAC_DB.into());
    yard.containers[0].attachments.clear();
    assert_eq!(yard.id(), "unexplained");
}

#[test]
fn only_an_uplink_without_carrier() {
    let uplink = |up, carrier| {
        let mut yard = Yard::in_host(GAVE_UP.0, GAVE_UP.1, UPLINK);
        yard.evidence.drop.destination = crate::report::samples::outside();
        let link = yard.link(0, UPLINK);
        (link.up, link.carrier) = (up, carrier);
        yard.id()
    };
    assert_eq!(uplink(true, false), "uplink-no-carrier");
    assert_eq!(uplink(true, true), "unexplained");
    assert_eq!(uplink(false, false), "unexplained");
    // A bridge is an uplink where one of its ports is no container's.
    let mut outer = Yard::in_host(GAVE_UP.0, GAVE_UP.1, UPLINK);
    outer.evidence.drop.destination = crate::report::samples::outside();
    let link = outer.link(0, UPLINK);
    (link.kind, link.carrier) = (LinkKind::Bridge, false);
    assert_eq!(outer.id(), "unexplained");
    outer.link(0, BRIDGE).master = Some(UPLINK);
    let cause = outer.cause().unwrap();
    assert_eq!(cause.id, "uplink-no-carrier");
    assert!(
        format!("{:?}", cause.fix).contains("ip link show master"),
        "{cause:?}"
    );
    // A bridge without a single port has none either.
    let mut bridge = Yard::in_host(GAVE_UP.0, GAVE_UP.1, BRIDGE);
    bridge.evidence.record.iif = 0;
    bridge.link(0, BRIDGE).carrier = false;
    assert_eq!(bridge.id(), "unexplained");
}

#[test]
fn a_veths_end_takes_less_than_the_other_sends() {
    let sent = |length, own, other| {
        let mut yard = Yard::in_web("NOT_SPECIFIED", "__dev_forward_skb2");
        yard.evidence.drop.packet.as_mut().unwrap().length = length;
        yard.link(1, ETH_WEB).mtu = own;
        yard.link(0, VETH_WEB).mtu = other;
        yard.cause()
    };
    let cause = sent(4028, 9000, 1500).unwrap();
    assert_eq!(cause.id, "veth-mtu-mismatch");
    let fix = format!("{:?}", cause.fix[0]);
    assert!(fix.contains("ip link set eth0 mtu 1500"), "{fix}");
    // It fits (with a VLAN tag), or both ends are alike: something else refused it.
    assert!(sent(1504, 9000, 1500).is_none());
    assert!(sent(4028, 1500, 1500).is_none());
}

#[test]
fn a_queue_is_full_only_if_it_says_so_and_its_device_works() {
    let full = |reason: &str, drops, up| {
        let mut yard = Yard::in_host(reason, "__dev_queue_xmit", UPLINK);
        yard.evidence.drop.destination = crate::report::samples::outside();
        yard.link(0, UPLINK).up = up;
        let queue = Queue {
            kind: "tbf".into(),
            root: true,
            drops,
            length: 3,
            txqueuelen: Some(1000),
        };
        yard.canned(0).queues.insert("eth0".into(), vec![queue]);
        yard.id()
    };
    assert_eq!(full("QDISC_DROP", 47, true), "queue-overflow");
    assert_eq!(full("QDISC_OVERLIMIT", 47, true), "queue-overflow");
    assert_eq!(full("QDISC_DROP", 0, true), "unexplained");
    assert_eq!(full("QDISC_DROP", 47, false), "unexplained");
    assert_eq!(full("TC_EGRESS", 47, true), "unexplained");
}

#[test]
fn a_backlog_is_full_for_sure_once_a_cpu_has_counted_it() {
    let mut yard = Yard::in_host("CPU_BACKLOG", "enqueue_to_backlog", VETH_WEB);
    let confidence = |yard: &Yard| yard.cause().unwrap().confidence;
    assert_eq!(confidence(&yard), Confidence::Likely);
    yard.state.backlog_drops = 5;
    assert_eq!(confidence(&yard), Confidence::Confirmed);
}

/// A UDP packet to 4789 that carries an Ethernet frame of VXLAN network `id`.
fn tunnelled(reason: &str, location: &str, flags: u8, id: u8) -> Yard {
    let mut yard = Yard::in_host(reason, location, UPLINK);
    let mut packet =
        crate::report::samples::packet("udp", ("198.51.100.20", 40000), ("198.51.100.10", 4789));
    packet.length = 106;
    yard.evidence.drop.packet = Some(packet);
    yard.evidence.drop.source = crate::report::samples::outside();
    yard.evidence.drop.destination = crate::model::Endpoint::default();
    let record = &mut yard.evidence.record;
    record.network = 0;
    record.header_len = 64;
    record.headers[0] = 0x45;
    record.headers[9] = 17;
    record.headers[28] = flags;
    record.headers[34] = id;
    yard
}

fn vxlan(id: u32, up: bool) -> Vxlan {
    Vxlan {
        name: "vx0".into(),
        up,
        id,
        port: 4789,
        remote: None,
        any_id: false,
    }
}

#[test]
fn tunnels_that_do_not_carry() {
    let unknown = |devices: Vec<Vxlan>| {
        let mut yard = tunnelled("VXLAN_VNI_NOT_FOUND", "vxlan_rcv", 8, 7);
        yard.canned(0).vxlans = devices;
        yard.id()
    };
    assert_eq!(unknown(vec![vxlan(8, true)]), "overlay-broken");
    assert_eq!(unknown(vec![vxlan(7, false)]), "overlay-broken");
    // There is one by now.
    assert_eq!(unknown(vec![vxlan(7, true)]), "unexplained");
    let unheard = |flags, devices: Vec<Vxlan>| {
        let mut yard = tunnelled("NO_SOCKET", "__udp4_lib_rcv", flags, 7);
        yard.canned(0).vxlans = devices;
        yard.id()
    };
    assert_eq!(unheard(8, vec![]), "overlay-broken");
    assert_eq!(unheard(8, vec![vxlan(7, false)]), "overlay-broken");
    // Not VXLAN: a program that is missing.
    assert_eq!(unheard(0, vec![]), "no-listener");
}

#[test]
fn a_macvlans_parent_and_its_host() {
    let parent = |up, carrier| {
        let mut yard = gave_up_in_web();
        yard.network.parent = Some("eth0".into());
        yard.network.bridge = None;
        let wire = yard.link(1, ETH_WEB);
        wire.kind = LinkKind::Other("macvlan".into());
        wire.carrier = up && carrier;
        let link = yard.link(0, UPLINK);
        (link.up, link.carrier) = (up, carrier);
        yard
    };
    assert_eq!(parent(false, false).id(), "macvlan-parent-down");
    assert_eq!(parent(true, false).id(), "macvlan-parent-down");
    assert_eq!(parent(true, true).id(), "unexplained");
    // To an address of the parent's: the host itself.
    let mut host = parent(true, true);
    host.evidence.drop.packet.as_mut().unwrap().dst = Some("198.51.100.10".parse().unwrap());
    assert_eq!(host.id(), "macvlan-host-isolation");
    host.link(1, ETH_WEB).kind = LinkKind::Other("ipvlan".into());
    let fix = |host: &Yard| format!("{:?}", host.cause().unwrap().fix);
    assert!(fix(&host).contains("type ipvlan mode l2"), "{}", fix(&host));
    host.network
        .options
        .push(("ipvlan_mode".into(), "l3".into()));
    assert!(fix(&host).contains("type ipvlan mode l3"), "{}", fix(&host));
}

#[test]
fn two_interfaces_with_one_prefix() {
    let route = |device: &str| Route {
        oif: Some(device.into()),
        protocol: 2,
        ..Route::new("172.18.0.0/16".parse().unwrap(), RouteKind::Unicast)
    };
    let mut yard = Yard::in_host(GAVE_UP.0, GAVE_UP.1, UPLINK);
    yard.evidence.out_device = Some("eth0".into());
    yard.canned(0).routes = vec![route("br-lan")];
    assert_eq!(yard.id(), "unexplained");
    yard.canned(0).routes.insert(0, route("eth0"));
    // The machine's own card is the LAN's whatever its routes are.
    assert_eq!(yard.id(), "subnet-overlaps-lan");
    yard.link(0, UPLINK).kind = LinkKind::Veth;
    let cause = yard.cause().unwrap();
    assert_eq!(cause.id, "connected-route-conflict");
    let text = format!("{:?}", cause.fix);
    assert!(text.contains("Interrupts"), "{text}");
    // A router is behind it: it is the LAN's, and its address is not to be taken off.
    let mut default = Route::new("0.0.0.0/0".parse().unwrap(), RouteKind::Unicast);
    default.oif = Some("eth0".into());
    default.gateway = Some("172.18.0.1".parse().unwrap());
    yard.canned(0).routes.push(default);
    let cause = yard.cause().unwrap();
    assert_eq!(cause.id, "subnet-overlaps-lan");
    let text = format!("{:?}", cause.fix);
    assert!(!text.contains("addr del"), "{text}");
    // No container of ours: a machine of the LAN's that is switched off.
    let packet = yard.evidence.drop.packet.as_mut().unwrap();
    let dst = packet.dst.replace("172.18.7.7".parse().unwrap());
    assert_ne!(yard.id(), "subnet-overlaps-lan");
    yard.evidence.drop.packet.as_mut().unwrap().dst = dst;
    yard.canned(0).routes.pop();
    // Nobody answers on the bridge itself.
    yard.evidence.out_device = Some("br-lan".into());
    assert_eq!(yard.id(), "unexplained");
}

#[test]
fn all_sockets_together_may_hold_too_much() {
    let mut yard = Yard::in_db("PROTO_MEM", "udp_queue_rcv_one_skb");
    // TCP says so of the socket's own limit too: the program is slow.
    assert!(yard.cause().unwrap().summary.contains("reads more slowly"));
    yard.evidence.drop.packet.as_mut().unwrap().protocol = "udp".into();
    let key = "net/ipv4/udp_mem".to_owned();
    yard.canned(0).sysctls.insert(key, "10\t20\t30".into());
    let cause = yard.cause().unwrap();
    assert_eq!(cause.id, "socket-buffer-full");
    assert_eq!(cause.confidence, Confidence::Likely);
    let text = format!("{cause:?}");
    assert!(
        text.contains("net.ipv4.udp_mem = 10 20 30 (pages"),
        "{text}"
    );
    assert!(
        text.contains("sysctl -w net/ipv4/udp_mem=\\\"20 40 60\\\""),
        "{text}"
    );
    assert!(!text.contains("rmem_max"), "{text}");
}

#[test]
fn the_ceiling_of_buffers_is_raised_never_lowered() {
    let mut yard = Yard::in_db("SOCKET_RCVBUFF", "udp_queue_rcv_one_skb");
    // TCP's buffers are not limited by it.
    assert!(format!("{:?}", yard.cause().unwrap().fix).contains("tcp_rmem"));
    yard.evidence.drop.packet.as_mut().unwrap().protocol = "udp".into();
    let commands = |yard: &Yard| format!("{:?}", yard.cause().unwrap().fix);
    assert!(
        !commands(&yard).contains("sysctl"),
        "unreadable: no command"
    );
    let key = "net/core/rmem_max";
    for (now, then) in [
        ("212992", Some("8388608")),
        ("16777216\n", Some("33554432")),
        ("2147483647", None),
    ] {
        yard.canned(0).sysctls.insert(key.to_owned(), now.into());
        let text = commands(&yard);
        match then {
            Some(then) => assert!(
                text.contains(&format!("sysctl -w {key}={then}\"")),
                "{text}"
            ),
            None => assert!(!text.contains("sysctl -w"), "{text}"),
        }
    }
}

#[test]
fn a_devices_queue_is_made_longer_where_its_length_counts() {
    let fix = |kind: &str, txqueuelen| {
        let mut yard = Yard::in_host("QDISC_DROP", "__dev_queue_xmit", UPLINK);
        yard.evidence.drop.destination = crate::report::samples::outside();
        let queue = Queue {
            kind: kind.into(),
            root: true,
            drops: 47,
            length: 3,
            txqueuelen,
        };
        yard.canned(0).queues.insert("eth0".into(), vec![queue]);
        format!("{:?}", yard.cause().unwrap().fix)
    };
    let text = fix("pfifo_fast", Some(10_000));
    assert!(text.contains("txqueuelen 20000"), "{text}");
    for text in [fix("pfifo_fast", None), fix("pfifo", Some(1000))] {
        assert!(!text.contains("ip link set"), "{text}");
    }
}

#[test]
fn a_paused_container_is_not_a_slow_one() {
    let mut yard = Yard::in_db("SOCKET_RCVBUFF", "udp_queue_rcv_one_skb");
    assert_eq!(yard.cause().unwrap().id, "socket-buffer-full");
    // The engine says so, and no process is known.
    yard.containers[1].state = State::Paused;
    assert_eq!(yard.id(), "container-paused");
    // It goes on already, and the engine's news is late; and the other way about.
    yard.containers[1].pid = Some(7);
    assert_eq!(yard.cause().unwrap().id, "socket-buffer-full");
    yard.containers[1].state = State::Running;
    yard.state.frozen = vec![7];
    assert_eq!(yard.id(), "container-paused");
    // Another one in its namespace runs, and has ended.
    let mut sidecar = yard.containers[1].clone();
    (sidecar.id, sidecar.name, sidecar.pid) = ("sidecar-id".into(), "sidecar".into(), Some(8));
    yard.containers.push(sidecar);
    assert_eq!(yard.cause().unwrap().id, "socket-buffer-full");
    yard.containers[2].ended = Some(std::time::Instant::now());
    assert_eq!(yard.id(), "container-paused");
}

#[test]
fn before_reasons_a_full_buffer_is_told_by_its_socket() {
    // 5.17 has reasons, but none for this.
    for reason in ["", "NOT_SPECIFIED"] {
        let mut yard = Yard::in_db(reason, "udp_queue_rcv_one_skb");
        let packet = yard.evidence.drop.packet.as_mut().unwrap();
        (packet.protocol, packet.dst_port) = ("udp".into(), Some(67));
        let full = Listener {
            transport: Transport::Udp,
            receive_queue: 212_992,
            drops: 3,
            ..listener("0.0.0.0:67")
        };
        let no_proof = [
            Listener {
                drops: 0,
                ..full.clone()
            },
            Listener {
                receive_queue: 0,
                ..full.clone()
            },
            Listener {
                local: "127.0.0.1:67".parse().unwrap(),
                ..full.clone()
            },
            Listener {
                remote: Some("172.18.0.9:40000".parse().unwrap()),
                ..full.clone()
            },
        ];
        for listener in no_proof.clone() {
            yard.canned(2).listeners = vec![listener];
            for state in [State::Running, State::Paused] {
                yard.containers[1].state = state;
                assert_eq!(yard.id(), "unexplained");
            }
        }
        // Beside those the one that is meant is found.
        yard.canned(2).listeners = no_proof.into_iter().chain([full]).collect();
        for (state, id) in [
            (State::Running, "socket-buffer-full"),
            (State::Paused, "container-paused"),
        ] {
            yard.containers[1].state = state;
            let cause = yard.cause().unwrap();
            assert_eq!((&*cause.id, cause.confidence), (id, Confidence::Likely));
            assert!(
                cause
                    .evidence
                    .iter()
                    .any(|fact| fact.contains("212992 bytes")),
                "{cause:?}"
            );
        }
    }
}

#[test]
fn a_hosts_file_is_stale_only_for_a_container_that_is_elsewhere() {
    let named = |name: &str| {
        let mut yard = Yard::in_db("NO_SOCKET", "tcp_v4_rcv");
        yard.containers[0].pid = Some(7);
        let mut third = yard.containers[1].clone();
        third.id = "third-id".into();
        third.name = "third".into();
        third.netns = None;
        third.attachments[0].ipv4 = Some("172.18.0.9/16".parse().unwrap());
        yard.containers.push(third);
        let entry = HostsEntry {
            address: "172.18.0.3".parse().unwrap(),
            names: vec![name.into()],
        };
        yard.state.hosts.insert(7, vec![entry]);
        yard.id()
    };
    assert_eq!(named("third"), "stale-hosts-entry");
    // Right, or no container's name.
    assert_eq!(named("db"), "no-listener");
    assert_eq!(named("printer"), "no-listener");
}
