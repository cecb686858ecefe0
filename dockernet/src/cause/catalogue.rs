//! The causes as prose: what `explain ID` prints, and the list of ids that options are checked against.

/// A cause of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in every output.
    pub id: &'static str,
    /// One line.
    pub title: &'static str,
    /// What it looks like from outside.
    pub symptom: &'static str,
    /// What the tool sees, and what confirms it.
    pub evidence: &'static str,
    /// What mends it, and what keeps it mended.
    pub fix: &'static str,
}

macro_rules! catalogue {
    ($($id:literal: $title:literal, $symptom:literal, $evidence:literal, $fix:literal;)+) => {
        /// Every cause, in the order of a packet's way.
        pub const CATALOGUE: &[Entry] = &[$(Entry {
            id: $id, title: $title, symptom: $symptom, evidence: $evidence, fix: $fix,
        },)+];
        /// Their ids.
        pub const IDS: &[&str] = &[$($id,)+];
    };
}

catalogue! {
    "ip-forward-disabled": "The host forwards nothing",
        "Published ports time out from other machines and containers reach nothing outside; from the host itself everything works.",
        "IP_INADDRERRORS in ip_error on the uplink and on the bridges. Confirmed by net.ipv4.ip_forward = 0 at the moment of the drop.",
        "sysctl -w net.ipv4.ip_forward=1, and a file in /etc/sysctl.d so that it stays. Find who sets 0: CIS hardening scripts and systemd-sysctl running after Docker are the usual ones.";
    "interface-forwarding-disabled": "One interface does not forward",
        "As if ip_forward were 0, yet it reads 1; curl localhost:PORT on the host works, tcpdump on the uplink shows the SYNs, the bridge shows nothing.",
        "IP_INADDRERRORS in ip_error on that interface only. Confirmed by net.ipv4.conf.IFACE.forwarding = 0 of the interface that the packet came in by: that one decides.",
        "sysctl -w net/ipv4/conf/IFACE/forwarding=1. Setting ip_forward=1 again does nothing while it is 1 already.";
    "ipv6-forwarding-disabled": "The host forwards no IPv6",
        "IPv6 to and from containers is dead while IPv4 works.",
        "A drop in ip6_forward. Confirmed by net.ipv6.conf.all.forwarding = 0.",
        "sysctl -w net/ipv6/conf/all/forwarding=1; with router advertisements on the uplink also accept_ra=2, or the host loses its own route.";
    "ipv6-disabled": "IPv6 is switched off where the packet arrived",
        "A container is reached by IPv4 but not by its IPv6 address.",
        "IPV6DISABLED in ip6_rcv_core, for a packet or a neighbour solicitation that was meant for it. Confirmed by disable_ipv6 = 1.",
        "sysctl -w net/ipv6/conf/IFACE/disable_ipv6=0 there, and for good: enable IPv6 on the network (docker network create --ipv6) or drop the --sysctl that disables it.";
    "no-route": "There is no route to the destination",
        "Network is unreachable, at once.",
        "IP_INNOROUTES in ip_error. Confirmed when no route and no default route matches.",
        "Bring the uplink or its default route back.";
    "route-rejects": "A route or policy rule refuses the destination",
        "Timeout (blackhole), no route to host (unreachable) or administratively prohibited (prohibit).",
        "A drop in ip_error, dst_discard or ip6_pkt_discard. Confirmed by the rule or route that matches, which is named.",
        "Delete the route or rule named; look for who adds it.";
    "rp-filter": "Reverse path filter",
        "One way works, the other does not, on hosts or containers with two networks or a VPN.",
        "IP_RPFILTER. Confirmed by max(net.ipv4.conf.all, net.ipv4.conf.IFACE).rp_filter and the route back, which leaves by another interface.",
        "rp_filter=2 (loose) on that interface, or a route back by the interface the packet came in by.";
    "martian-source": "A packet from outside claims an address of ours",
        "A single peer, or all behind a VPN, are not reachable.",
        "IP_LOCAL_SOURCE in ip_rcv_finish_core (before 6.13 without a reason). Confirmed when the source address is on an interface of this namespace.",
        "Find the duplicate address, the loop, or the rule that sends our own packets back.";
    "ttl-exceeded": "The time to live ran out",
        "Time to live exceeded.",
        "IP_INHDR in ip_forward or ip6_forward with TTL 1 on arrival.",
        "A traceroute does this on purpose. Many of them are a routing loop.";
    "mtu-exceeded": "The packet is bigger than the way out",
        "Connections open and then stall or start slowly.",
        "PKT_TOO_BIG in ip_forward. Confirmed by the packet's length and the outgoing interface's MTU at that moment.",
        "Give the Docker network the uplink's MTU (com.docker.network.driver.mtu, or mtu in daemon.json); clamp the MSS until then.";
    "forward-drop": "The FORWARD chain drops it",
        "Published ports and outbound connections time out.",
        "NETFILTER_DROP on the forward hook. Confirmed by a simulation of the rules or by the rule's own counter: the policy DROP without Docker's accepts, or a rule in FORWARD.",
        "Restart Docker so that it writes its rules again; keep rules of your own in DOCKER-USER.";
    "ipv6-filter-drop": "The IPv6 FORWARD chain drops it",
        "IPv6 to containers times out.",
        "NETFILTER_DROP on the IPv6 forward hook, by policy or rule.",
        "Accept it in DOCKER-USER of ip6tables, or set ip-forward-no-drop in daemon.json.";
    "foreign-table-drop": "Another nft table drops it",
        "Docker's rules show accepts, the packets die all the same.",
        "NETFILTER_DROP in a table that is neither Docker's nor iptables': an accept ends only its own table.",
        "Accept the bridges' interfaces in that table as well.";
    "docker-user-drop": "A rule of yours in DOCKER-USER",
        "Timeout, or refused where the rule rejects.",
        "NETFILTER_DROP on the forward hook. Confirmed by the rule, named with its number.",
        "It may be meant so. Otherwise delete it; a plain -i eth0 -j DROP kills answers too: accept RELATED,ESTABLISHED first.";
    "network-isolation": "Docker keeps two networks apart",
        "A container does not reach another one by address, by name neither; both reach the world.",
        "NETFILTER_DROP in DOCKER-ISOLATION (up to 27) or in the raw table (28 and later), sender and receiver on different networks.",
        "Connect one of them to the other's network, or publish the port and use the host's address.";
    "icc-disabled": "The network does not let its containers talk",
        "Containers of one network time out among themselves.",
        "NETFILTER_DROP from the bridge's forward hook by the rule that drops bridge to bridge, and the network's enable_icc=false.",
        "Publish ports, or recreate the network with enable_icc=true.";
    "bridge-nf-foreign-drop": "A FORWARD rule reaches bridged packets",
        "Containers of one network do not reach each other since a firewall was added.",
        "NETFILTER_DROP from the bridge's forward hook by a rule that is not Docker's: bridge-nf-call-iptables sends bridged packets through it.",
        "Accept -i BRIDGE -o BRIDGE before it.";
    "bridge-filter-drop": "A bridge filter drops it",
        "Containers of one network lose packets to each other.",
        "NETFILTER_DROP in the bridge family (ebtables, nft bridge).",
        "Delete the rule named.";
    "internal-network": "The network is internal",
        "Containers on it reach nothing outside, and nobody outside reaches them.",
        "NETFILTER_DROP by the rule that keeps the network apart; the network was made with --internal.",
        "It may be meant so. Otherwise connect the container to a second network.";
    "direct-access-drop": "A container's address is not reached from outside",
        "Routed access to container addresses times out since Docker 28.",
        "NETFILTER_DROP on the prerouting hook, no conntrack entry, by Docker's rule in the raw table.",
        "Publish the port; or trusted_host_interfaces, gateway_mode nat-unprotected, or allow-direct-routing for routed setups.";
    "port-not-published": "The container's port is not published",
        "A routed network's port times out.",
        "NETFILTER_DROP on the forward hook by Docker's rule for unpublished ports.",
        "Publish it.";
    "host-input-drop": "The host's own firewall drops it",
        "Containers do not reach a service of the host by its bridge address.",
        "NETFILTER_DROP on the input hook. Confirmed by the rule or policy named.",
        "Allow the port for the bridge's interface.";
    "container-firewall-drop": "A firewall inside the container drops it",
        "Timeout to one container only; the host's rules are clean.",
        "NETFILTER_DROP in the container's own namespace. Confirmed by the rule there.",
        "Change the rules in the image.";
    "no-listener": "Nothing listens on that port",
        "Connection refused; through docker-proxy: connection reset.",
        "NO_SOCKET in the receiver's namespace. Confirmed by its sockets, which are listed.",
        "Start the program, or publish the port that it really uses.";
    "listener-on-loopback": "The program listens on loopback only",
        "Refused from outside, works inside the container.",
        "NO_SOCKET in the container. Confirmed by a listener on 127.0.0.1 or [::1] with that port.",
        "Bind 0.0.0.0 or [::].";
    "published-on-loopback": "The port is published for this host alone",
        "Refused from other machines, works on the host.",
        "NO_SOCKET on the host (or Docker 28's raw rule). Confirmed by the published address.",
        "Publish without 127.0.0.1 if others should reach it.";
    "container-stopped": "The container that publishes the port does not run",
        "Refused on a published port.",
        "NO_SOCKET on the host at a port that a stopped container publishes. Confirmed by the container's state.",
        "docker start CONTAINER; docker logs CONTAINER says why it stopped.";
    "container-address-changed": "The container lost the address Docker gave it",
        "No route to host after three seconds.",
        "NEIGH_FAILED, or a drop in the container for an address it no longer has. Confirmed: Docker's address is on none of its interfaces.",
        "Reconnect the container to its network; find what changes addresses inside.";
    "duplicate-address": "Two containers have one address",
        "Flapping: now one answers, now the other, which refuses.",
        "NO_SOCKET in a container for an address that Docker gave to another one. Confirmed: an interface of this one has it as well.",
        "Take the address from the container that Docker did not give it to; use names.";
    "dnat-to-dead-address": "A port leads to an address that nobody has",
        "No route to host after three seconds on a published port.",
        "NEIGH_FAILED for the DNAT target. Confirmed by the rule and by no container having that address.",
        "Restart Docker so that it writes its rules again, or delete the stale one.";
    "stp-forward-delay": "Spanning tree holds new ports back",
        "The first thirty seconds after each container start are lost.",
        "BRIDGE_INGRESS_STP_STATE in br_handle_frame. Confirmed by the port's state, listening or learning, at that moment.",
        "Switch spanning tree off on the bridge.";
    "veth-down": "A container's interface is down",
        "One container is cut off.",
        "QDISC_DROP on its interface, or NEIGH_FAILED towards it. Confirmed by the interface's state.",
        "ip link set IFACE up.";
    "bad-checksum": "A checksum is wrong",
        "Losses, often on overlay networks or virtual machines.",
        "TCP_CSUM, UDP_CSUM, IP_CSUM. Confirmed by the namespace's InCsumErrors or by the header itself.",
        "Switch transmit checksum offload off on the sending virtual device.";
    "socket-buffer-full": "The program reads too slowly",
        "UDP losses under load.",
        "SOCKET_RCVBUFF. Confirmed by the socket's own drop counter.",
        "Raise net.core.rmem_max and the program's SO_RCVBUF; read faster.";
    "dns-upstream-unreachable": "A container's name server cannot be reached",
        "Names do not resolve in containers; addresses work.",
        "A drop of port 53 from the container's address to one of its name servers (Docker's resolver asks from inside the container's namespace).",
        "Let it pass, or give the container a server that can be reached (--dns).";
    "nat-rules-missing": "Docker's address translation is gone",
        "Published ports work by docker-proxy alone, and the container sees its gateway as the client; or they are refused.",
        "No drop. check: no rule in table nat leads from the published port to the container.",
        "Restart Docker, which writes its rules again; find what flushes them (a firewall's reload).";
    "masquerade-missing": "Outgoing connections keep the container's address",
        "Containers reach the host and nothing beyond; published ports work.",
        "No drop here: packets leave with a source that nobody answers to. check: no rule in table nat translates the network's subnet.",
        "Restart Docker; or enable_ip_masquerade=true where it was switched off.";
    "routed-mode-host-port": "A routed network has no ports on the host",
        "Refused on the published port of the host; the container's own address works.",
        "NO_SOCKET on the host; the network was made with gateway_mode_ipv4=routed.",
        "Use the container's address and a route to it, or recreate the network with gateway_mode_ipv4=nat.";
    "nftables-backend-forwarding": "iptables' FORWARD stops Docker's nftables backend",
        "Published ports and outgoing connections time out after the engine was moved to nftables (29 and later).",
        "NETFILTER_DROP on the forward hook by the policy of a leftover iptables chain, while the tables docker-bridges accept.",
        "iptables -P FORWARD ACCEPT, and enable forwarding by hand: that backend leaves both alone.";
    "bridge-lost-address": "A bridge has lost its address",
        "All containers of a network are cut off from the world and from the host.",
        "Drops on the forward hook towards the uplink. check: the gateway that Docker names is on no bridge.",
        "Give the address back (ip addr add), and keep networkd or NetworkManager off Docker's bridges.";
    "bridge-down": "A bridge is down or gone",
        "All containers of a network are cut off; new ones fail to start (could not find bridge).",
        "BRIDGE_INGRESS_STP_STATE in br_handle_frame; OTHERHOST on orphaned veths. check: the interface is down, or not there.",
        "ip link set BRIDGE up; restart Docker where it was deleted.";
    "veth-off-bridge": "A container's cable is not plugged into its bridge",
        "One container is cut off, its siblings are well.",
        "NEIGH_FAILED on the bridge, or a forward drop with the veth as its device. check: the veth has no master, or a wrong one.",
        "ip link set VETH master BRIDGE; give networkd a .network file with Unmanaged=yes for veths.";
    "bridge-port-isolated": "A port of a bridge is isolated, or gets no flooded frames",
        "Containers of one network do not find each other; the world reaches both.",
        "No drop. check: isolated, flood or bcast_flood of the port.",
        "bridge link set dev VETH isolated off.";
    "veth-mtu-mismatch": "MTUs differ along one cable",
        "Small packets pass, large ones vanish without an error.",
        "A drop in __dev_forward_skb2 below veth_xmit. check: both ends of the veth and the bridge.",
        "One MTU for all of them: com.docker.network.driver.mtu.";
    "macvlan-parent-down": "What a macvlan or ipvlan network sits on is down",
        "All its containers are dead.",
        "QDISC_DROP in the container. check: the parent's state.",
        "ip link set PARENT up.";
    "macvlan-host-isolation": "The host does not reach its own macvlan containers",
        "Every machine reaches them, only the host does not, nor they it.",
        "NEIGH_FAILED on both sides: it is how macvlan and ipvlan work.",
        "A macvlan interface of the host's own on the same parent.";
    "uplink-no-carrier": "An uplink has no carrier",
        "Nothing gets out or in.",
        "QDISC_DROP, or a drop in __dev_forward_skb2. check: NO-CARRIER.",
        "The cable, the switch, the other end.";
    "duplicate-mac": "Two interfaces on one network have one MAC address",
        "Connections to both stall by turns.",
        "Drops in br_handle_frame_finish and retransmissions. check: the MAC addresses of all ports.",
        "Take mac_address out of one of the containers.";
    "stale-neighbour": "A neighbour entry names a wrong MAC address",
        "A new container with an old address is dead for minutes.",
        "OTHERHOST in ip_rcv_core of others. check: the entry and the interface's MAC address differ.",
        "ip neigh del ADDRESS dev BRIDGE.";
    "container-paused": "The container is paused",
        "Connections open and get no answer.",
        "No drop. check: Docker says paused.",
        "docker unpause CONTAINER.";
    "policy-rule-misroutes": "A policy rule takes packets for containers elsewhere",
        "Containers of one network are not reached, or do not reach another network; the bridge itself works.",
        "Packets leave by the uplink; those that come back are IP_LOCAL_SOURCE. check: ip rule and the table that it names.",
        "A rule before it: ip rule add to SUBNET lookup main.";
    "route-shadows-subnet": "A more specific route takes a Docker subnet away",
        "Published ports time out while a VPN is up.",
        "A forward drop, or packets that leave by the wrong interface. check: the route to the container is not its bridge.",
        "Other subnets for Docker (bip, default-address-pools), or the prefix out of the VPN's routes.";
    "subnet-overlaps-lan": "A Docker subnet covers addresses of the LAN",
        "Only some clients time out: those with an address in it.",
        "Answers go into the bridge: NEIGH_FAILED or a forward drop. check: subnets against the host's own addresses and gateways.",
        "Another --subnet, and default-address-pools for what is made later.";
    "connected-route-conflict": "Two interfaces claim one prefix",
        "A network's containers are not reached, or only sometimes.",
        "No drop of its own. check: a second interface has an address of the same subnet.",
        "Take the address off the one that should not have it.";
    "container-no-default-route": "A container has no default route",
        "In: timeout. Out: network is unreachable.",
        "No drop; IpOutNoRoutes in the container. check: its routes, on a network that has a gateway.",
        "Restart the container, and find what takes the route away inside.";
    "container-wrong-gateway": "A container sends by a wrong gateway",
        "No route to host after three seconds.",
        "NEIGH_FAILED in the container. check: its default route and the gateway that Docker gave it.",
        "ip route replace default via GATEWAY in its namespace.";
    "pmtu-blackhole": "Nobody tells senders that their packets are too big",
        "Connections open, small answers come, large ones hang (TLS).",
        "Repeated PKT_TOO_BIG for full-size packets and a drop of the host's ICMP message. check: MTUs and the rules for ICMP.",
        "Let ICMP type 3 code 4 pass; the uplink's MTU for the network; clamp the MSS until then.";
    "route-localnet": "localhost does not lead to containers",
        "curl localhost:PORT on the host times out; the host's address works. Only with userland-proxy false.",
        "NETFILTER_DROP below __ip_local_out without an nft frame. check: route_localnet of the bridge and of all.",
        "sysctl -w net/ipv4/conf/BRIDGE/route_localnet=1, or userland-proxy true.";
    "hairpin-off": "A container does not reach its own published port",
        "It times out from the container itself only. Only with userland-proxy false.",
        "A drop in br_handle_frame_finish on its own veth. check: hairpin_mode of the port.",
        "bridge link set dev VETH hairpin on, or userland-proxy true.";
    "bridge-nf-off": "Rules do not see what is bridged",
        "Siblings do not reach a published port by the host's address (userland-proxy false); enable_icc=false has no effect.",
        "NO_SOCKET for a SYN-ACK in the container. check: net.bridge.bridge-nf-call-iptables.",
        "modprobe br_netfilter and set it to 1; or talk by name.";
    "iptables-backend-mix": "Rules in iptables-legacy and in iptables-nft",
        "iptables -S looks right, packets die all the same.",
        "NETFILTER_DROP by the backend that nobody looks at. check: both hold rules.",
        "Keep one (update-alternatives --config iptables) and empty the other.";
    "conntrack-full": "The connection table is full",
        "New connections fail, old ones go on; the kernel's log says table full.",
        "NETFILTER_DROP in nf_hook_slow without a rule and without a conntrack entry. check: nf_conntrack_count and nf_conntrack_max.",
        "Raise net.netfilter.nf_conntrack_max; shorten timeouts; find who fills it.";
    "conntrack-stale-udp": "A UDP entry outlived what it led to",
        "Some clients of a UDP port get no answer since a restart, new ones do.",
        "NO_SOCKET in __udp4_lib_rcv, or NEIGH_FAILED to an old address. check: the connection table against the published ports.",
        "conntrack -D -p udp --orig-port-dst PORT.";
    "accept-queue-full": "A program does not accept its connections",
        "Connections time out under load, or always when the program hangs.",
        "No drop; ListenOverflows and ListenDrops. check: more connections wait than the backlog allows.",
        "A larger backlog, more workers; restart it if it hangs.";
    "stale-hosts-entry": "A name in a hosts file leads to another container",
        "A linked name reaches the wrong container, or nobody, after a restart.",
        "No drop, or NEIGH_FAILED. check: the entry's address is no longer the named container's.",
        "Restart the container that has the entry; use a network of your own and names.";
    "overlay-network": "An overlay network reaches to other nodes",
        "No fault: what happens on other nodes is not seen from here.",
        "check names it.",
        "Look at docker node ls, and let nodes exchange 4789/udp, 7946/tcp and 7946/udp.";
    "swarm-ingress": "Swarm's ingress serves published ports",
        "No fault: IPVS spreads connections over nodes and tasks.",
        "check names it.",
        "docker service ps SERVICE says which tasks there are.";
    "rootless-engine": "The engine runs without root",
        "No fault: its networks are in a namespace of its own.",
        "check names it.",
        "Give that namespace with --netns.";
    "embedded-dns-broken": "Docker's resolver does not answer in a container",
        "No name resolves in one container, or in all while dockerd is down; addresses work.",
        "NO_SOCKET on the container's loopback for port 53. check: no rule leads 127.0.0.11:53 to a socket there.",
        "Restart the container (its rules were flushed), or start dockerd (the resolver is a part of it).";
    "dns-wrong-resolver": "A container asks the wrong name server",
        "Names of internal zones do not resolve, or none does, on the default bridge.",
        "No drop. check: resolv.conf names loopback, or Docker's fallback while the host asks a server of its own.",
        "A network of your own; dns in daemon.json with a server that containers can reach.";
    "network-db-stale": "Docker's network database and the host do not agree",
        "dockerd does not start (error initializing network controller), or old bridges keep subnets.",
        "No drop. check: the engine's last error, and bridges that no network owns.",
        "Delete the leftover bridge; as the last resort move local-kv.db away and make the networks again.";
    "address-pools-exhausted": "No subnet is left for a new network",
        "docker network create and docker compose up fail: could not find an available, non-overlapping address pool.",
        "No drop. check: the pools against networks and the host's routes.",
        "docker network prune; default-address-pools with smaller subnets.";
    "engine-config": "dockerd's configuration is wrong",
        "dockerd does not start.",
        "No drop. check: daemon.json cannot be read, or bip is no address for a bridge.",
        "Mend the value named.";
    "engine-down": "The container engine does not run, or does not answer",
        "docker commands fail; names do not resolve in containers; nothing is restarted.",
        "No drop of its own. check: its socket, its process and its last error.",
        "Mend its last error; systemctl start docker.";
}

/// The entry of an id.
#[must_use]
pub fn find(id: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.id == id)
}
