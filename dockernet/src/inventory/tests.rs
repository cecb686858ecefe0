#![expect(clippy::unwrap_used, reason = "tests")]

use std::{net::IpAddr, time::Instant};

use ipnet::IpNet;

use super::*;
use crate::{
    host::docker::Inspect,
    model::{
        Attachment, EndpointKind, Link, LinkKind, NetworkMode, Owner, Published, State, Subnet,
    },
};

const HOST: NetnsKey = NetnsKey(1);
const WEB: NetnsKey = NetnsKey(2);
const BLUE: NetnsKey = NetnsKey(3);
const OUTSIDE: NetnsKey = NetnsKey(4);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn container(id: &str, address: Option<&str>) -> Container {
    let mut container = Inspect {
        id: format!("{id}0123456789abcdef"),
        name: Some(id.to_owned()),
        running: true,
        ..Inspect::default()
    }
    .into_container();
    container.attachments = address
        .map(|address| Attachment {
            network: "bridge".to_owned(),
            network_id: "n1".to_owned(),
            ipv4: Some(address.parse().unwrap()),
            ipv6: None,
            gateway: Some(ip("172.17.0.1")),
            mac: None,
        })
        .into_iter()
        .collect();
    container
}

fn link(ifindex: u32, name: &str, kind: LinkKind, addresses: &[&str]) -> Link {
    Link {
        ifindex,
        name: name.to_owned(),
        kind,
        master: None,
        peer_ifindex: None,
        peer_netnsid: None,
        mac: None,
        mtu: 1500,
        up: true,
        carrier: true,
        addresses: addresses
            .iter()
            .map(|address| address.parse::<IpNet>().unwrap())
            .collect(),
    }
}

fn namespace(key: NetnsKey, owner: Owner, near: bool, links: Vec<Link>) -> Arc<NetnsInfo> {
    Arc::new(NetnsInfo {
        key,
        inum: u32::try_from(key.0).unwrap() + 4_026_531_000,
        owner,
        path: format!("/proc/{}/ns/net", key.0).into(),
        near,
        links,
    })
}

fn parts() -> Parts {
    let mut web = container("web", Some("172.17.0.2/16"));
    web.netns = Some(WEB);
    let port = |host_ip: &str, host_port, container_port| Published {
        host_ip: ip(host_ip),
        host_port,
        container_port,
        protocol: "tcp".to_owned(),
    };
    web.published = vec![port("0.0.0.0", 10001, 80), port("127.0.0.1", 10002, 81)];
    let mut side = container("side", None);
    side.netns = Some(WEB);
    side.mode = NetworkMode::Container(web.id.clone());
    let mut hostly = container("hostly", None);
    hostly.mode = NetworkMode::Host;
    hostly.netns = Some(HOST);
    // Took the address over from one that ended just now.
    let mut old = container("old", Some("172.17.0.2/16"));
    old.state = State::Stopped;
    old.ended = Some(Instant::now());
    let mut dead = container("dead", Some("172.17.0.9/16"));
    dead.state = State::Stopped;
    dead.ended = Some(Instant::now());
    dead.published = vec![port("198.51.100.10", 10001, 80)];
    let mut veth = link(5, "veth1", LinkKind::Veth, &[]);
    veth.master = Some(3);
    veth.peer_ifindex = Some(4);
    let mut inside = link(
        4,
        "eth0",
        LinkKind::Veth,
        &["172.17.0.2/16", "172.17.0.50/16"],
    );
    inside.peer_ifindex = Some(5);
    Parts {
        host: HOST,
        namespaces: vec![
            namespace(
                HOST,
                Owner::Host,
                true,
                vec![
                    link(1, "lo", LinkKind::Loopback, &["127.0.0.1/8"]),
                    link(2, "eth0", LinkKind::Veth, &["198.51.100.10/24"]),
                    link(3, "docker0", LinkKind::Bridge, &["172.17.0.1/16"]),
                    veth,
                ],
            ),
            namespace(
                WEB,
                Owner::Containers(vec![web.id.clone(), side.id.clone()]),
                true,
                vec![inside],
            ),
            namespace(
                BLUE,
                Owner::Named("blue".into()),
                true,
                vec![link(2, "eth0", LinkKind::Veth, &["172.17.0.98/16"])],
            ),
            namespace(
                OUTSIDE,
                Owner::Named("outside".into()),
                false,
                vec![link(2, "eth0", LinkKind::Veth, &["198.51.100.20/24"])],
            ),
        ],
        containers: [web, side, hostly, old, dead].map(Arc::new).to_vec(),
        networks: vec![Arc::new(Network {
            id: "n1".to_owned(),
            name: "bridge".to_owned(),
            driver: "bridge".to_owned(),
            bridge: Some("docker0".to_owned()),
            parent: None,
            subnets: vec![Subnet {
                prefix: "172.17.0.0/16".parse().unwrap(),
                gateway: Some(ip("172.17.0.1")),
            }],
            internal: false,
            icc: true,
            masquerade: true,
            gateway_mode: None,
            options: Vec::new(),
        })],
        ..Parts::default()
    }
}

