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
        "sysctl -w net/ipv6/conf/all/forwarding=1; with router advertisements on the uplink first accept_ra=2, or the host loses its own route.";
    "ipv6-disabled": "IPv6 is switched off where the packet arrived",
        "A container is reached by IPv4 but not by its IPv6 address.",
        "IPV6DISABLED in ip6_rcv_core, for a packet or a neighbour solicitation that was meant for it. Confirmed by disable_ipv6 = 1.",
        "sysctl -w net/ipv6/conf/IFACE/disable_ipv6=0 there, and for good: enable IPv6 on the network (docker network create --ipv6) or drop the --sysctl that disables it.";
    "no-route": "There is no route to the destination",
        "Network is unreachable, at once.",
        "IP_INNOROUTES in ip_error. Confirmed when no route and no default route matches.",
        "Bring the uplink or its default route back.";
    "ipv6-route-lost": "The host gave up its advertised IPv6 route",
        "The host and its containers reach nothing beyond the link by IPv6 since forwarding was switched on.",
        "IP_INNOROUTES in ip6_pkt_discard. Confirmed by forwarding = 1 with accept_ra = 1 on an interface where a router advertises itself, and no default route. check: likely, a risk, where the interface has an address of the internet.",
        "sysctl -w net/ipv6/conf/IFACE/accept_ra=2, and a file in /etc/sysctl.d.";
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
    "policy-rule-misroutes": "A policy rule leads away from the bridge",
        "Published ports time out, or containers do not reach other networks and their gateway, since a VPN or a second uplink was set up.",
        "A packet for a container on its way out by the uplink (dropped by FORWARD, or come back with the host's own source). Confirmed when the rule's table decides the route and the main table would lead to the bridge.",
        "A rule before it that leaves Docker's subnets to the main table: ip rule add to SUBNET lookup main priority N.";
    "route-shadows-subnet": "A route covers part of a Docker subnet",
        "Published ports time out while a VPN is up.",
        "A packet for a container on its way out by another interface than its bridge. Confirmed by the route, narrower than or as narrow as Docker's own.",
        "Delete the route and exclude the subnet where it is made, or move Docker's networks (bip, default-address-pools).";
    "subnet-overlaps-lan": "A Docker network covers addresses of the LAN",
        "Only some clients time out; containers do not reach some machines of the LAN.",
        "NEIGH_FAILED, or a drop on the forward hook, for an address in a Docker subnet that no container has, or for a container that the LAN's own route takes it from; or IP_RPFILTER for a packet from one. Confirmed when another interface or route of the host's leads to that address.",
        "Recreate the network with a subnet that nobody else uses; set default-address-pools.";
    "container-wrong-gateway": "A container sends by a gateway that is not its own",
        "No route to host after three seconds for all that is outside.",
        "NEIGH_FAILED in the container. Confirmed when its route names another gateway than Docker gave it, and nobody answers there.",
        "ip route replace default via GATEWAY in the container, or reconnect it to its network; find what changes routes inside.";
    "bridge-lost-address": "A bridge has lost its address",
        "All containers of a network are cut off; published ports time out.",
        "A packet for a container that goes back out by the uplink, or NEIGH_FAILED in a container for its gateway. Confirmed when the gateway that Docker names is not on the bridge.",
        "ip addr add GATEWAY/LENGTH dev BRIDGE, or restart Docker; keep networkd and NetworkManager off Docker's bridges.";
    "route-localnet": "localhost does not get out of lo",
        "curl localhost:PORT on the host times out where docker-proxy is switched off; other addresses of the host work.",
        "NETFILTER_DROP on the output hook without an nft frame (the re-route after DNAT fails), confirmed by route_localnet = 0 of the bridge; or IP_LOCALNET in the container for source 127.0.0.1, confirmed when no rule masquerades the host's own packets.",
        "sysctl -w net/ipv4/conf/BRIDGE/route_localnet=1, or the MASQUERADE rule for --src-type LOCAL; or userland-proxy true.";
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
        "NETFILTER_DROP on the forward hook. Confirmed by a simulation of the rules or by the rule's own counter: the policy DROP without Docker's accepts, or a rule in FORWARD. Of a policy, evidence names the rule that nearly accepted it.",
        "Restart Docker so that it writes its rules again; keep rules of your own in DOCKER-USER.";
    "fragment-lost": "A fragment was lost",
        "Large UDP datagrams (DNS answers, tunnels) do not arrive, small ones do.",
        "FRAG_REASM_TIMEOUT, seconds after the first fragment came. Confirmed by the namespace's ReasmFails.",
        "Smaller datagrams or MTU; a firewall on the way that lets fragments pass.";
    "pmtu-blackhole": "The message about the size is lost",
        "Pings and small answers work, TLS and downloads hang.",
        "NETFILTER_DROP of an ICMP message 'fragmentation needed' or 'packet too big'. Confirmed by the rule named.",
        "Accept that message in front of the rule; give Docker's networks the MTU of the way out.";
    "iptables-backend-mix": "Two iptables backends hold rules",
        "iptables -S looks right, packets die all the same.",
        "NETFILTER_DROP on the forward hook by a rule or policy of one backend (legacy or nf_tables). Confirmed when Docker's chains are in the other one.",
        "Delete what is left in the unused backend; let all programs use one.";
    "nftables-backend-forwarding": "An old iptables policy is in the way of Docker's nftables rules",
        "Docker 29 with the nftables backend: published ports and outbound connections time out.",
        "NETFILTER_DROP by the policy of an iptables FORWARD chain. Confirmed when Docker's rules are in nft tables (docker-bridges).",
        "iptables -P FORWARD ACCEPT, and no more program that sets it.";
    "firewalld-reload": "firewalld has swept Docker's rules away",
        "Published ports and outbound connections are dead since firewalld was reloaded.",
        "NETFILTER_DROP while firewalld's tables are there and none of Docker's chains. Confirmed when firewalld knows Docker's zone.",
        "systemctl restart docker; Docker 28.3.3 or newer; FlushAllOnReload=no.";
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
        "NETFILTER_DROP from the bridge's forward hook by the rule that drops bridge to bridge, and the network's enable_icc=false. check: also a rule like it on a network that was not made so.",
        "Publish ports, or recreate the network with enable_icc=true; where the network was not made so, delete the rule.";
    "bridge-nf-foreign-drop": "A FORWARD rule reaches bridged packets",
        "Containers of one network do not reach each other since a firewall was added.",
        "NETFILTER_DROP from the bridge's forward hook by a rule that is not Docker's: bridge-nf-call-iptables sends bridged packets through it.",
        "Accept -i BRIDGE -o BRIDGE before it.";
    "bridge-filter-drop": "A bridge filter drops it",
        "Containers of one network lose packets to each other, or a bridge's containers those from and to the host.",
        "NETFILTER_DROP in the bridge family (ebtables, nft bridge).",
        "Delete the rule named.";
    "bpf-drop": "A BPF program or a tc filter drops it",
        "Losses by port or address, no firewall rule counts them; tcpdump may see them or not.",
        "TC_INGRESS, TC_EGRESS, XDP (generic XDP without a reason), BPF_CGROUP_EGRESS. Confirmed by the programs and filters that hang at that device or cgroup, which are named. check names each without a packet, as a note.",
        "Let the one who loaded it allow the traffic, or detach it.";
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
        "NETFILTER_DROP on the input hook. Confirmed by the rule or policy named. Of a policy, evidence names the rule that nearly accepted it.",
        "Allow the port for the bridge's interface.";
    "container-firewall-drop": "A firewall inside the container drops it",
        "Timeout to one container only; the host's rules are clean.",
        "NETFILTER_DROP in the container's own namespace. Confirmed by the rule there. check: where it drops clients of a published port.",
        "Change the rules in the image.";
    "snat-exhausted": "No source port is left",
        "Some new connections from containers to one service hang, others work.",
        "NETFILTER_DROP on the postrouting hook without an nft frame, of a flow that is not confirmed yet. Confirmed when another flow in the connection table has the same answer tuple.",
        "Reuse connections, or translate to more addresses; a rule that names one port should name a range or none.";
    "conntrack-full": "The connection table is full",
        "New connections time out, old ones work.",
        "NETFILTER_DROP on the prerouting or output hook without an nft frame and without a conntrack entry. Confirmed by nf_conntrack_count at nf_conntrack_max and the drop counter.",
        "Raise net.netfilter.nf_conntrack_max, shorten the timeouts; find who opens so many.";
    "conntrack-invalid": "A rule drops what conntrack calls INVALID",
        "Large transfers stall, long idle connections die.",
        "NETFILTER_DROP on the forward, input or output hook of a TCP segment in the middle of a connection that bears no conntrack entry. Confirmed when the rules would let it pass if it were ESTABLISHED.",
        "net.netfilter.nf_conntrack_tcp_be_liberal=1, or nf_conntrack_tcp_loose=1 where the entry is gone; or accept it before the rule.";
    "conntrack-invalid-reset": "The host resets a connection that is not its own",
        "Connection reset by peer in the middle of large transfers.",
        "NO_SOCKET in tcp_v4_rcv (TCP_FLAGS where a proxy listens), no SYN, no conntrack entry. Confirmed when the connection table has a translated flow with just these addresses and ports.",
        "Drop INVALID packets in INPUT, or net.netfilter.nf_conntrack_tcp_be_liberal=1.";
    "conntrack-flushed": "The connection table was emptied under a connection",
        "Connections that were open hang or are reset, new ones work.",
        "As conntrack-invalid-reset, to a published port. Confirmed when no flow has these addresses and ports, and nf_conntrack_tcp_loose = 0.",
        "net.netfilter.nf_conntrack_tcp_loose=1, and no conntrack -F.";
    "conntrack-stale-udp": "A UDP flow keeps its old translation",
        "A published UDP port works for new peers, not for those who sent before it was published or before the container was replaced.",
        "NO_SOCKET in __udp4_lib_rcv at a published port, or NEIGH_FAILED for an address that no container has; where docker-proxy takes the packets no drop, and a finding. Confirmed by the flow in the connection table, which is not translated, or translated to that address.",
        "conntrack -D -p udp --orig-port-dst PORT.";
    "routed-mode-host-port": "A routed network publishes nothing on the host",
        "Refused at the host's address, works at the container's own.",
        "NO_SOCKET on the host at a published port. Confirmed by the network's gateway_mode = routed.",
        "Ask for the container's own address, with a route to it by this host; or recreate the network in nat mode.";
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
        "docker restart CONTAINER; find what changes addresses inside.";
    "duplicate-address": "Two containers have one address",
        "Flapping: now one answers, now the other, which refuses.",
        "NO_SOCKET in a container for an address that Docker gave to another one. Confirmed: an interface of this one has it as well.",
        "Take the address from the container that Docker did not give it to; use names.";
    "dnat-to-dead-address": "A port leads to an address that nobody has",
        "No route to host after three seconds on a published port.",
        "NEIGH_FAILED for the DNAT target. Confirmed by the rule and by no container having that address.",
        "Restart Docker so that it writes its rules again, or delete the stale one.";
    "hairpin-off": "A bridge port sends nothing back",
        "A container does not reach its own published port by the host's address; others do.",
        "NOT_SPECIFIED in br_handle_frame_finish, source and destination the container's own address. Confirmed by the port's hairpin mode.",
        "ip link set VETH type bridge_slave hairpin on, or userland-proxy true.";
    "bridge-nf-off": "Bridged answers are not translated back",
        "Containers of one network do not reach each other's published ports by the host's address.",
        "NO_SOCKET in the asking container for the answer of its sibling. Confirmed by bridge-nf-call-iptables = 0 (or no br_netfilter) while docker-proxy is off.",
        "sysctl -w net/bridge/bridge-nf-call-iptables=1, or talk by name.";
    "stp-forward-delay": "Spanning tree holds new ports back",
        "The first thirty seconds after each container start are lost.",
        "BRIDGE_INGRESS_STP_STATE in br_handle_frame. Confirmed by the port's state, listening or learning, at that moment.",
        "Switch spanning tree off on the bridge, unless it has a port to the LAN: there it may be what prevents a loop.";
    "veth-down": "A container's interface is down",
        "One container is cut off.",
        "QDISC_DROP on its interface, or NEIGH_FAILED towards it. Confirmed by the interface's state.",
        "ip link set IFACE up.";
    "bridge-down": "A network's bridge is down or gone",
        "All containers of one network are cut off; published ports time out or no route to host.",
        "BRIDGE_INGRESS_STP_STATE in br_handle_frame (before 6.14 without a reason), NEIGH_FAILED in the containers, what is for them dropped on the way out by the default route, OTHERHOST on orphan veths. Confirmed by the bridge, which is not UP or not there.",
        "ip link set BRIDGE up; if it is gone, restart Docker. Keep networkd and NetworkManager off Docker's interfaces.";
    "veth-off-bridge": "A container's interface is not on its bridge",
        "One container is cut off while its network works.",
        "NEIGH_FAILED towards it; its own packets enter the host by the veth (device = veth) and die in the FORWARD chain. Confirmed by the veth without a master while the network's bridge is up.",
        "ip link set VETH master BRIDGE. systemd-networkd takes veths off bridges where a .network file matches them: Unmanaged=yes.";
    "bridge-port-isolated": "A bridge port does not get what is meant for it",
        "Two containers of one network do not reach each other, both reach the host and the outside.",
        "NOT_SPECIFIED or NO_TX_TARGET in br_handle_frame_finish for a frame with one receiver, later NEIGH_FAILED. Confirmed by the ports' isolated, flood or bcast_flood attribute, likely by mcast_flood (IPv6).",
        "bridge link set dev VETH isolated off (or flood on), unless it is meant so: Docker leaves these alone, CNI's portIsolation and network managers set them.";
    "duplicate-mac": "Two containers have one MAC address",
        "Alternating losses; both are never reachable at a time, and they do not reach each other.",
        "NOT_SPECIFIED in br_handle_frame_finish for frames between both, IP_INADDRERRORS in the one that gets the other's packets, NEIGH_FAILED. Confirmed by both interfaces' MAC addresses on one bridge.",
        "Recreate one of them without --mac-address (mac_address in compose).";
    "stale-neighbour": "A neighbour entry leads to a MAC address that is no longer right",
        "A container that was just recreated is not reached for minutes, by one peer only.",
        "OTHERHOST in ip_rcv_core of a frame for a container's address with another MAC address than its own, or IP_INADDRERRORS in the container that has that MAC address. Confirmed by the sender's neighbour entry.",
        "ip neigh del ADDRESS dev DEVICE where the entry is; look for permanent entries that a script sets.";
    "macvlan-host-isolation": "A macvlan container and its host never reach each other",
        "Every other machine of the LAN reaches the container, the host itself does not: no route to host.",
        "NEIGH_FAILED on the host's parent interface towards the container, or in the container towards the host's address. Confirmed by the network's driver and parent.",
        "Give the host a macvlan interface of its own on that parent and a route over it, or a bridge network to the container.";
    "macvlan-parent-down": "The parent interface of a macvlan network is down",
        "All containers of a macvlan or ipvlan network are cut off.",
        "QDISC_DROP of ARP requests in the container and NEIGH_FAILED. Confirmed by the parent's state: down, or without a carrier.",
        "ip link set PARENT up; without a carrier, the cable or switch port.";
    "uplink-no-carrier": "The uplink has no carrier",
        "Everything that leaves the host times out; then no route to host.",
        "NEIGH_FAILED on the uplink, QDISC_DROP of its ARP requests. Confirmed by the interface: UP with NO-CARRIER.",
        "The cable, the switch port, the virtual machine's network or the veth's other end.";
    "veth-mtu-mismatch": "One end of a veth takes less than the other sends",
        "Small packets pass, big ones vanish, and no ICMP message says so.",
        "NOT_SPECIFIED in __dev_forward_skb2 below veth_xmit, or in br_nf_dev_queue_xmit. Confirmed by the packet's length and both ends' MTU.",
        "ip link set IFACE mtu N on the end that deviates; let Docker set both (com.docker.network.driver.mtu).";
    "overlay-broken": "An overlay's tunnel does not carry it",
        "Containers of one overlay network reach each other on one node and not across nodes.",
        "VXLAN_VNI_NOT_FOUND in vxlan_rcv, NO_SOCKET for a VXLAN packet, NO_TX_TARGET in vxlan_xmit. Confirmed by the VXLAN devices (number, port, state) and their forwarding database. check: a tunnel that is down.",
        "Bring the tunnel up, give both ends one VNI and port, let 4789/udp, 7946/tcp and 7946/udp pass, rejoin the swarm.";
    "queue-overflow": "A queue is full",
        "Losses under load.",
        "QDISC_DROP or QDISC_OVERLIMIT in __dev_queue_xmit on a device that is up, CPU_BACKLOG. Confirmed by the queue's own drop counter (tc -s qdisc, /proc/net/softnet_stat).",
        "A higher rate or limit for the shaper that somebody put there (tc qdisc change), a longer txqueuelen (pfifo_fast) against bursts, net.core.netdev_max_backlog for CPU_BACKLOG.";
    "connected-route-conflict": "Two interfaces claim one network",
        "Containers of one network are not reached from the host and the outside, though all of them run.",
        "NEIGH_FAILED or a FORWARD drop with an outgoing interface that is not the network's bridge. Confirmed by two connected routes with that prefix, the wrong one first.",
        "ip addr del the leftover address; find who adds it.";
    "container-paused": "The container is paused",
        "UDP to it is lost; TCP connects and then nothing comes.",
        "No drop at first, and a finding when packets come in and wait unread; SOCKET_RCVBUFF in a container once its buffer is full. Confirmed by its cgroup, which is frozen (docker ps: Paused); a drop before 5.18, which tells no such reason, is likely.",
        "docker unpause CONTAINER.";
    "stale-hosts-entry": "A hosts file leads to an address that is another's now",
        "A linked container is refused or not found after its peer was recreated; by its right address it is reached.",
        "NO_SOCKET in a container for a packet from another one, or NEIGH_FAILED in the asker. Confirmed by the asker's /etc/hosts, which names the address for a container that has another one.",
        "Recreate the asker. Use a user-defined network and names instead of --link and --add-host.";
    "bad-checksum": "A checksum is wrong",
        "Losses, often on overlay networks or virtual machines.",
        "TCP_CSUM, UDP_CSUM, IP_CSUM. Confirmed by the namespace's InCsumErrors or by the header itself.",
        "Switch transmit checksum offload off on the sending virtual device.";
    "socket-buffer-full": "The program reads too slowly",
        "UDP losses under load.",
        "SOCKET_RCVBUFF, or PROTO_MEM (UDP: the memory of all sockets together, likely). Confirmed by the socket's own drop counter; before 5.18, which tells no such reason, likely by it and what waits there.",
        "UDP: raise net.core.rmem_max and the program's SO_RCVBUF. TCP: net.ipv4.tcp_rmem. Or read faster.";
    "embedded-dns-broken": "Docker's resolver is not reached any more",
        "Names do not resolve in one container: connection refused by 127.0.0.11.",
        "NO_SOCKET for 127.0.0.11:53 in the container. Confirmed when no rule in its nat table translates that any more.",
        "Restart the container; find what flushes its rules.";
    "dns-upstream-unreachable": "A container's name server cannot be reached",
        "Names do not resolve in containers; addresses work.",
        "A drop of port 53 from the container's address to one of its name servers (Docker's resolver asks from inside the container's namespace).",
        "Let it pass, or give the container a server that can be reached (--dns).";
    "nat-rules-missing": "Docker's address translation is gone",
        "Published ports work by docker-proxy alone, and the container sees its gateway as the client; or they are refused.",
        "No drop where docker-proxy serves the port, nor where the engine's own TCP socket takes the connection, which hangs: a finding when other machines' connections to it end on the host. Else NO_SOCKET in the host where nobody holds the port, SOCKET_RCVBUFF where the engine's own UDP socket does. Confirmed, and by check without a packet, when no rule in table nat leads from the published port to the container, or a rule keeps its packets out of conntrack (notrack), which translates nothing.",
        "Restart Docker, which writes its rules again; find what flushes them (a firewall's reload). A notrack rule: delete it.";
    "masquerade-missing": "Outgoing connections keep the container's address",
        "Containers reach the host and nothing beyond; published ports work.",
        "No drop here: packets leave with a source that nobody answers to. A finding when conntrack holds such a flow without an answer. Confirmed when no rule in table nat translates the network's subnet, or a rule keeps its packets out of conntrack (notrack).",
        "Restart Docker; or enable_ip_masquerade=true where it was switched off. A notrack rule: delete it.";
    "container-no-default-route": "A container has no default route",
        "In: timeout. Out: network is unreachable.",
        "No drop. A finding when IpOutNoRoutes rises in the container. Confirmed by its routes, on a network that has a gateway.",
        "Restart the container, and find what takes the route away inside.";
    "accept-queue-full": "A program does not accept its connections",
        "Connections time out under load, or always when the program hangs.",
        "No drop. A finding when ListenOverflows rises in the program's namespace. Confirmed when more connections wait than the backlog allows.",
        "A larger backlog, more workers; restart it if it hangs.";
    "syn-queue-full": "A listener has too many half-open connections",
        "Connections time out while somebody opens many and finishes none.",
        "No drop. A finding when TCPReqQFullDrop rises in the program's namespace. Confirmed by net.ipv4.tcp_syncookies = 0 there.",
        "net.ipv4.tcp_syncookies=1; a larger listen backlog.";
    "ipvs-no-backend": "A virtual service has no server behind it",
        "Connections to a virtual address (Swarm's ingress, kube-proxy) are refused.",
        "NETFILTER_DROP on the input or output hook by no rule of the firewall. Confirmed by /proc/net/ip_vs: the packet's service has no server with a weight above 0.",
        "Swarm: docker service ps SERVICE says why no task runs. Else add a server (ipvsadm -a), or find who removes them.";
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
    "kernel-tells-less": "The kernel tells less here than it could",
        "No fault: some drops cannot be explained here, or not as surely.",
        "check names what is missing and what comes of it; so do doctor and the first line of tracing.",
        "Nothing has to be done. A newer kernel tells more; where a module is named, loading it does.";
    "dns-wrong-resolver": "A container asks the wrong name server",
        "Names of internal zones do not resolve, or none does, on the default bridge.",
        "NO_SOCKET at a loopback address, port 53, in the container. Confirmed when its resolv.conf names that address and nothing listens there. check: the same, and Docker's fallback while the host asks a server of its own.",
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
        "No drop. check: daemon.json cannot be read, bip is no address for a bridge, an option is both on the command line and in daemon.json, or docker.service has more than one ExecStart.",
        "Mend what is named; a drop-in's ExecStart needs an empty ExecStart= before it.";
    "engine-down": "The container engine does not run, or does not answer",
        "docker commands fail; names do not resolve in containers; nothing is restarted.",
        "No drop of its own. check: its socket, its process, its unit (masked, what it would start) and its last error.",
        "Mend its last error; systemctl start docker.";
}

/// The entry of an id.
#[must_use]
pub fn find(id: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.id == id)
}
