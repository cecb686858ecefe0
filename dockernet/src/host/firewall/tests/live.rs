//! Rules in namespaces of the test's own, real packets, real counters: what the simulation says is what the kernel did.
//!
//! Needs root, as every test of namespaces does; without it there is nothing to compare with, and the test says so.

use std::{
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd as _,
    process::Command,
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, unshare};

use super::*;
use crate::host::{
    firewall::{Backend, Chain, Moved, Target, moved},
    netns::NetnsHandle,
};

fn namespace() -> Option<NetnsHandle> {
    let made = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).ok()?;
        NetnsHandle::current().ok()
    });
    made.join().unwrap()
}

fn sh(netns: &NetnsHandle, script: &str) {
    let output = netns
        .run(|| {
            Command::new("sh")
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .args(["-ec", script])
                .output()
        })
        .unwrap()
        .unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
}

/// A router between a client and a server.
struct Lab {
    client: NetnsHandle,
    router: NetnsHandle,
    _server: NetnsHandle,
}

impl Lab {
    fn new() -> Option<Self> {
        let (client, router, server) = (namespace()?, namespace()?, namespace()?);
        let file = |netns: &NetnsHandle| {
            format!(
                "/proc/{}/fd/{}",
                std::process::id(),
                netns.as_fd().as_raw_fd()
            )
        };
        sh(
            &router,
            &format!(
                "ip link add c0 type veth peer name e0 netns {}
                 ip link add s0 type veth peer name e0 netns {}
                 ip addr add 192.0.2.1/24 dev c0; ip addr add 198.51.100.1/24 dev s0
                 ip link set lo up; ip link set c0 up; ip link set s0 up
                 echo 1 > /proc/sys/net/ipv4/ip_forward",
                file(&client),
                file(&server)
            ),
        );
        for (netns, address, gateway) in [
            (&client, "192.0.2.2/24", "192.0.2.1"),
            (&server, "198.51.100.2/24", "198.51.100.1"),
        ] {
            sh(
                netns,
                &format!(
                    "ip link set lo up; ip link set e0 up; ip addr add {address} dev e0; ip addr add 198.51.100.3/32 dev lo
                     ip route add default via {gateway}"
                ),
            );
        }
        sh(&client, "ip addr del 198.51.100.3/32 dev lo");
        Some(Self {
            client,
            router,
            _server: server,
        })
    }

    /// Sends one datagram from the client; tells which rules and policies that drop counted it. `firewall` is the last read,
    /// and becomes the next.
    fn dropped_by(&self, firewall: &mut Firewall, dst: &str, dport: u16) -> Vec<Moved> {
        let target: Ipv4Addr = dst.parse().unwrap();
        self.client
            .run(|| {
                let socket = UdpSocket::bind(("192.0.2.2", 0)).unwrap();
                socket.send_to(b"x", (target, dport)).unwrap();
            })
            .unwrap();
        thread::sleep(Duration::from_millis(20));
        let after = Firewall::read(&self.router);
        assert_eq!(after.notes, Vec::<String>::new());
        let mut found = moved(firewall, &after);
        found.retain(|moved| drops(&after, moved));
        *firewall = after;
        found
    }
}

/// Whether what moved is a rule that drops, or a policy that does.
fn drops(firewall: &Firewall, moved: &Moved) -> bool {
    let chain: &Chain = firewall
        .tables()
        .filter(|(backend, table)| {
            *backend == moved.backend && table.family == moved.family && table.name == moved.table
        })
        .find_map(|(_, table)| table.chain(&moved.chain))
        .unwrap();
    match moved.number {
        Some(number) => chain.rules[number - 1]
            .targets
            .iter()
            .any(|target| matches!(target, Target::Drop | Target::Reject)),
        None => chain.base.as_ref().unwrap().policy == crate::host::firewall::Policy::Drop,
    }
}

