//! Conntrack and NAT.

use super::{Guide, row};

pub(super) const ROWS: &[Guide] = &[
    row(
        "snat-exhausted",
        "conntrack -S (insert_failed, drop); conntrack -L -d DESTINATION | wc -l",
        "a MASQUERADE rule with --to-ports of one port, and two connections",
    ),
    row(
        "conntrack-full",
        "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max; dmesg | grep 'table full'",
        "lower nf_conntrack_max (only the machine's first namespace can) and open more connections",
    ),
    row(
        "conntrack-invalid",
        "conntrack -S (invalid); iptables -S FORWARD | grep INVALID",
        "nf_conntrack_tcp_loose=0 and a segment of a connection that conntrack does not know",
    ),
    row(
        "conntrack-invalid-reset",
        "conntrack -S (invalid); sysctl net.netfilter.nf_conntrack_tcp_be_liberal",
        "an acknowledgement outside the window through a published port",
    ),
    row(
        "conntrack-flushed",
        "conntrack -L -p tcp --orig-port-dst PORT; sysctl net.netfilter.nf_conntrack_tcp_loose",
        "conntrack -F in the middle of a connection with nf_conntrack_tcp_loose=0",
    ),
    row(
        "conntrack-stale-udp",
        "conntrack -L -p udp --orig-port-dst PORT beside docker inspect (IPAddress)",
        "send UDP to a port before a container publishes it, from one source port all the time",
    ),
    row(
        "dnat-to-dead-address",
        "iptables -t nat -S DOCKER; docker inspect (IPAddress)",
        "iptables -t nat -I PREROUTING -p tcp --dport 8080 -j DNAT to an unused address of the bridge's subnet",
    ),
];