fn name(inventory: &Inventory, addr: &str, in_netns: Option<NetnsKey>) -> (EndpointKind, String) {
    let endpoint = inventory.endpoint(ip(addr), in_netns);
    let name = endpoint.container.map(|container| container.name);
    (endpoint.kind, name.unwrap_or_default())
}

#[test]
fn endpoints() {
    use EndpointKind::{Container, External, Host, Multicast, Unknown};
    let inventory = Inventory::new(parts());
    for (addr, netns, kind, expected) in [
        ("172.17.0.2", None, Container, "web"),
        ("::ffff:172.17.0.2", None, Container, "web"),
        ("172.17.0.50", None, Container, "web"),
        ("127.0.0.1", Some(WEB), Container, "web"),
        ("::1", Some(WEB), Container, "web"),
        ("127.0.0.1", Some(HOST), Host, ""),
        ("127.0.0.1", None, Host, ""),
        ("127.0.0.1", Some(BLUE), External, ""),
        ("127.0.0.1", Some(NetnsKey(99)), Unknown, ""),
        ("172.17.0.1", None, Host, ""),
        ("198.51.100.10", None, Host, ""),
        ("198.51.100.20", None, External, ""),
        ("172.17.0.9", None, Container, "dead"),
        ("172.17.0.77", None, Unknown, ""),
        ("172.17.0.98", None, External, ""),
        ("172.17.255.255", None, Multicast, ""),
        ("198.51.100.255", None, Multicast, ""),
        ("255.255.255.255", None, Multicast, ""),
        ("224.0.0.1", None, Multicast, ""),
        ("ff02::1", None, Multicast, ""),
        ("0.0.0.0", None, Unknown, ""),
        ("192.0.2.1", None, External, ""),
    ] {
        assert_eq!(
            name(&inventory, addr, netns),
            (kind, expected.to_owned()),
            "{addr} in {netns:?}"
        );
    }
    let nobody = inventory.endpoint(ip("172.17.0.77"), None);
    assert_eq!(nobody.network.as_deref(), Some("bridge"));
    assert_eq!(inventory.label(ip("172.17.0.98")).as_deref(), Some("blue"));
    assert_eq!(inventory.label(ip("198.51.100.20")), None);
    let web = inventory
        .endpoint(ip("172.17.0.2"), None)
        .container
        .unwrap();
    assert_eq!(web.shared_with, ["side"]);
    assert_eq!(web.id, "web012345678");
}

