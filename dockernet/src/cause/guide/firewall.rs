//! Firewall.

use super::{Guide, row};

pub(super) const ROWS: &[Guide] = &[
    row(
        "forward-drop",
        "iptables -S FORWARD (order and policy); nft list ruleset",
        "iptables -F FORWARD; iptables -P FORWARD DROP",
    ),
    row(
        "ipv6-filter-drop",
        "ip6tables -S FORWARD",
        "ip6tables -I FORWARD -j DROP",
    ),
    row(
        "foreign-table-drop",
        "nft list ruleset: every base chain on the hook has its say; an accept ends only its own table",
        "nft add table inet mine; nft add chain inet mine forward '{ type filter hook forward priority 0; policy drop; }'",
    ),
    row(
        "iptables-backend-mix",
        "iptables-legacy-save and iptables-nft-save (or nft list ruleset): only one may hold rules",
        "iptables-legacy -I FORWARD -j DROP on a host whose Docker uses iptables-nft",
    ),
    row(
        "ipvs-no-backend",
        "ipvsadm -L -n in the namespace (Swarm: nsenter --net=/run/docker/netns/ingress_sbox ipvsadm -L -n); docker service ps SERVICE",
        "ipvsadm -A -t 198.51.100.10:8443 -s rr, without a server",
    ),
    row(
        "docker-user-drop",
        "iptables -S DOCKER-USER; iptables -L DOCKER-USER -v -n before and after an attempt",
        "iptables -I DOCKER-USER -i eth0 -j DROP",
    ),
    row(
        "network-isolation",
        "docker inspect of both containers (Networks); iptables -S DOCKER-ISOLATION-STAGE-2 or iptables -t raw -S",
        "ask a container on one bridge network by its address from another network",
    ),
    row(
        "icc-disabled",
        "docker network inspect (enable_icc); iptables -S FORWARD",
        "docker network create -o com.docker.network.bridge.enable_icc=false",
    ),
    row(
        "bridge-nf-foreign-drop",
        "sysctl net.bridge.bridge-nf-call-iptables; iptables -S FORWARD",
        "a DROP in FORWARD for BRIDGE to BRIDGE with bridge-nf-call-iptables=1",
    ),
    row(
        "bridge-filter-drop",
        "nft list tables bridge; ebtables -L; ebtables-legacy -L",
        "a drop in a chain of the bridge family, on any of its hooks",
    ),
    row(
        "direct-access-drop",
        "iptables -t raw -S PREROUTING (\"DROP DIRECT ACCESS\")",
        "Docker 28: ask a container's address from another machine with a route to it",
    ),
    row(
        "port-not-published",
        "docker port CONTAINER; docker network inspect (gateway_mode)",
        "a network with gateway_mode_ipv4=routed and a port that is not published",
    ),
    row(
        "routed-mode-host-port",
        "docker network inspect (gateway_mode); docker port CONTAINER",
        "gateway_mode_ipv4=routed with -p 8080:80, and ask the host's address",
    ),
    row(
        "host-input-drop",
        "iptables -S INPUT; nft list ruleset; ufw status verbose",
        "iptables -I INPUT -i docker0 -j DROP, and ask the bridge's address from a container",
    ),
    row(
        "firewalld-reload",
        "docker info (firewall backend, reload time); firewall-cmd --state; iptables -S DOCKER",
        "firewall-cmd --reload with an engine before 28.3.3",
    ),
    row(
        "nftables-backend-forwarding",
        "docker info (firewall backend); sysctl net.ipv4.ip_forward; iptables -S FORWARD",
        "Docker 29 with \"firewall-backend\": \"nftables\" and forwarding off",
    ),
    row(
        "container-firewall-drop",
        "nsenter --net=/proc/PID/ns/net iptables-save; the same with nft list ruleset",
        "iptables -I INPUT -j DROP in the container's namespace",
    ),
    row(
        "bpf-drop",
        "bpftool net; tc filter show dev IFACE ingress (and egress)",
        "attach a tc or XDP program that drops",
    ),
    row(
        "nat-rules-missing",
        "iptables -t nat -S DOCKER (or nft list ruleset) beside docker ps",
        "iptables -t nat -F DOCKER",
    ),
    row(
        "masquerade-missing",
        "iptables -t nat -S POSTROUTING; docker network inspect (enable_ip_masquerade)",
        "iptables -t nat -F POSTROUTING",
    ),
];