const RULES: &str = r#"
iptables-nft -N DOCKER-USER
iptables-nft -N SUB
iptables-nft -N AGAIN
iptables-nft -A FORWARD -j DOCKER-USER
iptables-nft -A DOCKER-USER -p udp --dport 1001 -j DROP
iptables-nft -A DOCKER-USER -p udp -m multiport --dports 1002,1010:1012 -j DROP
iptables-nft -A DOCKER-USER -s 192.0.2.0/25 -p udp --dport 1003 -m conntrack --ctstate NEW -j REJECT
iptables-nft -A DOCKER-USER -i c+ ! -o c0 -p udp --dport 1004 -j DROP
iptables-nft -A DOCKER-USER -m addrtype --dst-type LOCAL -p udp --dport 1005 -j DROP
iptables-nft -A DOCKER-USER -m addrtype ! --dst-type LOCAL -p udp --dport 1006 -j DROP
iptables-nft -A DOCKER-USER -m conntrack --ctorigdstport 2002 -j DROP
iptables-nft -A DOCKER-USER -m conntrack --ctstate DNAT -p udp --dport 1502 -j DROP
iptables-nft -A DOCKER-USER -m mark --mark 0x7/0xff -j DROP
iptables-nft -A DOCKER-USER -p udp -m iprange --dst-range 198.51.100.3-198.51.100.9 --dport 1021 -j DROP
iptables-nft -A DOCKER-USER -g SUB
iptables-nft -A DOCKER-USER -j DROP
iptables-nft -A SUB -p udp --dport 1008 -j RETURN
iptables-nft -A SUB -p udp --dport 1009 -j AGAIN
iptables-nft -A SUB -p udp --dport 1008:1009 -m comment --comment "after AGAIN" -j DROP
iptables-nft -A AGAIN ! -p udp -j DROP
iptables-nft -A AGAIN -p udp ! --dport 1009 -j DROP
iptables-nft -t mangle -A FORWARD -p udp --dport 1007 -j MARK --set-xmark 0x7/0xffffffff
iptables-nft -t raw -A PREROUTING -d 198.51.100.3/32 ! -i s0 -p udp --dport 1030 -j DROP
iptables-nft -t nat -A PREROUTING -d 192.0.2.1/32 -p udp --dport 2001 -j DNAT --to-destination 198.51.100.2:1001
iptables-nft -t nat -A PREROUTING -d 192.0.2.1/32 -p udp --dport 2002 -j DNAT --to-destination 198.51.100.2:1500
iptables-nft -t nat -A PREROUTING -d 192.0.2.1/32 -p udp --dport 2003 -j DNAT --to-destination 198.51.100.2:1502
iptables-nft -A INPUT -p udp --dport 1020 -j DROP
nft -f - <<E
table inet own {
  set bad { type ipv4_addr . inet_service
    flags interval
    elements = { 198.51.100.0/28 . 1040-1041 }
  }
  chain drop-it { counter drop
  }
  chain own-forward { type filter hook forward priority 10; policy accept;
    ip daddr . udp dport @bad counter drop
    ct state new udp dport 1042 counter drop
    udp dport vmap { 1043 : jump drop-it, 1044-1045 : goto drop-it, 1046 : accept }
    udp dport 1046 counter drop
    iifname . oifname vmap { "c0" . "c0" : jump drop-it }
    iifname { "c*", "x" } udp dport { 1047, 1050-1059 } counter reject
    meta mark set 0x3
    meta mark & 0x1 == 0x1 udp dport 1048 counter drop
    fib daddr type local counter drop
  }
}
E
"#;