#[test]
fn tombstones_end() {
    let mut parts = parts();
    let long_ago = Instant::now().checked_sub(TOMBSTONE * 2).unwrap();
    for container in &mut parts.containers {
        if container.name == "dead" {
            Arc::make_mut(container).ended = Some(long_ago);
        }
    }
    let inventory = Inventory::new(parts);
    assert_eq!(
        name(&inventory, "172.17.0.9", None).0,
        EndpointKind::Unknown
    );
    // An address that is claimed twice comes once, with the one that would be named.
    let claims: Vec<_> = inventory
        .addresses()
        .filter(|(addr, _)| *addr == ip("172.17.0.2"))
        .map(|(_, container)| container.name.clone())
        .collect();
    assert_eq!(claims, ["web"]);
}

/// Of those that published a port and do not run, the one that ended last had it last.
#[test]
fn who_had_a_port_last() {
    let mut parts = parts();
    let had = |name: &str, ended: Option<Instant>| {
        let mut container = container(name, None);
        container.state = State::Stopped;
        container.ended = ended;
        container.published = vec![Published {
            host_ip: ip("0.0.0.0"),
            host_port: 10009,
            container_port: 80,
            protocol: "tcp".to_owned(),
        }];
        Arc::new(container)
    };
    let start = Instant::now();
    parts.containers = vec![
        had("long-ago", None),
        had("before", Some(start)),
        had("last", Some(start + Duration::from_secs(5))),
    ];
    let inventory = Inventory::new(parts);
    let (container, _) = inventory
        .published("tcp", ip("198.51.100.10"), 10009)
        .unwrap();
    assert_eq!(container.name, "last");
}

#[test]
fn published_ports() {
    let inventory = Inventory::new(parts());
    let find = |addr: &str, port| {
        inventory
            .published("tcp", ip(addr), port)
            .map(|(container, published)| (container.name.clone(), published.to_string()))
    };
    let web = |text: &str| Some(("web".to_owned(), text.to_owned()));
    // Exact beats the wildcard among those that run; the stopped one is not served.
    assert_eq!(find("198.51.100.10", 10001), web("0.0.0.0:10001->80/tcp"));
    assert_eq!(find("127.0.0.1", 10002), web("127.0.0.1:10002->81/tcp"));
    assert_eq!(find("198.51.100.10", 10002), None);
    assert_eq!(find("::1", 10001), None);
    assert_eq!(inventory.published_on("tcp", 10002).count(), 1);
    assert!(
        inventory
            .published("udp", ip("198.51.100.10"), 10001)
            .is_none()
    );
    let id = &inventory.container_named("web").unwrap().id;
    assert_eq!(inventory.published_to(id, "tcp", 81).len(), 1);
}

#[test]
fn namespaces_and_links() {
    let inventory = Inventory::new(parts());
    assert_eq!(inventory.host_netns().unwrap().key, HOST);
    assert_eq!(inventory.near(WEB), Some(true));
    assert_eq!(inventory.near(OUTSIDE), Some(false));
    assert_eq!(inventory.near(NetnsKey(99)), None);
    assert_eq!(inventory.container_behind(5).unwrap().name, "web");
    assert!(inventory.container_behind(2).is_none());
    let web = inventory.container_named("web").unwrap();
    let veths = inventory.host_veth_of(web);
    assert_eq!(veths.first().unwrap().name, "veth1");
    assert_eq!(inventory.link(WEB, 4).unwrap().name, "eth0");
    let inum = inventory.netns(BLUE).unwrap().inum;
    assert_eq!(inventory.netns_by_inum(inum).unwrap().key, BLUE);
}

#[test]
fn names_and_numbers() {
    let inventory = Inventory::new(parts());
    assert_eq!(inventory.nearest_name("wbe").as_deref(), Some("web"));
    assert_eq!(inventory.nearest_name("zzzz"), None);
    assert_eq!(
        inventory.nearest_network("dokcer0").as_deref(),
        Some("docker0")
    );
    assert_eq!(
        inventory.network_by_bridge("docker0").unwrap().name,
        "bridge"
    );
    let mut ids: Vec<u32> = inventory
        .containers()
        .map(|container| inventory.endpoint_id(&container.id))
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    assert_eq!(inventory.endpoint_id("nobody"), 0);
}
