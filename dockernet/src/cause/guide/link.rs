//! Bridges and links.

use super::{Guide, row};

pub(super) const ROWS: &[Guide] = &[
    row(
        "bridge-down",
        "ip link show BRIDGE; ip route show dev BRIDGE; bridge link",
        "ip link set BRIDGE down, or ip link del BRIDGE",
    ),
    row(
        "stp-forward-delay",
        "ip -d link show BRIDGE (stp_state, forward_delay); bridge link (state)",
        "ip link set BRIDGE type bridge forward_delay 1500 stp_state 1, and start a container",
    ),
    row(
        "veth-down",
        "ip link show VETH; nsenter --net=/proc/PID/ns/net ip link",
        "ip link set VETH down",
    ),
    row(
        "veth-off-bridge",
        "ip link show VETH (master); bridge link; networkctl status VETH",
        "ip link set VETH nomaster",
    ),
    row(
        "bridge-port-isolated",
        "bridge -d link show dev VETH (isolated, flood, bcast_flood, mcast_flood)",
        "bridge link set dev VETH isolated on for two containers' veths",
    ),
    row(
        "duplicate-mac",
        "docker network inspect (MacAddress); bridge fdb show br BRIDGE",
        "docker run --mac-address with one address twice, on one network",
    ),
    row(
        "stale-neighbour",
        "ip neigh show ADDRESS where the sender is; nsenter --net=/proc/PID/ns/net ip link show eth0",
        "ip neigh replace CONTAINER lladdr 02:42:ac:00:00:99 dev BRIDGE nud permanent",
    ),
    row(
        "macvlan-host-isolation",
        "docker network inspect (Driver, parent); ip route get CONTAINER",
        "docker network create -d macvlan -o parent=eth0, and ask the container from the host",
    ),
    row(
        "macvlan-parent-down",
        "docker network inspect (parent); ip link show PARENT",
        "ip link set PARENT down",
    ),
    row(
        "uplink-no-carrier",
        "ip link show UPLINK (NO-CARRIER); ethtool UPLINK",
        "set the other end of the uplink down",
    ),
    row(
        "connected-route-conflict",
        "ip route show SUBNET: one line for a prefix; ip addr",
        "give another interface an address in the network's subnet, and set the bridge down and up",
    ),
];