#[test]
fn the_kernel_does_what_the_simulation_says() {
    let Some(lab) = Lab::new() else {
        eprintln!("not compared with the kernel: making namespaces needs root");
        return;
    };
    sh(&lab.router, RULES);
    let env: Vec<ipnet::IpNet> = ["192.0.2.1/24", "198.51.100.1/24"]
        .into_iter()
        .map(|net| net.parse().unwrap())
        .collect();
    let udp = |dst: &str, dport: u16| FlowPacket {
        proto: Some(17),
        tcp_flags: None,
        ..tcp("192.0.2.2", dst, dport, "c0", "s0")
    };
    let forward = (1001..=1060).chain([1500, 1502]).map(|port| {
        let packet = udp("198.51.100.2", port);
        (Hook::Forward, packet, "198.51.100.2", port)
    });
    let others = [
        (
            Hook::Forward,
            udp("198.51.100.3", 1021),
            "198.51.100.3",
            1021,
        ),
        (
            Hook::Prerouting,
            udp("198.51.100.3", 1030),
            "198.51.100.3",
            1030,
        ),
        (Hook::Input, udp("192.0.2.1", 1020), "192.0.2.1", 1020),
        (Hook::Input, udp("192.0.2.1", 1021), "192.0.2.1", 1021),
    ];
    let published = [(2001, 1001), (2002, 1500), (2003, 1502)].map(|(port, to)| {
        let packet = dnat(udp("198.51.100.2", to), "192.0.2.1", port);
        (Hook::Forward, packet, "192.0.2.1", port)
    });
    let mut firewall = Firewall::read(&lab.router);
    let mut drops = 0;
    for (hook, packet, dst, port) in forward.chain(others).chain(published) {
        let counted = lab.dropped_by(&mut firewall, dst, port);
        match simulate(&firewall, &packet, hook, &env) {
            Outcome::Accepted => assert_eq!(counted, [], "{dst}:{port} was to pass"),
            Outcome::Dropped(dropped) => {
                drops += 1;
                assert_eq!(counted.len(), 1, "{dst}:{port}: {counted:?}, {dropped:#?}");
                assert!(
                    counted[0].is(&dropped),
                    "{dst}:{port}: {counted:?}, {dropped:#?}"
                );
            }
            other @ Outcome::CannotTell { .. } => panic!("{dst}:{port}: {other:#?}"),
        }
    }
    assert_eq!(drops, 34);
}

#[test]
fn legacy_rules_are_read_beside_nft_ones() {
    let Some(lab) = Lab::new() else {
        eprintln!("not compared with the kernel: making namespaces needs root");
        return;
    };
    let legacy = lab.router.run(|| {
        Command::new("iptables-legacy")
            .args([
                "-A", "FORWARD", "-p", "udp", "--dport", "1001", "-j", "DROP",
            ])
            .status()
    });
    if !legacy.unwrap().is_ok_and(|status| status.success()) {
        eprintln!("this machine has no legacy iptables");
        return;
    }
    sh(
        &lab.router,
        "iptables-nft -A FORWARD -p udp --dport 1002 -j DROP",
    );
    let mut firewall = Firewall::read(&lab.router);
    for (port, backend) in [
        (1001, Backend::IptablesLegacy),
        (1002, Backend::IptablesNft),
    ] {
        let counted = lab.dropped_by(&mut firewall, "198.51.100.2", port);
        let found: Vec<_> = counted
            .iter()
            .map(|moved| (moved.backend, moved.number, moved.packets))
            .collect();
        assert_eq!(found, [(backend, Some(1), 1)]);
    }
    // Of two chains with one priority the kernel asks the one that was made last: that is not to be seen.
    sh(&lab.router, "iptables-nft -P FORWARD DROP");
    let firewall = Firewall::read(&lab.router);
    let packet = FlowPacket {
        proto: Some(17),
        ..tcp("192.0.2.2", "198.51.100.2", 1001, "c0", "s0")
    };
    assert!(matches!(
        run(&firewall, &packet, Hook::Forward),
        Outcome::CannotTell { .. }
    ));
    assert_eq!(
        named(&firewall, &packet, Hook::Forward),
        "FORWARD policy ForwardPolicy unknown"
    );
    let both = Firewall::read(&lab.router).active_backends();
    assert_eq!(both, [Backend::IptablesNft, Backend::IptablesLegacy]);
}

#[test]
fn an_empty_namespace_has_no_rules() {
    let Some(netns) = namespace() else {
        eprintln!("not read: making namespaces needs root");
        return;
    };
    assert_eq!(Firewall::read(&netns), Firewall::default());
}
