//! Every read against the running kernel, in namespaces made for it. Each needs root, `ip` and `bridge`.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    process::Command,
    time::Duration,
};

use super::*;
use crate::host::{
    bridge::PortState,
    listeners::{Transport, listening_on},
    neighbour::NeighbourState,
    route::RouteKind,
};

/// A router between a LAN on `eth0` and a bridge `docker0`, named after the test that made it.
struct Router {
    name: String,
    netns: NetnsHandle,
}

impl Router {
    fn new(test: &str) -> Self {
        let name = format!("hs-{test}-{}", std::process::id());
        run(&["ip", "netns", "add", &name]);
        let netns = NetnsHandle::open(format!("/run/netns/{name}")).unwrap();
        let router = Self { name, netns };
        router.ip("link set lo up");
        router.ip("link add eth0 type veth peer name lan0");
        router.ip("link add docker0 type bridge forward_delay 400");
        router.ip("link add veth0 type veth peer name veth1");
        router.ip("link set veth0 master docker0");
        for link in ["eth0", "lan0", "docker0", "veth0", "veth1"] {
            router.ip(&format!("link set {link} up"));
        }
        router.ip("address add 198.51.100.10/24 dev eth0");
        router.ip("address add 172.17.0.1/16 dev docker0");
        router.ip("address add 2001:db8:1::10/64 dev eth0 nodad");
        router.ip("address add 2001:db8:17::1/64 dev docker0 nodad");
        router.set("net/ipv4/conf/all/rp_filter", "0");
        router.set("net/ipv4/conf/eth0/rp_filter", "0");
        router.set("net/ipv4/ip_forward", "1");
        router
    }

    fn ip(&self, arguments: &str) -> String {
        let mut words = vec!["ip", "-n", &self.name];
        words.extend(arguments.split(' '));
        run(&words)
    }

    fn set(&self, key: &str, value: &str) {
        let write = || fs::write(format!("/proc/sys/{key}"), value);
        self.netns.run(write).unwrap().unwrap();
    }

    fn get(&self, key: &str) -> Option<String> {
        LiveState.sysctl(&self.netns, key).unwrap()
    }

    /// The errno of a lookup, 0 for a way, and what the copy of the tables ends at.
    fn way(&self, query: &RouteQuery) -> (i32, Option<String>) {
        let answer = LiveState.route_lookup(&self.netns, query).unwrap();
        let found = LiveState.matching_route(&self.netns, query).unwrap();
        let rejecting = found.rejects().then(|| found.delete_command().unwrap());
        (
            answer.refusal().map_or(0, |refusal| refusal.errno),
            rejecting,
        )
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        run(&["ip", "netns", "del", &self.name]);
    }
}

fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn query(to: &str, from: &str, iif: &str) -> RouteQuery {
    RouteQuery::to(to.parse().unwrap())
        .from(from.parse().unwrap())
        .iif(iif)
}

#[test]
fn a_setting_is_the_namespaces_own() {
    if !may_make_namespaces() {
        return;
    }
    let (one, other) = (Router::new("sysctl-a"), Router::new("sysctl-b"));
    one.ip("link add eth0.7 type veth peer name eth0.8");
    for key in [
        "net/ipv4/conf/eth0/forwarding",
        "net/ipv4/conf/eth0.7/forwarding",
    ] {
        for value in ["0", "1", "0"] {
            one.set(key, value);
            assert_eq!(one.get(key).as_deref(), Some(value), "{key}");
        }
    }
    assert_eq!(
        other.get("net/ipv4/conf/eth0/forwarding").as_deref(),
        Some("1")
    );
    assert_eq!(other.get("net/ipv4/conf/eth0.7/forwarding"), None);
}

#[test]
fn the_kernel_refuses_as_documented() {
    if !may_make_namespaces() {
        return;
    }
    let router = Router::new("refusals");
    let out = query("203.0.113.9", "172.17.0.2", "docker0");
    let inward = query("172.17.0.2", "198.51.100.20", "eth0");
    assert_eq!(router.way(&inward), (0, None));
    assert_eq!(router.way(&out), (libc::ENETUNREACH, None));

    router.set("net/ipv4/conf/eth0/forwarding", "0");
    assert_eq!(router.way(&inward), (libc::EHOSTUNREACH, None));
    router.set("net/ipv4/conf/eth0/forwarding", "1");

    for (kind, by_route, by_rule) in [
        ("blackhole", libc::EINVAL, libc::EINVAL),
        ("unreachable", libc::EHOSTUNREACH, libc::ENETUNREACH),
        ("prohibit", libc::EACCES, libc::EACCES),
    ] {
        router.ip(&format!("route add {kind} 203.0.113.0/24"));
        let delete = format!("ip route del {kind} 203.0.113.0/24");
        assert_eq!(router.way(&out), (by_route, Some(delete.clone())));
        router.ip(delete.strip_prefix("ip ").unwrap());

        router.ip(&format!("rule add from 172.17.0.0/16 priority 100 {kind}"));
        let delete = format!("ip rule del priority 100 from 172.17.0.0/16 {kind}");
        assert_eq!(router.way(&out), (by_rule, Some(delete.clone())));
        router.ip(delete.strip_prefix("ip ").unwrap());
    }

    router.set("net/ipv4/conf/eth0/rp_filter", "1");
    let spoofed = query("172.17.0.2", "172.17.0.3", "eth0");
    let (errno, rejecting) = router.way(&spoofed);
    assert!([libc::EINVAL, libc::EXDEV].contains(&errno) && rejecting.is_none());
    router.set("net/ipv4/conf/eth0/rp_filter", "0");
    assert_eq!(router.way(&spoofed), (0, None));
    let own = query("172.17.0.2", "198.51.100.10", "eth0");
    assert_eq!(router.way(&own), (libc::EINVAL, None));
    let nowhere = query("172.17.0.2", "198.51.100.20", "nope0");
    assert!(LiveState.route_lookup(&router.netns, &nowhere).is_err());
}

