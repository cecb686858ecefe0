//! Wrong ways to a container, and out of it.

use super::{HOST, Scene, hook, link};
use crate::{
    host::{
        firewall::Hook,
        neighbour::{Neighbour, NeighbourState},
        route::{
            Family, Route, RouteKind,
            lookup::{RouteAnswer, RouteFound, RouteQuery},
            rule::{PolicyRule, RuleVerdict},
        },
    },
    model::{Confidence, EndpointKind, Link, LinkKind, Network, Subnet},
};

pub(super) fn bridge_network(prefix: &str, gateway: &str) -> Network {
    Network {
        id: "net-id".into(),
        name: "bridge".into(),
        driver: "bridge".into(),
        bridge: Some("docker0".into()),
        parent: None,
        subnets: vec![Subnet {
            prefix: prefix.parse().unwrap(),
            gateway: Some(gateway.parse().unwrap()),
        }],
        internal: false,
        icc: true,
        masquerade: true,
        gateway_mode: None,
        options: Vec::new(),
    }
}

pub(super) fn docker0(addresses: &[&str]) -> Link {
    Link {
        ifindex: 3,
        name: "docker0".into(),
        kind: LinkKind::Bridge,
        addresses: addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect(),
        ..link("192.0.2.1/32")
    }
}

fn route(prefix: &str, oif: &str, table: u32) -> Route {
    let mut route = Route::new(prefix.parse().unwrap(), RouteKind::Unicast);
    route.oif = Some(oif.into());
    route.table = table;
    route
}

/// A SYN for web that died on the forward hook on its way out by eth0.
fn on_its_way_out() -> Scene {
    let mut scene = Scene::new("NETFILTER_DROP", "nf_hook_slow");
    scene.evidence.hook = Some(hook(Hook::Forward));
    scene.evidence.out_device = Some("eth0".into());
    scene.networks = vec![bridge_network("172.17.0.0/16", "172.17.0.1")];
    scene.host_links.push(docker0(&["172.17.0.1/16"]));
    scene.canned(0).rules = vec![PolicyRule::new(Family::V4, 32766, RuleVerdict::Table(254))];
    scene.canned(0).routes = vec![
        route("172.17.0.0/16", "docker0", 254),
        route("0.0.0.0/0", "eth0", 254),
    ];
    scene
}

#[test]
fn a_narrower_route_is_named() {
    let mut scene = on_its_way_out();
    // Right by now: what dropped it on its wrong way is not blamed.
    let verdict = scene.verdict().unwrap();
    assert_eq!(verdict.cause.id, "unexplained");
    assert!(
        verdict.cause.summary.contains("for a moment"),
        "{verdict:?}"
    );
    scene
        .canned(0)
        .routes
        .push(route("172.17.0.0/17", "eth0", 254));
    let verdict = scene.verdict().unwrap();
    assert_eq!(verdict.cause.id, "route-shadows-subnet");
    assert_eq!(verdict.cause.confidence, Confidence::Confirmed);
    // The packet went to the bridge all the same.
    scene.evidence.out_device = Some("docker0".into());
    assert_eq!(scene.id(), "unexplained");
}

#[test]
fn a_wider_route_shadows_nothing() {
    let mut scene = on_its_way_out();
    scene
        .canned(0)
        .routes
        .push(route("172.16.0.0/12", "eth0", 254));
    assert_eq!(scene.id(), "unexplained");
    // With the bridge's own route gone the wider one has it: no cause of the catalogue, but the route is named.
    scene
        .canned(0)
        .routes
        .retain(|route| route.oif.as_deref() == Some("eth0"));
    let verdict = scene.verdict().unwrap();
    assert_eq!(verdict.cause.id, "unexplained");
    assert!(verdict.cause.summary.contains("is gone"), "{verdict:?}");
}

#[test]
fn a_rule_is_blamed_only_where_the_main_table_is_right() {
    let mut scene = on_its_way_out();
    let mut rule = PolicyRule::new(Family::V4, 100, RuleVerdict::Table(100));
    rule.to = Some("172.17.0.0/16".parse().unwrap());
    scene.canned(0).rules.insert(0, rule);
    // An empty table decides nothing.
    assert_eq!(scene.id(), "unexplained");
    scene.canned(0).routes.push(route("0.0.0.0/0", "eth0", 100));
    let verdict = scene.verdict().unwrap();
    assert_eq!(verdict.cause.id, "policy-rule-misroutes");
    scene
        .canned(0)
        .routes
        .retain(|route| route.oif.as_deref() == Some("eth0"));
    assert_ne!(scene.id(), "policy-rule-misroutes");
    // A rule that nobody here can judge is not guessed about.
    scene.canned(0).rules[0].unread = true;
    assert_eq!(scene.id(), "unexplained");
}

#[test]
fn a_bridge_without_its_address_is_named_unless_it_is_meant_to_have_none() {
    let mut scene = on_its_way_out();
    scene.host_links[1] = docker0(&[]);
    scene.canned(0).routes = vec![route("0.0.0.0/0", "eth0", 254)];
    let verdict = scene.verdict().unwrap();
    assert_eq!(verdict.cause.id, "bridge-lost-address");
    assert_eq!(
        verdict.cause.evidence[0],
        "Docker says 172.17.0.1/16, docker0 has none"
    );
    scene.networks[0].options = vec![(
        "com.docker.network.bridge.inhibit_ipv4".into(),
        "true".into(),
    )];
    assert_eq!(scene.id(), "unexplained");
    scene.networks[0].options.clear();
    // A bridge that is down has another cause.
    scene.host_links[1].up = false;
    assert_eq!(scene.id(), "unexplained");
}

