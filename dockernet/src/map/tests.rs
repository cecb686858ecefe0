//! A made-up host with everything on it.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{build::map, model::Map, read::Reading, select, text::text};
use crate::{
    cli::{Filter, Usage},
    host::bridge::{BridgePort, Bridges, PortState},
    inventory::{EngineStatus, Inventory, Parts},
    model::{
        Attachment, Container, Link, LinkKind, NetnsInfo, NetnsKey, Network, NetworkMode, Owner,
        Published, State, Subnet,
    },
    report::{Look, Width},
};

const HOST: NetnsKey = NetnsKey(1);

macro_rules! snapshot {
    ($name:expr, $text:expr) => {
        insta::with_settings!({snapshot_path => "../../snapshots", prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!($name, $text);
        });
    };
}

fn link(
    ifindex: u32,
    name: &str,
    kind: &str,
    peer: Option<(u32, Option<i32>)>,
    addresses: &[&str],
) -> Link {
    Link {
        ifindex,
        name: name.to_owned(),
        kind: match kind {
            "veth" => LinkKind::Veth,
            "bridge" => LinkKind::Bridge,
            other => LinkKind::Other(other.to_owned()),
        },
        master: None,
        peer_ifindex: peer.map(|(index, _)| index),
        peer_netnsid: peer.and_then(|(_, id)| id),
        mac: Some(format!("02:00:5e:00:53:{ifindex:02x}")),
        mtu: 1500,
        up: true,
        carrier: true,
        addresses: addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect(),
    }
}

fn port(mut link: Link, bridge: u32) -> Link {
    link.master = Some(bridge);
    link
}

fn container(
    name: &str,
    mode: NetworkMode,
    netns: Option<NetnsKey>,
    attachments: &[(&str, &str)],
) -> Container {
    Container {
        id: format!(
            "{:0<64}",
            name.bytes()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        ),
        name: name.to_owned(),
        image: Some("busybox".to_owned()),
        project: (name == "web").then(|| "shop".to_owned()),
        service: None,
        state: if netns.is_some() {
            State::Running
        } else {
            State::Stopped
        },
        pid: None,
        mode,
        netns,
        attachments: attachments
            .iter()
            .map(|(network, address)| Attachment {
                network: (*network).to_owned(),
                network_id: format!("{network}-id"),
                ipv4: Some(address.parse().unwrap()),
                ipv6: None,
                gateway: None,
                mac: None,
            })
            .collect(),
        published: Vec::new(),
        exposed: Vec::new(),
        dns: Vec::new(),
        sysctls: Vec::new(),
        ended: None,
    }
}

fn network(name: &str, driver: &str, device: &str, prefix: &str, gateway: &str) -> Arc<Network> {
    Arc::new(Network {
        id: format!("{name}-id"),
        name: name.to_owned(),
        driver: driver.to_owned(),
        bridge: (driver == "bridge").then(|| device.to_owned()),
        parent: matches!(driver, "ipvlan" | "macvlan").then(|| device.to_owned()),
        subnets: vec![Subnet {
            prefix: prefix.parse().unwrap(),
            gateway: Some(gateway.parse().unwrap()),
        }],
        internal: name == "closed",
        icc: true,
        masquerade: true,
        gateway_mode: None,
        options: Vec::new(),
    })
}

fn state(ifindex: u32, state: PortState) -> BridgePort {
    BridgePort {
        ifindex,
        name: String::new(),
        bridge_ifindex: 3,
        bridge: "docker0".to_owned(),
        state,
        hairpin: false,
        isolated: false,
        unicast_flood: true,
        multicast_flood: true,
        broadcast_flood: true,
        learning: true,
    }
}