#[test]
fn ipv6_refuses_by_route_only() {
    if !may_make_namespaces() {
        return;
    }
    let router = Router::new("refusals6");
    let out = query("2001:db8:99::2", "2001:db8:17::2", "docker0");
    assert_eq!(router.way(&out), (libc::ENETUNREACH, None));
    for (kind, errno) in [
        ("blackhole", libc::EINVAL),
        ("unreachable", libc::EHOSTUNREACH),
        ("prohibit", libc::EACCES),
    ] {
        router.ip(&format!("-6 route add {kind} 2001:db8:99::/64"));
        let delete = format!("ip -6 route del {kind} 2001:db8:99::/64 metric 1024");
        assert_eq!(router.way(&out), (errno, Some(delete.clone())));
        router.ip(delete.strip_prefix("ip ").unwrap());
    }
    // Neither setting shows in a lookup: a cause has to read them.
    router.set("net/ipv6/conf/all/forwarding", "0");
    let inward = query("2001:db8:17::2", "2001:db8:1::20", "eth0");
    assert_eq!(router.way(&inward), (0, None));
}

#[test]
fn tables_and_rules_print_as_ip_prints_them() {
    if !may_make_namespaces() {
        return;
    }
    let router = Router::new("tables");
    for route in [
        "default via 198.51.100.1 dev eth0 proto static metric 100",
        "203.0.113.0/24 nexthop via 198.51.100.2 dev eth0 weight 2 nexthop via 172.17.0.9 dev docker0",
        "prohibit 192.0.2.128/25 table 100 metric 7",
        "throw 10.8.0.0/16 table 77",
        "10.9.0.0/16 via inet6 2001:db8:1::1 dev eth0",
        "10.7.0.1 dev eth0 src 198.51.100.10",
    ] {
        router.ip(&format!("route add {route}"));
    }
    let rule = "not from 172.17.0.0/16 to 192.0.2.0/24 fwmark 0x10/0xf0 iif docker0 ipproto tcp dport 80-90";
    for rule in [
        format!("{rule} lookup 100 priority 40"),
        "iif eth0 lookup main suppress_prefixlength 0 priority 41".into(),
        "to 10.0.0.5 goto 32766 priority 42".into(),
        "tos 0x10 prohibit priority 43".into(),
    ] {
        router.ip(&format!("rule add {rule}"));
    }
    let squeeze = |text: &str| text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    let lines = |text: String| text.lines().map(squeeze).collect::<Vec<_>>();

    let theirs = router.ip("-4 route show table all").replace("\n\t", " ");
    let ours = LiveState.routes(&router.netns, Family::V4).unwrap();
    let mut ours: Vec<String> = ours.iter().map(ToString::to_string).collect();
    let mut theirs = lines(theirs);
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);

    let ours = LiveState.rules(&router.netns, Family::V4).unwrap();
    let ours: Vec<String> = ours.iter().map(ToString::to_string).collect();
    assert_eq!(ours, lines(router.ip("rule")));

    let to = RouteQuery::to("203.0.113.7".parse().unwrap());
    let answer = LiveState.route_lookup(&router.netns, &to).unwrap();
    let found = answer.found().unwrap();
    assert_eq!((found.kind, found.table), (RouteKind::Unicast, 254));
    let prefix = found.matched.as_ref().unwrap().prefix;
    assert_eq!(prefix.to_string(), "203.0.113.0/24");
}

#[test]
fn ports_are_in_the_state_that_bridge_shows() {
    if !may_make_namespaces() {
        return;
    }
    let router = Router::new("bridge");
    let port = || {
        let bridges = LiveState.bridges(&router.netns).unwrap();
        (
            bridges.bridge("docker0").unwrap().clone(),
            bridges.port("veth0").unwrap().clone(),
        )
    };
    let (bridge, before) = port();
    assert!(!bridge.stp && bridge.up && !before.hairpin && !before.isolated);
    assert_eq!(
        (before.state, before.bridge.as_str()),
        (PortState::Forwarding, "docker0")
    );
    router.ip("link set docker0 type bridge stp_state 1");
    router.ip("link set veth0 down");
    assert_eq!(port().1.state, PortState::Disabled);
    router.ip("link set veth0 up");
    let set = "link set dev veth0 hairpin on isolated on flood off";
    let mut words = vec!["bridge", "-n", &router.name];
    words.extend(set.split(' '));
    run(&words);
    let (bridge, after) = port();
    assert!(bridge.stp && after.state.is_waiting(), "{after:?}");
    assert_eq!(bridge.forward_delay, Duration::from_secs(4));
    assert!(after.hairpin && after.isolated && !after.unicast_flood);
}

