//! Forwarding and routing.

use super::{Guide, row};

pub(super) const ROWS: &[Guide] = &[
    row(
        "ip-forward-disabled",
        "sysctl net.ipv4.ip_forward; docker info (its warnings); grep -r ip_forward /etc/sysctl.conf /etc/sysctl.d /usr/lib/sysctl.d",
        "sysctl -w net.ipv4.ip_forward=0 after Docker has started",
    ),
    row(
        "interface-forwarding-disabled",
        "sysctl net.ipv4.conf.all.forwarding net/ipv4/conf/IFACE/forwarding of the interface that packets come in by",
        "sysctl -w net/ipv4/conf/eth0/forwarding=0, then ask a published port from another machine",
    ),
    row(
        "ipv6-forwarding-disabled",
        "sysctl net.ipv6.conf.all.forwarding; ip -6 route show default",
        "sysctl -w net/ipv6/conf/all/forwarding=0 with an IPv6 network",
    ),
    row(
        "ipv6-route-lost",
        "sysctl net/ipv6/conf/IFACE/accept_ra net.ipv6.conf.all.forwarding; ip -6 route show default",
        "sysctl -w net/ipv6/conf/all/forwarding=1 on a host whose default route a router has advertised, accept_ra being 1",
    ),
    row(
        "ipv6-disabled",
        "nsenter --net=/proc/PID/ns/net sysctl net.ipv6.conf.all.disable_ipv6; docker inspect (Sysctls, GlobalIPv6Address)",
        "sysctl -w net/ipv6/conf/eth0/disable_ipv6=1 in the container's namespace",
    ),
    row(
        "no-route",
        "ip route get DESTINATION from SOURCE iif BRIDGE; ip route show default; ip link",
        "ip route del default on the host",
    ),
    row(
        "route-rejects",
        "ip rule; ip route show table all type blackhole (and prohibit, unreachable)",
        "ip route add prohibit 203.0.113.0/24",
    ),
    row(
        "policy-rule-misroutes",
        "ip rule; ip route show table N for each table that a rule names; ip route get CONTAINER",
        "ip rule add from all lookup 100 prio 100 with only a default route in table 100",
    ),
    row(
        "route-shadows-subnet",
        "ip route get CONTAINER: the device should be the network's bridge; ip route show",
        "ip route add 172.17.0.0/17 via a router of the LAN",
    ),
    row(
        "subnet-overlaps-lan",
        "docker network inspect (Subnet) beside the clients' addresses; ip route get CLIENT",
        "docker network create --subnet with a part of the LAN's prefix",
    ),
    row(
        "container-wrong-gateway",
        "nsenter --net=/proc/PID/ns/net ip route; docker network inspect (Gateway)",
        "ip route replace default via an unused address in the container's namespace",
    ),
    row(
        "bridge-lost-address",
        "ip -4 addr show BRIDGE; docker network inspect (Gateway); networkctl status BRIDGE",
        "ip addr flush dev docker0",
    ),
    row(
        "rp-filter",
        "sysctl net.ipv4.conf.all.rp_filter net/ipv4/conf/IFACE/rp_filter (the larger one counts); ip route get SOURCE",
        "rp_filter=1 on an interface that gets packets whose way back leads elsewhere",
    ),
    row(
        "martian-source",
        "ip addr; sysctl net.ipv4.conf.all.log_martians=1, then dmesg",
        "send a packet from outside with one of the host's own addresses as its source",
    ),
    row(
        "route-localnet",
        "sysctl net/ipv4/conf/BRIDGE/route_localnet; iptables -t nat -S POSTROUTING; docker info (userland-proxy)",
        "\"userland-proxy\": false, then route_localnet=0 and curl localhost:PORT",
    ),
    row(
        "ttl-exceeded",
        "traceroute DESTINATION; ip route get DESTINATION on each router",
        "ping -t 1 from a container",
    ),
    row(
        "internal-network",
        "docker network inspect (Internal); docker inspect (Networks)",
        "docker network create --internal, and ask a container on it from outside",
    ),
    row(
        "container-no-default-route",
        "nsenter --net=/proc/PID/ns/net ip route; docker network inspect (Internal)",
        "ip route del default in the container's namespace",
    ),
];
