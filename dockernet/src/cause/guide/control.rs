//! DNS and control plane.

use super::{Guide, row};

pub(super) const ROWS: &[Guide] = &[
    row(
        "dns-upstream-unreachable",
        "docker exec CONTAINER cat /etc/resolv.conf; dockerd's log (\"[resolver] failed to query\")",
        "iptables -I DOCKER-USER -p udp --dport 53 -j DROP",
    ),
    row(
        "stale-hosts-entry",
        "docker exec CONTAINER cat /etc/hosts beside docker inspect (IPAddress) of the container that is meant",
        "docker run --link db:db, then remove db, start something else, and run db again",
    ),
    row(
        "embedded-dns-broken",
        "nsenter --net=/proc/PID/ns/net iptables -t nat -S (DOCKER_OUTPUT)",
        "iptables -t nat -F in the namespace of a container on a user-defined network",
    ),
];