#[test]
fn neighbours_and_sockets_of_the_namespace() {
    if !may_make_namespaces() {
        return;
    }
    let router = Router::new("sockets");
    router.ip("neighbour add 172.17.0.5 lladdr 02:42:ac:11:00:05 dev docker0");
    let sockets = router.netns.run(|| {
        let asker = UdpSocket::bind("172.17.0.1:0").unwrap();
        asker.send_to(b"?", "172.17.0.77:9").unwrap();
        let receiver = UdpSocket::bind("0.0.0.0:53").unwrap();
        asker.send_to(b"unread", "172.17.0.1:53").unwrap();
        let loopback = TcpListener::bind("127.0.0.1:80").unwrap();
        (
            loopback,
            TcpListener::bind("[::]:81").unwrap(),
            receiver,
            asker,
        )
    });
    let _sockets = sockets.unwrap();

    let neighbours = LiveState.neighbours(&router.netns).unwrap();
    let find = |address: &str| neighbours.iter().find(|n| n.address.to_string() == address);
    let known = find("172.17.0.5").unwrap();
    assert_eq!(
        known.to_string(),
        "172.17.0.5 dev docker0 lladdr 02:42:ac:11:00:05 PERMANENT"
    );
    let unknown = find("172.17.0.77").unwrap();
    assert_eq!(
        (unknown.state, unknown.is_unresolved()),
        (NeighbourState::Incomplete, true)
    );

    let all = LiveState.listeners(&router.netns).unwrap();
    let on_80 = listening_on(&all, Transport::Tcp, 80);
    assert!(on_80.len() == 1 && on_80[0].is_loopback());
    let container = "172.17.0.1".parse().unwrap();
    assert!(listening_on(&all, Transport::Tcp, 81)[0].accepts(container));
    let on_53 = listening_on(&all, Transport::Udp, 53);
    assert!(on_53.len() == 1 && on_53[0].receive_queue > 0);
    assert!(
        LiveState
            .transmit_checksum_offload(&router.netns, "eth0")
            .unwrap()
    );
}

/// Without root these tests cannot run: that is a failure in CI, and said elsewhere.
fn may_make_namespaces() -> bool {
    let root = nix::unistd::geteuid().is_root();
    assert!(
        root || std::env::var_os("CI").is_none(),
        "needs root: makes a network namespace"
    );
    if !root {
        eprintln!("not run: needs root to make a network namespace");
    }
    root
}

#[test]
fn flows_are_found_by_either_of_their_tuples() {
    let router = Router::new("flows");
    let rule = "add table ip t; add chain ip t out { type nat hook output priority -100; }; \
                add rule ip t out ip daddr 198.51.100.99 udp dport 7 dnat to 127.0.0.1:9007";
    run(&["ip", "netns", "exec", &router.name, "nft", rule]);
    let local = router
        .netns
        .run(|| {
            let socket = UdpSocket::bind("198.51.100.10:0").unwrap();
            let port = socket.local_addr().unwrap().port();
            // Nobody answers; the flow is there all the same.
            let _ = socket.send_to(b"x", "198.51.100.99:7");
            port
        })
        .unwrap();
    let tuple = |src: &str, src_port, dst: &str, dst_port| Tuple {
        src: src.parse().unwrap(),
        src_port: Some(src_port),
        dst: dst.parse().unwrap(),
        dst_port: Some(dst_port),
    };
    let original = tuple("198.51.100.10", local, "198.51.100.99", 7);
    let reply = tuple("127.0.0.1", 9007, "198.51.100.10", local);
    let find = |tuple: &Tuple| LiveState.flow(&router.netns, 17, tuple).unwrap();
    let entry = find(&original).unwrap();
    assert_eq!(
        (entry.protocol, &entry.original, &entry.reply),
        (17, &original, &reply)
    );
    assert_ne!(
        entry.status & dockernet_common::conntrack::status::DST_NAT,
        0
    );
    assert!(entry.timeout.is_some_and(|seconds| seconds <= 180));
    assert_eq!(
        find(&reply).map(|entry| entry.original),
        Some(original.clone())
    );
    assert_eq!(
        find(&tuple("198.51.100.10", local, "198.51.100.99", 8)),
        None
    );
    let all = LiveState.flows(&router.netns).unwrap();
    assert!(
        all.iter().any(|entry| entry.original == original),
        "{all:?}"
    );
    // Something may come or go between the two.
    let agree = || {
        let all = LiveState.flows(&router.netns).unwrap();
        let counters = LiveState.conntrack_counters(&router.netns).unwrap();
        counters.entries == all.len() as u64
    };
    assert!((0..5).any(|_| agree()), "{all:?}");
    run(&[
        "ip",
        "netns",
        "exec",
        &router.name,
        "nft",
        "delete table ip t",
    ]);
}
