//! The container or program at the end of the way.

use super::{Guide, row};

pub(super) const ROWS: &[Guide] = &[
    row(
        "no-listener",
        "nsenter --net=/proc/PID/ns/net ss -lntu; docker port CONTAINER",
        "docker run -p 8080:8080 with a program that listens on 80",
    ),
    row(
        "listener-on-loopback",
        "nsenter --net=/proc/PID/ns/net ss -lntu",
        "httpd -p 127.0.0.1:80 in the container",
    ),
    row(
        "published-on-loopback",
        "docker port CONTAINER",
        "docker run -p 127.0.0.1:8080:80, asked from another machine",
    ),
    row(
        "container-stopped",
        "docker ps -a; docker logs CONTAINER",
        "docker stop CONTAINER, or docker network disconnect",
    ),
    row(
        "container-paused",
        "docker ps (Paused); docker inspect (State.Paused)",
        "docker pause CONTAINER, and send it UDP",
    ),
    row(
        "socket-buffer-full",
        "nsenter --net=/proc/PID/ns/net ss -uamn (d: dropped); sysctl net.core.rmem_max",
        "a UDP program with a small SO_RCVBUF that does not read",
    ),
    row(
        "container-address-changed",
        "docker inspect (IPAddress) beside nsenter --net=/proc/PID/ns/net ip addr",
        "ip addr del the address in the container's namespace",
    ),
    row(
        "duplicate-address",
        "docker network inspect (Containers); arping -D -I BRIDGE ADDRESS",
        "ip addr add another container's address in a container's namespace",
    ),
    row(
        "hairpin-off",
        "bridge -d link show dev VETH (hairpin); docker info (userland-proxy)",
        "\"userland-proxy\": false, hairpin off, and a container that asks its own published port",
    ),
    row(
        "bridge-nf-off",
        "sysctl net.bridge.bridge-nf-call-iptables",
        "bridge-nf-call-iptables=0 and a container that asks its sibling's published port at the host's address",
    ),
    row(
        "accept-queue-full",
        "nsenter --net=/proc/PID/ns/net ss -ltn (Recv-Q above Send-Q); nstat -az TcpExtListenOverflows",
        "a server with listen(1) that never accepts, and some connections to it",
    ),
    row(
        "syn-queue-full",
        "nsenter --net=/proc/PID/ns/net ss -tn state syn-recv; nstat -az TcpExtTCPReqQFullDrop; sysctl net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_syncookies=0 in the container's namespace, a small backlog, and SYNs whose answers are dropped",
    ),
];
