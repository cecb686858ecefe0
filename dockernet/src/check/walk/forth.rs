//! From the client to the program.

use std::net::IpAddr;

use super::{Direction, Go, Party, Space, Walk};
use crate::{
    cause::Verdict,
    check::probe::{TCP, translation},
    host::{
        bridge::PortState,
        firewall::{Hook, NatKind, Translation},
        listeners::{Transport, listening_on},
        neighbour::NeighbourState,
        route::{Route, RouteKind, lookup::RouteQuery},
    },
    model::{Container, Impact, State},
};

/// Who gets it in the end.
pub(super) enum Arrived<'s> {
    /// The host's own program.
    Host,
    /// A container, by this bridge of the host.
    Container(&'s Container, &'s Space, String),
    /// It left the host by this interface, from behind this bridge (none: the host's own).
    Outside(String),
    /// A container of the same network, without the host's routing.
    Bridged(&'s Container, &'s Space, String),
}

impl<'s> Walk<'s> {
    /// Both directions.
    pub(super) fn go(&mut self) -> Go<()> {
        let arrived = self.forth()?;
        self.direction = Direction::Back;
        self.back(&arrived)
    }

    fn forth(&mut self) -> Go<Arrived<'s>> {
        let sight = self.sight;
        match self.from {
            Party::Container(container, space) => self.leave_container(container, space),
            Party::Host => self.leave_host(&sight.host),
            Party::Outside => {
                let family = crate::host::route::Family::of(self.dst());
                let given = RouteQuery::to(self.probe.original.src);
                let by_route = match sight.host.route(&given) {
                    crate::host::route::fib::FibMatch::Route { route, .. } => route.oif.clone(),
                    _ => None,
                };
                let default = crate::check::families::uplink(sight, family)
                    .map(|uplink| uplink.link.name.clone());
                let Some(iif) = by_route.or(default) else {
                    let verdict =
                        Verdict::confirmed("no-route", "the host has no interface that leads out")
                            .fact("no default route");
                    return self.stop("host", "uplink", verdict);
                };
                self.carrier(&iif)?;
                self.iif = Some(iif);
                self.arrive_at_host()
            }
        }
    }

    /// A physical interface is up and has a carrier.
    fn carrier(&mut self, name: &str) -> Go<()> {
        let Some(link) = self.sight.host.link(name) else {
            return Ok(());
        };
        if link.up && link.carrier {
            self.pass("host", "uplink", format!("{name} is up"));
            return Ok(());
        }
        let verdict = Verdict::confirmed(
            "uplink-no-carrier",
            format!(
                "{name} is {}",
                if link.up { "without carrier" } else { "down" }
            ),
        )
        .fact(format!("{name}: up {}, carrier {}", link.up, link.carrier));
        let verdict = if link.up {
            verdict.advise("check the cable and its other end")
        } else {
            verdict.run(format!("ip link set {name} up"), "host", None, Impact::None)
        };
        self.stop("host", "uplink", verdict)
    }

    fn leave_container(&mut self, container: &'s Container, space: &'s Space) -> Go<Arrived<'s>> {
        let to = self.dst();
        if space.has_address(to) || to.is_loopback() {
            return self
                .program(space, container, false)
                .map(|()| Arrived::Bridged(container, space, String::new()));
        }
        let query = RouteQuery::to(to).from(self.probe.original.src);
        let route = self.way(space, &query)?;
        let oif = route.oif.clone().unwrap_or_default();
        self.quietly(space, &self.probe.first(None, Some(&oif)), Hook::Output)?;
        let bridge = self.cable(container, space, &oif)?;
        let next = route.gateway.unwrap_or(to);
        self.neighbour(space, &oif, next)?;
        let target = self.holder(to);
        if route.gateway.is_none()
            && let Some((other, there)) = target
        {
            return self.bridged(other, there, &bridge);
        }
        self.iif = Some(bridge);
        self.arrive_at_host()
    }

    /// A container's cable, up to the bridge whose name it returns.
    fn cable(&mut self, container: &Container, space: &Space, device: &str) -> Go<String> {
        let sight = self.sight;
        let namespace = sight
            .map
            .namespaces
            .iter()
            .find(|known| known.inum == space.handle.inum());
        let interface = namespace.and_then(|namespace| {
            namespace
                .interfaces
                .iter()
                .find(|interface| interface.device.name == device)
        });
        let Some((interface, peer)) =
            interface.and_then(|interface| Some((interface, interface.peer.as_ref()?)))
        else {
            self.unknown(
                &space.label,
                "cable",
                format!(
                    "{device} is no veth to a bridge of the host: its way from there is not known"
                ),
            );
            return Err(super::Halted);
        };
        let (own, name) = (&interface.device, &peer.device.name);
        for (device, place) in [(own, &space.label), (&peer.device, &"host".to_owned())] {
            if !device.up {
                let command = format!("ip link set {} up", device.name);
                let command = if place == "host" {
                    command
                } else {
                    space.command(&command)
                };
                let verdict = Verdict::confirmed("veth-down", format!("{} is down", device.name))
                    .fact(format!("{} is not up", device.name))
                    .run(command, place.clone(), None, Impact::None);
                return self.stop(place, "cable", verdict);
            }
        }
        let Some(port) = &peer.port else {
            let network = container
                .attachments
                .first()
                .map_or("its network", |attachment| attachment.network.as_str());
            let bridge = sight
                .inventory
                .network(network)
                .and_then(|network| network.bridge.clone());
            let verdict =
                Verdict::confirmed("veth-off-bridge", format!("{name} is a port of no bridge"));
            let verdict = match bridge {
                Some(bridge) => verdict.run(
                    format!("ip link set {name} master {bridge}"),
                    "host",
                    None,
                    Impact::None,
                ),
                None => verdict,
            };
            return self.stop("host", "cable", verdict);
        };
        let bridge = port.bridge.name.clone();
        if !port.bridge.up {
            let verdict = Verdict::confirmed("bridge-down", format!("bridge {bridge} is down"))
                .run(
                    format!("ip link set {bridge} up"),
                    "host",
                    None,
                    Impact::None,
                );
            return self.stop("host", "bridge", verdict);
        }
        let state = sight.host.bridges.port(name).map(|port| port.state);
        if let Some(state) = state.filter(|state| *state != PortState::Forwarding) {
            let verdict = Verdict::confirmed(
                "stp-forward-delay",
                format!("{name} is {state} on {bridge}: it passes nothing"),
            )
            .run(
                format!("ip link set {bridge} type bridge stp_state 0"),
                "host",
                None,
                Impact::None,
            );
            return self.stop("host", "bridge", verdict);
        }
        self.pass(
            "host",
            "bridge",
            format!("{} ↔ {name} on {bridge}, forwarding", own.name),
        );
        Ok(bridge)
    }

    /// The next hop's neighbour entry does not lie.
    fn neighbour(&mut self, space: &Space, device: &str, next: IpAddr) -> Go<()> {
        let entry = space
            .neighbours
            .iter()
            .find(|entry| entry.address == next && entry.device == device);
        let owner = self.mac_of(next);
        if let (Some(entry), Some(actual)) = (entry, &owner)
            && let Some(believed) = entry.mac.as_ref().filter(|believed| *believed != actual)
        {
            let used = !matches!(
                entry.state,
                NeighbourState::Failed | NeighbourState::Incomplete
            );
            if used {
                let verdict = Verdict::confirmed(
                    "stale-neighbour",
                    format!(
                        "{} believes {next} to be at {believed}; it is at {actual}",
                        space.label
                    ),
                )
                .fact(entry.to_string())
                .run(
                    space.command(&format!("ip neigh del {next} dev {device}")),
                    space.label.clone(),
                    None,
                    Impact::None,
                );
                return self.stop(&space.label, "neighbour", verdict);
            }
        }
        if owner.is_none() && self.sight.inventory.network_of(next).is_some() {
            let id = if next == self.probe.destination().0 {
                "dnat-to-dead-address"
            } else {
                "container-wrong-gateway"
            };
            let verdict = match self.assigned(next) {
                Some(container) => Verdict::confirmed(
                    "container-address-changed",
                    format!(
                        "{} no longer has {next}, the address that Docker gave it",
                        container.name
                    ),
                )
                .fact(format!("none of its interfaces has {next}"))
                .advise(format!("docker restart {}", container.name)),
                None => Verdict::confirmed(id, format!("nobody has {next}"))
                    .fact("no container and no bridge of the host has that address"),
            };
            return self.stop(&space.label, "neighbour", verdict);
        }
        if let Some(mac) = owner {
            self.pass(&space.label, "neighbour", format!("{next} is at {mac}"));
        }
        Ok(())
    }

    fn assigned(&self, address: IpAddr) -> Option<&'s Container> {
        self.sight.running().into_iter().find(|container| {
            container.attachments.iter().any(|attachment| {
                [attachment.ipv4, attachment.ipv6]
                    .into_iter()
                    .flatten()
                    .any(|net| net.addr() == address)
            })
        })
    }

    fn mac_of(&self, address: IpAddr) -> Option<String> {
        let spaces = std::iter::once(&self.sight.host).chain(&self.sight.spaces);
        let mut links = spaces.filter_map(|space| space.holder(address));
        links.next()?.mac.clone()
    }

    /// The container that has an address.
    fn holder(&self, address: IpAddr) -> Option<(&'s Container, &'s Space)> {
        let space = self
            .sight
            .spaces
            .iter()
            .find(|space| space.has_address(address))?;
        let container = self.sight.inventory.containers_in(space.key).next()?;
        Some((container, space))
    }

    /// Between two ports of one bridge.
    fn bridged(
        &mut self,
        container: &'s Container,
        space: &'s Space,
        bridge: &str,
    ) -> Go<Arrived<'s>> {
        let sight = self.sight;
        let seen = sight.number(&sight.host, "net/bridge/bridge-nf-call-iptables") == Some(1);
        if seen {
            let packet = self.probe.first(Some(bridge), Some(bridge));
            self.filter(&sight.host, &packet, Hook::Forward)?;
        }
        let device = space
            .holder(self.dst())
            .map(|link| link.name.clone())
            .unwrap_or_default();
        self.cable(container, space, &device)?;
        self.program(space, container, true)?;
        Ok(Arrived::Bridged(container, space, bridge.to_owned()))
    }

    /// A packet of the host's own.
    fn leave_host(&mut self, host: &'s Space) -> Go<Arrived<'s>> {
        let to = self.dst();
        let lo = host.has_address(to) || to.is_loopback();
        let first = RouteQuery::to(to);
        let route = self.way(host, &first)?;
        let oif = if lo { Some("lo".to_owned()) } else { route.oif };
        let packet = self.probe.untranslated(None, oif.as_deref());
        self.translate(&packet, Hook::Output)?;
        self.route_out(host)
    }

    /// What the nat rules make of the destination.
    fn translate(&mut self, packet: &crate::host::firewall::FlowPacket, hook: Hook) -> Go<()> {
        let host = &self.sight.host;
        match translation(host, packet, hook) {
            Translation::Nothing => {}
            Translation::CannotTell(at) => {
                self.unknown(
                    "host",
                    "dnat",
                    format!("it depends on a rule that cannot be told: {at}"),
                );
            }
            Translation::To(target, rule) => {
                let address = match target.kind {
                    NatKind::Dnat => target.address,
                    // To the host itself.
                    NatKind::Redirect => Some(self.dst()),
                    NatKind::Snat | NatKind::Masquerade => None,
                };
                if let Some(address) = address {
                    self.probe = self.probe.to(address, target.port);
                    let (address, port) = self.probe.destination();
                    self.pass(
                        "host",
                        "dnat",
                        format!(
                            "becomes {}  {rule}",
                            std::net::SocketAddr::new(address, port)
                        ),
                    );
                } else if target.kind == NatKind::Dnat {
                    self.unknown(
                        "host",
                        "dnat",
                        format!("the rule names several addresses: {rule}"),
                    );
                    return Err(super::Halted);
                }
            }
        }
        Ok(())
    }

    /// A packet that came in by an interface of the host.
    fn arrive_at_host(&mut self) -> Go<Arrived<'s>> {
        let sight = self.sight;
        let host = &sight.host;
        let iif = self.iif.clone().unwrap_or_default();
        let packet = self.probe.untranslated(Some(&iif), None);
        // Raw and mangle rules see it as it was sent.
        self.quietly(host, &packet, Hook::Prerouting)?;
        self.reverse_path(host, &iif, self.probe.original.src)?;
        self.translate(&packet, Hook::Prerouting)?;
        let (to, _) = self.probe.destination();
        if host.has_address(to) {
            self.filter(host, &self.probe.first(Some(&iif), None), Hook::Input)?;
            return self.host_program();
        }
        self.forwards(&iif, to.is_ipv6())?;
        self.route_out(host)
    }

    /// On its way out of the host's routing.
    fn route_out(&mut self, host: &'s Space) -> Go<Arrived<'s>> {
        let (to, _) = self.probe.destination();
        let mut query = RouteQuery::to(to).from(self.probe.original.src);
        if let Some(iif) = &self.iif {
            query = query.iif(iif.clone());
        } else if host.has_address(to) || to.is_loopback() {
            self.filter(host, &self.probe.first(Some("lo"), None), Hook::Input)?;
            return self.host_program();
        } else {
            query.source = None;
        }
        let route = self.way(host, &query)?;
        let oif = route
            .oif
            .clone()
            .or_else(|| route.nexthops.first().map(|hop| hop.oif.clone()))
            .unwrap_or_default();
        if route.kind == RouteKind::Local {
            return self.host_program();
        }
        self.localnet(&oif)?;
        let iif = self.iif.clone();
        let packet = self.probe.first(iif.as_deref(), Some(&oif));
        let hook = if iif.is_some() {
            Hook::Forward
        } else {
            Hook::Output
        };
        self.filter(host, &packet, hook)?;
        self.source_nat(host, iif.as_deref(), &oif, to)?;
        self.deliver(host, &route, oif, to)
    }

    /// Packets from 127/8 leave only where `route_localnet` says so.
    fn localnet(&mut self, oif: &str) -> Go<()> {
        let host = &self.sight.host;
        if !self.probe.original.src.is_loopback()
            || self.probe.original.src.is_ipv6()
            || oif == "lo"
        {
            return Ok(());
        }
        let key = crate::host::sysctl::interface_key(false, oif, "route_localnet");
        let own = self.sight.number(host, &key);
        let all = self.sight.number(host, "net/ipv4/conf/all/route_localnet");
        if own == Some(1) || all == Some(1) {
            return Ok(());
        }
        let verdict = Verdict::confirmed(
            "route-localnet",
            format!("packets from 127.0.0.1 are not routed to {oif}"),
        )
        .fact(format!("{} = 0", crate::host::sysctl::display_key(&key)))
        .set_host_sysctl(&self.sight.files, &key, "0", "1");
        self.stop("host", "route", verdict)
    }

    /// What the nat rules make of the source.
    fn source_nat(&mut self, host: &Space, iif: Option<&str>, oif: &str, to: IpAddr) -> Go<()> {
        let plain = crate::check::probe::Probe {
            answer: crate::host::firewall::FlowTuple {
                dst: self.probe.original.src,
                ..self.probe.answer
            },
            ..self.probe
        };
        let packet = plain.first(iif, Some(oif));
        let inventory = self.sight.inventory;
        let from_container = inventory.is_docker_address(self.probe.original.src);
        let leaves = !inventory.is_docker_address(to);
        match translation(host, &packet, Hook::Postrouting) {
            Translation::To(target, rule) => {
                let own = target.address.or_else(|| {
                    let link = host.link(oif)?;
                    let mut all = link.addresses.iter().map(ipnet::IpNet::addr);
                    all.find(|own| own.is_ipv4() == to.is_ipv4())
                });
                if let Some(own) = own {
                    self.probe = self.probe.via(own);
                    self.pass("host", "snat", format!("comes from {own}  {rule}"));
                }
                Ok(())
            }
            Translation::CannotTell(at) => {
                self.unknown(
                    "host",
                    "snat",
                    format!("it depends on a rule that cannot be told: {at}"),
                );
                Ok(())
            }
            Translation::Nothing => {
                let network = inventory.network_of(self.probe.original.src);
                let wanted = network.is_some_and(|network| {
                    network.masquerade
                        && network
                            .gateway_mode
                            .as_deref()
                            .is_none_or(|mode| mode.starts_with("nat"))
                });
                if from_container && leaves && to.is_ipv4() && wanted {
                    let verdict = Verdict::confirmed(
                        "masquerade-missing",
                        format!("it leaves as {}, an address of Docker's, to which no answer comes back", self.probe.original.src),
                    )
                    .fact("no rule in table nat translates its source")
                    .run("systemctl restart docker", "host", None, Impact::RestartsContainers);
                    return self.stop("host", "snat", verdict);
                }
                Ok(())
            }
        }
    }

    fn deliver(
        &mut self,
        host: &'s Space,
        route: &Route,
        oif: String,
        to: IpAddr,
    ) -> Go<Arrived<'s>> {
        let docker = self.sight.inventory.network_by_bridge(&oif).is_some();
        if !docker {
            self.carrier(&oif)?;
            if let Some(iif) = &self.iif {
                let (from, out) = (
                    host.link(iif).map(|link| link.mtu),
                    host.link(&oif).map(|link| link.mtu),
                );
                if let (Some(from), Some(out)) = (from, out)
                    && from > out
                {
                    self.pass(
                        "host",
                        "mtu",
                        format!(
                            "{iif} {from} → {oif} {out}: larger packets depend on ICMP coming back"
                        ),
                    );
                }
            }
            let by = route
                .gateway
                .map_or_else(String::new, |gateway| format!(" via {gateway}"));
            self.pass(
                "host",
                "leaves",
                format!("by {oif}{by}; what others do with it is not seen here"),
            );
            return Ok(Arrived::Outside(oif));
        }
        self.neighbour(host, &oif, to)?;
        let Some((container, space)) = self.holder(to) else {
            self.unknown(
                "host",
                "leaves",
                format!("{to} is in no namespace that was read"),
            );
            return Err(super::Halted);
        };
        let device = space
            .holder(to)
            .map(|link| link.name.clone())
            .unwrap_or_default();
        self.cable(container, space, &device)?;
        self.reverse_path(space, &device, self.probe.answer.dst)?;
        self.program(space, container, true)?;
        Ok(Arrived::Container(container, space, oif))
    }

    /// The container's program gets it.
    fn program(&mut self, space: &Space, container: &Container, filtered: bool) -> Go<()> {
        let (to, port) = self.probe.destination();
        if filtered {
            let device = space.holder(to).map(|link| link.name.clone());
            self.quietly(
                space,
                &self.probe.first(device.as_deref(), None),
                Hook::Input,
            )?;
        }
        if container.state == State::Paused {
            let verdict =
                Verdict::confirmed("container-paused", format!("{} is paused", container.name))
                    .run(
                        format!("docker unpause {}", container.name),
                        "host",
                        None,
                        Impact::None,
                    );
            return self.stop(&space.label, "socket", verdict);
        }
        let transport = if self.probe.proto == TCP {
            Transport::Tcp
        } else {
            Transport::Udp
        };
        let all = listening_on(&space.listeners, transport, port);
        let open: Vec<_> = all
            .iter()
            .filter(|listener| listener.remote.is_none())
            .collect();
        if let Some(listener) = open.iter().find(|listener| listener.accepts(to)) {
            self.pass(&space.label, "socket", format!("listens on {listener}"));
            return Ok(());
        }
        let loopback = open.iter().any(|listener| listener.is_loopback());
        let verdict = if loopback {
            Verdict::confirmed(
                "listener-on-loopback",
                format!("the program in {} listens on loopback only", space.label),
            )
            .advise(format!("make it listen on 0.0.0.0 (or [::]) port {port}"))
        } else {
            Verdict::confirmed(
                "no-listener",
                format!("nothing in {} listens on {port}/{transport}", space.label),
            )
            .advise("start the program, or ask for the port that it uses")
        };
        self.stop(&space.label, "socket", verdict)
    }

    /// A program of the host gets it: perhaps docker-proxy, which goes on by itself.
    fn host_program(&mut self) -> Go<Arrived<'s>> {
        let sight = self.sight;
        let (to, port) = self.probe.destination();
        let (transport, protocol) = if self.probe.proto == TCP {
            (Transport::Tcp, "tcp")
        } else {
            (Transport::Udp, "udp")
        };
        let all = listening_on(&sight.host.listeners, transport, port);
        let listener = all
            .iter()
            .find(|listener| listener.accepts(to) && listener.remote.is_none());
        let published = sight.inventory.published(protocol, to, port);
        if let Some((container, published)) = published
            && sight.daemon.has_proxy(protocol, port)
            && container.state != State::Stopped
        {
            self.pass(
                "host",
                "socket",
                format!(
                    "docker-proxy takes it and asks {} itself, port {}",
                    container.name, published.container_port
                ),
            );
            let Some(address) = container
                .attachments
                .iter()
                .find_map(|attachment| attachment.ipv4)
                .map(|net| net.addr())
            else {
                return Ok(Arrived::Host);
            };
            let own = match sight.host.route(&RouteQuery::to(address)) {
                crate::host::route::fib::FibMatch::Route { route, .. } => {
                    route.prefsrc.unwrap_or(to)
                }
                _ => to,
            };
            self.iif = None;
            self.probe = crate::check::probe::Probe::new(
                self.probe.proto,
                own,
                address,
                published.container_port,
            );
            self.from = Party::Host;
            return self.route_out(&sight.host);
        }
        if let Some(listener) = listener {
            self.pass("host", "socket", format!("the host listens on {listener}"));
            return Ok(Arrived::Host);
        }
        let verdict = match published {
            Some((container, _)) if container.state == State::Stopped => Verdict::confirmed(
                "container-stopped",
                format!(
                    "{}, which publishes {port}/{protocol}, does not run",
                    container.name
                ),
            )
            .run(
                format!("docker start {}", container.name),
                "host",
                None,
                Impact::None,
            ),
            Some((_, published)) if published.host_ip.is_loopback() && !to.is_loopback() => {
                Verdict::confirmed(
                    "published-on-loopback",
                    format!("port {port} is published on {} alone", published.host_ip),
                )
            }
            Some((container, _)) => Verdict::confirmed(
                "nat-rules-missing",
                format!(
                    "no rule and no docker-proxy leads from port {port} to {}",
                    container.name
                ),
            )
            .run(
                "systemctl restart docker",
                "host",
                None,
                Impact::RestartsContainers,
            ),
            None => match sight.inventory.published_on(protocol, port).next() {
                Some((container, published)) if published.host_ip.is_loopback() => {
                    Verdict::confirmed(
                        "published-on-loopback",
                        format!(
                            "port {port} of {} is published on {} alone",
                            container.name, published.host_ip
                        ),
                    )
                    .advise("if others should reach it: publish it without the address")
                }
                _ => Verdict::confirmed(
                    "no-listener",
                    format!("nothing on the host listens on {port}/{protocol}"),
                ),
            },
        };
        self.stop("host", "socket", verdict)
    }
}
