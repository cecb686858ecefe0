//! Drops for tests.

use std::net::IpAddr;

use crate::model::{
    Cause, Confidence, ContainerRef, Drop, Endpoint, EndpointKind, Fix, Icmp, Impact, Ledger, Nat,
    NatKind, Netns, NetnsOwner, Packet, Reach, Ready, Rule, Tuple,
};

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn container(name: &str) -> ContainerRef {
    ContainerRef {
        id: "2df2a7aa8382".into(),
        name: name.into(),
        image: Some("nginx:1".into()),
        project: None,
        service: None,
        shared_with: vec![],
    }
}

pub(crate) fn inside(name: &str, network: &str) -> Endpoint {
    Endpoint {
        kind: EndpointKind::Container,
        container: Some(container(name)),
        network: Some(network.into()),
    }
}

pub(crate) fn outside() -> Endpoint {
    Endpoint {
        kind: EndpointKind::External,
        ..Endpoint::default()
    }
}

pub(crate) fn host() -> Netns {
    Netns {
        inum: 4_026_532_201,
        owner: NetnsOwner::Host,
        container: None,
        name: Some("host".into()),
    }
}

pub(crate) fn packet(protocol: &'static str, src: (&str, u16), dst: (&str, u16)) -> Packet {
    Packet {
        family: if src.0.contains(':') { "ipv6" } else { "ipv4" }.into(),
        protocol: protocol.into(),
        src: Some(ip(src.0)),
        src_port: (src.1 > 0).then_some(src.1),
        dst: Some(ip(dst.0)),
        dst_port: (dst.1 > 0).then_some(dst.1),
        tcp_flags: (protocol == "tcp").then(|| "S".into()),
        ttl: Some(64),
        length: 60,
        pkt_type: "host".into(),
        src_mac: Some("02:42:c6:33:64:14".into()),
        dst_mac: Some("02:42:c6:33:64:0a".into()),
        ethertype: "0x0800".into(),
        ..Packet::default()
    }
}

/// The incident of the design.
pub(crate) fn incident() -> Drop {
    Drop {
        time: "2026-11-20T04:01:03.123Z".parse().unwrap(),
        flow: Some("7f3a0c11".into()),
        reason: Some("IP_INADDRERRORS".into()),
        location: Some("ip_error".into()),
        hook: None,
        stack: Some(vec!["ip_error".into(), "ip_rcv_finish".into()]),
        netns: host(),
        device: Some("eth0".into()),
        ingress_device: Some("eth0".into()),
        packet: Some(packet("tcp", ("198.51.100.20", 48084), ("172.17.0.2", 80))),
        nat: Some(Nat {
            kind: NatKind::Dnat,
            original: Tuple {
                src: ip("198.51.100.20"),
                src_port: Some(48084),
                dst: ip("198.51.100.10"),
                dst_port: Some(10001),
            },
            reply: Tuple {
                src: ip("172.17.0.2"),
                src_port: Some(80),
                dst: ip("198.51.100.20"),
                dst_port: Some(48084),
            },
        }),
        source: outside(),
        destination: inside("web", "bridge"),
        published: Some("0.0.0.0:10001->80/tcp".into()),
        rule: None,
        cause: Cause {
            id: "interface-forwarding-disabled".into(),
            confidence: Confidence::Confirmed,
            summary: "eth0 does not forward what it receives.".into(),
            evidence: vec![
                "net.ipv4.conf.eth0.forwarding = 0".into(),
                "ip_forward = 1, so setting that again mends nothing".into(),
            ],
            fix: vec![Fix::Command {
                run: "sysctl -w net/ipv4/conf/eth0/forwarding=1".into(),
                netns: "host".into(),
                persist: Some("/etc/sysctl.d/90-eth0.conf".into()),
                set_by: Some("no file found that sets 0".into()),
                impact: Impact::None,
            }],
        },
        noise: None,
        expected: false,
        count: 1,
        veth_of: None,
        reach: Reach::Containers,
        capture: None,
        sample: None,
    }
}

/// A deliberate denial, UDP.
pub(crate) fn denied(source: &str, port: u16) -> Drop {
    Drop {
        reason: Some("NETFILTER_DROP".into()),
        location: Some("nft_do_chain".into()),
        hook: Some("forward".into()),
        packet: Some(packet("udp", (source, port), ("172.17.0.3", 53))),
        nat: None,
        destination: inside("api", "bridge"),
        published: None,
        rule: Some(Rule {
            backend: "iptables-nft".into(),
            table: "ip filter".into(),
            chain: "DOCKER-USER".into(),
            rule: "#3 -i eth0 -j DROP".into(),
            handle: Some(41),
            how: "counter".into(),
            owner: "user".into(),
        }),
        cause: Cause {
            id: "docker-user-drop".into(),
            confidence: Confidence::Likely,
            summary: "A rule in DOCKER-USER drops it.".into(),
            evidence: vec!["DOCKER-USER #3 counted 12 more packets".into()],
            fix: vec![
                Fix::Advice {
                    advice: "if this should pass: accept it before rule 3 of DOCKER-USER".into(),
                },
                Fix::Command {
                    run: "iptables -D DOCKER-USER 3".into(),
                    netns: "host".into(),
                    persist: None,
                    set_by: None,
                    impact: Impact::OpensFirewall,
                },
            ],
        },
        ..incident()
    }
}

/// Nothing explains it: a container to a neighbour, inside the container.
pub(crate) fn mystery() -> Drop {
    Drop {
        reason: Some("NETFILTER_DROP".into()),
        location: Some("nft_do_chain".into()),
        hook: Some("input".into()),
        stack: Some(
            [
                "nft_do_chain",
                "nft_do_chain_inet",
                "nf_hook_slow",
                "ip_local_deliver",
                "ip_rcv_finish",
                "ip_rcv",
                "__netif_receive_skb_one_core",
                "process_backlog",
            ]
            .map(String::from)
            .to_vec(),
        ),
        netns: Netns {
            inum: 4_026_532_300,
            owner: NetnsOwner::Container,
            container: Some(container("web")),
            name: Some("web".into()),
        },
        packet: Some(packet("tcp", ("2001:db8::9", 40000), ("2001:db8::2", 80))),
        nat: None,
        source: inside("cron", "back"),
        published: None,
        cause: Cause {
            id: "unexplained".into(),
            confidence: Confidence::Unknown,
            summary: "No cause of the catalogue fits.".into(),
            evidence: vec![],
            fix: vec![],
        },
        ..incident()
    }
}

pub(crate) fn ping() -> Icmp {
    Icmp {
        icmp_type: 8,
        code: 0,
        id: Some(7),
        inner: None,
    }
}

pub(crate) fn ready() -> Ready {
    Ready {
        schema: 1,
        version: "0.1.0".into(),
        kernel: "6.18.44".into(),
        docker: Some("28.5.2".into()),
        docker_host: Some("unix:///var/run/docker.sock".into()),
        containers: 12,
        programs: vec!["kfree_skb:tp_btf".into()],
        degraded: vec![],
    }
}

pub(crate) fn ledger() -> Ledger {
    Ledger {
        is_final: true,
        seconds: 12.0,
        observed: 41,
        shown: 2,
        filtered: 0,
        out_of_scope: 31,
        benign: 8,
        expected: 0,
        lost: 0,
        missed: Some(0),
        nat: None,
    }
}