fn sample() -> Map {
    let key = NetnsKey;
    let mut web = container(
        "web",
        NetworkMode::Networks,
        Some(key(2)),
        &[("bridge", "172.17.0.2/16"), ("back", "172.18.0.2/16")],
    );
    web.published = ["0.0.0.0", "::", "198.51.100.10"]
        .map(|host_ip| Published {
            host_ip: host_ip.parse().unwrap(),
            host_port: 10001,
            container_port: 80,
            protocol: "tcp".to_owned(),
        })
        .to_vec();
    let side = container(
        "side",
        NetworkMode::Container(web.id.clone()),
        Some(key(2)),
        &[],
    );
    let moved = container(
        "moved",
        NetworkMode::Networks,
        Some(key(3)),
        &[("bridge", "172.17.0.3/16")],
    );
    let [c1, c2, alone] = [("c1", 4), ("c2", 5), ("alone", 6)]
        .map(|(name, place)| container(name, NetworkMode::None, Some(key(place)), &[]));
    let ipvl = container(
        "ipvl",
        NetworkMode::Networks,
        Some(key(7)),
        &[("lan", "192.0.2.5/24")],
    );
    let swarm = container(
        "swarm",
        NetworkMode::Networks,
        Some(key(8)),
        &[("over", "10.0.9.3/24")],
    );
    let hosty = container("hosty", NetworkMode::Host, Some(HOST), &[]);
    let mut old = container(
        "old",
        NetworkMode::Networks,
        None,
        &[("back", "172.18.0.9/16")],
    );
    old.ended = Instant::now().checked_sub(Duration::from_secs(1));
    let space = |place: u64, owner: Owner, links: Vec<Link>| {
        Arc::new(NetnsInfo {
            key: key(place),
            inum: 4_026_532_000 + u32::try_from(place).unwrap(),
            owner,
            path: format!("/proc/{place}/ns/net").into(),
            near: true,
            links,
        })
    };
    let of = |container: &Container| Owner::Containers(vec![container.id.clone()]);
    let mut slow = port(link(12, "vethbbbbbbb", "veth", Some((2, Some(1))), &[]), 4);
    slow.mtu = 1400;
    let namespaces = vec![
        space(
            1,
            Owner::Host,
            vec![
                link(
                    2,
                    "eth0",
                    "",
                    None,
                    &["198.51.100.10/24", "2001:db8:1::10/64", "fe80::1/64"],
                ),
                link(3, "docker0", "bridge", None, &["172.17.0.1/16"]),
                link(4, "br-aaaaaaaaaaaa", "bridge", None, &["172.18.0.1/16"]),
                port(link(11, "vethaaaaaaa", "veth", Some((1, Some(1))), &[]), 3),
                slow,
                port(link(13, "vethccccccc", "veth", Some((1, Some(2))), &[]), 3),
                port(link(14, "blue0", "veth", Some((2, Some(3))), &[]), 3),
                port(link(15, "tap0", "tun", None, &[]), 3),
            ],
        ),
        space(
            2,
            Owner::Containers(vec![web.id.clone(), side.id.clone()]),
            vec![
                link(
                    1,
                    "eth0",
                    "veth",
                    Some((11, Some(0))),
                    &["172.17.0.2/16", "2001:db8:2::2/64"],
                ),
                link(2, "eth1", "veth", Some((12, Some(0))), &["172.18.0.2/16"]),
            ],
        ),
        space(
            3,
            of(&moved),
            vec![link(
                1,
                "eth0",
                "veth",
                Some((13, Some(0))),
                &["172.17.0.77/16"],
            )],
        ),
        space(
            4,
            of(&c1),
            vec![link(
                2,
                "eth1",
                "veth",
                Some((2, Some(0))),
                &["192.0.2.129/30"],
            )],
        ),
        space(
            5,
            of(&c2),
            vec![link(
                2,
                "eth1",
                "veth",
                Some((2, Some(0))),
                &["192.0.2.130/30"],
            )],
        ),
        space(6, of(&alone), Vec::new()),
        space(
            7,
            of(&ipvl),
            vec![link(
                5,
                "eth0",
                "ipvlan",
                Some((2, Some(0))),
                &["192.0.2.5/24"],
            )],
        ),
        space(
            8,
            of(&swarm),
            vec![link(
                6,
                "eth0",
                "veth",
                Some((7, Some(0))),
                &["10.0.9.3/24"],
            )],
        ),
        space(
            9,
            Owner::EngineSandbox("1-overlay".to_owned()),
            vec![
                link(2, "br0", "bridge", None, &["10.0.9.1/24"]),
                port(link(7, "veth0", "veth", Some((6, Some(0))), &[]), 2),
            ],
        ),
        space(
            10,
            Owner::Named("blue".to_owned()),
            vec![link(
                2,
                "eth0",
                "veth",
                Some((14, Some(0))),
                &["172.17.0.98/16"],
            )],
        ),
    ];
    let inventory = Inventory::new(Parts {
        host: HOST,
        status: EngineStatus::Up {
            version: "28.5.2".to_owned(),
            podman: false,
            rootless: false,
        },
        namespaces,
        containers: [web, side, moved, c1, c2, alone, ipvl, swarm, hosty, old]
            .map(Arc::new)
            .to_vec(),
        networks: vec![
            network("bridge", "bridge", "docker0", "172.17.0.0/16", "172.17.0.1"),
            network(
                "back",
                "bridge",
                "br-aaaaaaaaaaaa",
                "172.18.0.0/16",
                "172.18.0.1",
            ),
            network(
                "closed",
                "bridge",
                "br-cccccccccccc",
                "172.19.0.0/16",
                "172.19.0.1",
            ),
            network("lan", "ipvlan", "eth0", "192.0.2.0/24", "192.0.2.1"),
            network("over", "overlay", "", "10.0.9.0/24", "10.0.9.1"),
        ],
        ..Parts::default()
    });
    let mut ports = vec![state(11, PortState::Learning)];
    ports.extend([12, 13, 14, 15].map(|ifindex| state(ifindex, PortState::Forwarding)));
    let reading = Reading {
        bridges: HashMap::from([(
            HOST,
            Bridges {
                bridges: Vec::new(),
                ports,
            },
        )]),
        ids: HashMap::from([
            ((key(4), 0), key(5)),
            ((key(5), 0), key(4)),
            ((key(7), 0), HOST),
            ((key(8), 0), key(9)),
            ((key(9), 0), key(8)),
        ]),
        degraded: Vec::new(),
    };
    map(&inventory, &reading, "unix:///var/run/docker.sock")
}

