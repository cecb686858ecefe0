//! MTU, checksums, queues, overlay.

use super::{Guide, row};

pub(super) const ROWS: &[Guide] = &[
    row(
        "mtu-exceeded",
        "ip link (mtu of bridge and uplink); docker network inspect (driver.mtu); ping -M do -s 1472 DESTINATION",
        "ip link set eth0 mtu 1400, and send big packets from a container",
    ),
    row(
        "pmtu-blackhole",
        "iptables -S | grep icmp; tracepath DESTINATION",
        "an uplink with a smaller MTU, and a rule that drops ICMP \"fragmentation needed\"",
    ),
    row(
        "veth-mtu-mismatch",
        "ip link show VETH; nsenter --net=/proc/PID/ns/net ip link show eth0",
        "ip link set eth0 mtu 9000 in the container's namespace, and ping -s 4000",
    ),
    row(
        "bad-checksum",
        "nstat -az | grep -i csum; ethtool -k IFACE | grep tx-checksum",
        "send a UDP packet with a wrong checksum from a raw socket",
    ),
    row(
        "fragment-lost",
        "nstat -az | grep -i Reasm",
        "send the first fragment of a datagram only",
    ),
    row(
        "queue-overflow",
        "tc -s qdisc show dev IFACE; cat /proc/net/softnet_stat (second column)",
        "tc qdisc add dev eth0 root tbf rate 100kbit burst 2000 limit 3000, and send faster",
    ),
    row(
        "overlay-broken",
        "ip -d link show type vxlan (id, dstport, remote), also in /run/docker/netns; bridge fdb show dev VXLAN; ss -lun | grep 4789",
        "two VXLAN devices with different ids, or one of both down",
    ),
];
