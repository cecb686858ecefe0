//! DNS and control plane.

use super::{Guide, row};

pub(super) const ROWS: &[Guide] = &[
    row(
        "dns-upstream-unreachable",
        "docker exec CONTAINER cat /etc/resolv.conf; dockerd's log (\"[resolver] failed to query\")",
        "iptables -I DOCKER-USER -p udp --dport 53 -j DROP",
    ),
    row(
        "embedded-dns-broken",
        "nsenter --net=/proc/PID/ns/net iptables -t nat -S (DOCKER_OUTPUT)",
        "iptables -t nat -F in the namespace of a container on a user-defined network",
    ),
];