fn shown(map: &Map, columns: usize, ascii: bool) -> String {
    text(
        map,
        &Look {
            color: false,
            ascii,
            width: Width::Fixed(columns),
        },
    )
}

fn keep(map: &mut Map, words: &[&str]) -> Result<(), Usage> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    select::keep(map, &select::terms(&words, &Filter::default())?)
}

#[test]
fn text_in_three_widths() {
    let map = sample();
    for (name, columns, ascii) in [
        ("map-wide", 140, false),
        ("map-narrow", 80, false),
        ("map-ascii", 60, true),
    ] {
        let text = shown(&map, columns, ascii);
        assert!(text.is_ascii() || !ascii, "{text}");
        snapshot!(name, text);
    }
}

#[test]
fn json() {
    let mut map = sample();
    keep(&mut map, &["web"]).unwrap();
    snapshot!("map-json", serde_json::to_string_pretty(&map).unwrap());
}

#[test]
fn words_find_what_they_name() {
    for (words, wanted, unwanted) in [
        (
            &["web"][..],
            &["web", "docker0", "br-aaa"][..],
            &["moved", "c1"][..],
        ),
        (&["side"], &["web"], &["moved"]),
        (&["vethccccccc"], &["moved", "docker0"], &["web"]),
        (&["tap0"], &["tap0"], &["moved"]),
        (&["172.17.0.98"], &["blue"], &["moved"]),
        (&["[2001:db8:2::2]"], &["web", "eth0"], &["eth1"]),
        (&["02-00-5E-00-53-0D"], &["moved"], &["web"]),
        (&["back"], &["eth1"], &["docker0"]),
        (&["172.18.0.0/16"], &["eth1"], &["docker0"]),
        (&["docker0"], &["web", "moved", "blue"], &["eth1"]),
        (&["c?"], &["@c1 ↔ eth1(2)@c2"], &["web"]),
        (&["moved", "ipvl"], &["moved", "ipvl"], &["web"]),
        (&["hosty"], &["hosty"], &["198.51.100.10"]),
        (&["host"], &["198.51.100.10", "hosty"], &["c1"]),
        (&["old"], &["old"], &["web"]),
        (&["alone"], &["alone"], &["web"]),
        (&["closed"], &["br-cccccccccccc"], &["web"]),
        (
            &["web", "swarm"],
            &["docker0", "br0(2)@1-overlay"],
            &["moved"],
        ),
        (&["over"], &["swarm", "br0"], &["web"]),
    ] {
        let mut map = sample();
        keep(&mut map, words).unwrap();
        let text = shown(&map, 140, false);
        for name in wanted {
            assert!(text.contains(name), "{words:?} lacks {name}:\n{text}");
        }
        for name in unwanted {
            assert!(!text.contains(name), "{words:?} has {name}:\n{text}");
        }
    }
}

#[test]
fn words_that_name_nothing_are_refused() {
    for (word, wanted) in [
        (
            "wbe",
            "no container, interface or network is called 'wbe'; did you mean 'web'?",
        ),
        ("192.0.2.77", "nothing here has the address '192.0.2.77'"),
        (
            "02:00:5e:00:53:ff",
            "nothing here has the MAC address '02:00:5e:00:53:ff'",
        ),
    ] {
        let mut map = sample();
        assert_eq!(
            keep(&mut map, &["web", word]),
            Err(Usage(wanted.to_owned()))
        );
    }
    assert!(keep(&mut sample(), &["[a"]).is_err());
}

#[test]
fn a_machine_without_anything() {
    let map = map(
        &Inventory::default(),
        &Reading::default(),
        "unix:///nothing",
    );
    assert_eq!(
        shown(&map, 80, false),
        "no containers, networks or interfaces\n"
    );
    assert_eq!(map.degraded.len(), 1);
}

proptest::proptest! {
    #[test]
    fn hostile_words_never_panic(word in ".{0,40}") {
        let mut map = sample();
        let _ = keep(&mut map, &[&word]);
        let _ = shown(&map, 30, true);
    }
}
