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
    row(
        "dns-wrong-resolver",
        "docker exec CONTAINER cat /etc/resolv.conf beside the host's; docker inspect (HostConfig.Dns); dns in daemon.json",
        "a container on the default bridge of a host whose resolv.conf names only 127.0.0.1",
    ),
    row(
        "network-db-stale",
        "journalctl -u docker; ls -l /var/lib/docker/network/files; docker network ls beside ip link show type bridge",
        "kill dockerd while it makes networks, or remove local-kv.db under a running engine",
    ),
    row(
        "address-pools-exhausted",
        "docker network inspect (IPAM); default-address-pools in daemon.json; ip route",
        "docker network create until it fails, with one small default-address-pool",
    ),
    row(
        "engine-config",
        "systemctl cat docker; dockerd --validate --config-file /etc/docker/daemon.json; journalctl -u docker",
        "\"bip\": \"172.17.0.0/16\" in daemon.json, then start dockerd",
    ),
    row(
        "engine-down",
        "systemctl status docker; journalctl -u docker; docker version",
        "stop dockerd with live-restore on",
    ),
    row(
        "overlay-network",
        "docker network ls --filter driver=overlay; docker node ls",
        "docker swarm init, docker network create -d overlay --attachable",
    ),
    row(
        "swarm-ingress",
        "docker service ps SERVICE; docker network inspect ingress",
        "docker service create --publish 80:80",
    ),
    row(
        "rootless-engine",
        "docker context ls; ps -o user= -C dockerd",
        "dockerd-rootless-setuptool.sh install",
    ),
    row(
        "kernel-tells-less",
        "dockernet-trace doctor",
        "boot a kernel before 5.17",
    ),
];