#[test]
fn an_address_of_nobody_overlaps_the_lan_only_if_the_lan_has_it() {
    let mut scene = Scene::new("NEIGH_FAILED", "neigh_invalidate");
    scene.evidence.drop.nat = None;
    scene.evidence.drop.destination.kind = EndpointKind::Unknown;
    scene.evidence.drop.destination.container = None;
    let packet = scene.evidence.drop.packet.as_mut().unwrap();
    packet.dst = Some("198.51.100.20".parse().unwrap());
    scene.networks = vec![bridge_network("198.51.100.0/25", "198.51.100.1")];
    scene.host_links.push(docker0(&["198.51.100.1/25"]));
    let verdict = scene.verdict().unwrap();
    assert_eq!(verdict.cause.id, "subnet-overlaps-lan");
    // Out by the LAN: not the bridge's doing.
    scene.evidence.out_device = Some("eth0".into());
    assert_eq!(scene.id(), "unexplained");
    scene.evidence.out_device = Some("docker0".into());
    scene.host_links[0] = link("192.0.2.10/24");
    assert_eq!(scene.id(), "unexplained");
    scene.canned(0).routes = vec![route("198.51.100.0/24", "eth0", 254)];
    assert_eq!(scene.id(), "unexplained");
    scene.canned(0).routes[0].gateway = Some("192.0.2.1".parse().unwrap());
    assert_eq!(scene.id(), "subnet-overlaps-lan");
}

/// A strict filter refuses what comes from there before anything is sent.
#[test]
fn what_the_filter_refuses_overlaps_if_its_answers_would_go_into_the_bridge() {
    let mut scene = Scene::new("IP_RPFILTER", "ip_rcv_finish_core").settings(|settings| {
        settings.rp_filter = 1;
        settings.all_rp_filter = 0;
    });
    let drop = &mut scene.evidence.drop;
    drop.nat = None;
    (drop.source.kind, drop.source.container) = (EndpointKind::Unknown, None);
    drop.packet.as_mut().unwrap().src = Some("172.17.9.9".parse().unwrap());
    assert_eq!(drop.device.as_deref(), Some("eth0"));
    scene.networks = vec![bridge_network("172.17.0.0/16", "172.17.0.1")];
    scene.host_links.push(docker0(&["172.17.0.1/16"]));
    let query = RouteQuery::to("172.17.9.9".parse().unwrap());
    let answers = |scene: &mut Scene, device: &str| {
        let way = RouteAnswer::Found(Box::new(RouteFound {
            kind: RouteKind::Unicast,
            oif: Some(device.into()),
            gateway: None,
            prefsrc: None,
            table: 254,
            matched: None,
        }));
        scene.canned(0).lookups.insert(query.clone(), way);
    };
    answers(&mut scene, "docker0");
    // Nothing of the host's leads there but the bridge.
    assert_eq!(scene.id(), "rp-filter");
    scene.canned(0).routes = vec![route("0.0.0.0/0", "eth0", 254)];
    scene.canned(0).routes[0].gateway = Some("192.0.2.1".parse().unwrap());
    let verdict = scene.verdict().unwrap();
    assert_eq!(verdict.cause.id, "subnet-overlaps-lan");
    let text = format!("{:?}", verdict.cause.fix);
    assert!(
        text.contains("ip route add 172.17.9.9 via 192.0.2.1 dev eth0"),
        "{text}"
    );
    // The default route goes elsewhere.
    scene.canned(0).routes[0].oif = Some("eth1".into());
    assert_eq!(scene.id(), "rp-filter");
    scene.canned(0).routes[0].oif = Some("eth0".into());
    answers(&mut scene, "vpn0");
    assert_eq!(scene.id(), "rp-filter");
}

#[test]
fn a_gateway_is_wrong_if_it_is_not_dockers_and_does_not_answer() {
    let mut scene = Scene::new("NEIGH_FAILED", "neigh_invalidate").in_container();
    let packet = scene.evidence.drop.packet.as_mut().unwrap();
    packet.src = Some("172.17.0.2".parse().unwrap());
    packet.dst = Some("203.0.113.7".parse().unwrap());
    scene.evidence.drop.ingress_device = None;
    scene.networks = vec![bridge_network("172.17.0.0/16", "172.17.0.1")];
    scene.host_links.push(docker0(&["172.17.0.1/16"]));
    scene.canned(1).rules = vec![PolicyRule::new(Family::V4, 32766, RuleVerdict::Table(254))];
    let mut default = route("0.0.0.0/0", "eth0", 254);
    default.gateway = Some("172.17.0.77".parse().unwrap());
    scene.canned(1).routes = vec![default];
    let verdict = scene.verdict().unwrap();
    assert_eq!(verdict.cause.id, "container-wrong-gateway");
    // It answers: somebody's own router.
    scene.canned(1).neighbours = vec![Neighbour {
        address: "172.17.0.77".parse().unwrap(),
        device: "eth0".into(),
        mac: Some("02:42:ac:11:00:4d".into()),
        state: NeighbourState::Reachable,
        router: false,
    }];
    assert_eq!(scene.id(), "unexplained");
    // Docker's own gateway that does not answer: only if the bridge has lost it.
    scene.canned(1).neighbours.clear();
    scene.canned(1).routes[0].gateway = Some("172.17.0.1".parse().unwrap());
    assert_eq!(scene.id(), "unexplained");
    scene.host_links[1] = docker0(&["172.17.9.1/16"]);
    assert_eq!(scene.id(), "bridge-lost-address");
    assert_eq!(scene.inventory().host_key(), HOST);
}
