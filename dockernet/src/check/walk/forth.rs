//! From the client to the program.

use std::net::IpAddr;

use super::{Direction, Go, Halted, Party, Space, Walk, ports::End};
use crate::{
    cause::Verdict,
    check::{
        families::uplink,
        probe::{Side, bridge_nf},
    },
    host::{
        attached::At,
        firewall::Hook,
        route::{Family, Route, RouteKind, fib::FibMatch, lookup::RouteQuery},
    },
    model::Container,
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
                let family = Family::of(self.dst());
                let given = RouteQuery::to(self.probe.original.src);
                let by_route = match sight.host.route(&given) {
                    FibMatch::Route { route, .. } => route.oif.clone(),
                    _ => None,
                };
                let default = uplink(sight, family).map(|uplink| uplink.link.name.clone());
                let Some(iif) = by_route.or(default) else {
                    let verdict =
                        Verdict::confirmed("no-route", "the host has no interface that leads out")
                            .fact("no default route");
                    return self.stop("host", "uplink", verdict);
                };
                self.carrier(&iif)?;
                self.enters(&sight.host, &iif, Side::Client)?;
                self.iif = Some(iif);
                self.arrive_at_host()
            }
        }
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
        self.sockets(space, container, At::CgroupEgress);
        let bridge = self.cable(container, space, &oif)?;
        let next = route.gateway.unwrap_or(to);
        self.neighbour(space, &oif, next)?;
        let target = self.holder(to);
        if route.gateway.is_none()
            && let Some((other, there)) = target
        {
            self.out_of(space, &oif, Side::Client, false)?;
            return self.bridged(space, other, there, &bridge);
        }
        self.out_of(space, &oif, Side::Client, true)?;
        self.enters(&self.sight.host, &bridge, Side::Client)?;
        self.iif = Some(bridge);
        self.arrive_at_host()
    }

    /// Between two ports of one bridge.
    fn bridged(
        &mut self,
        client: &'s Space,
        container: &'s Container,
        space: &'s Space,
        bridge: &str,
    ) -> Go<Arrived<'s>> {
        let sight = self.sight;
        let seen = sight.number(&sight.host, bridge_nf(self.probe.original.src)) == Some(1);
        let packet = self.probe.first(Some(bridge), Some(bridge));
        let from = End {
            space: client,
            address: self.probe.original.src,
        };
        let to = End {
            space,
            address: self.dst(),
        };
        self.across(from, to)?;
        if seen {
            self.filter(&sight.host, &packet, Hook::Forward)?;
        }
        let device = space
            .holder(self.dst())
            .map(|link| link.name.clone())
            .unwrap_or_default();
        self.cable(container, space, &device)?;
        self.into(space, &device, Side::Client, false)?;
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

    /// A packet that came in by an interface of the host.
    fn arrive_at_host(&mut self) -> Go<Arrived<'s>> {
        let sight = self.sight;
        let host = &sight.host;
        let iif = self.iif.clone().unwrap_or_default();
        let packet = self.probe.untranslated(Some(&iif), None);
        // Raw and mangle rules see it as it was sent.
        self.quietly(host, &packet, Hook::Prerouting)?;
        self.translate(&packet, Hook::Prerouting)?;
        let (to, _) = self.probe.destination();
        // `ip_route_input_slow` comes after the hook: it asks with the new destination.
        self.reverse_path(host, &iif, self.probe.original.src, to)?;
        if host.has_address(to) {
            self.filter(host, &self.probe.first(Some(&iif), None), Hook::Input)?;
            return self.host_program();
        }
        self.forwards(&iif, to.is_ipv6())?;
        self.route_out(host)
    }

    /// On its way out of the host's routing.
    pub(super) fn route_out(&mut self, host: &'s Space) -> Go<Arrived<'s>> {
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

    fn deliver(
        &mut self,
        host: &'s Space,
        route: &Route,
        oif: String,
        to: IpAddr,
    ) -> Go<Arrived<'s>> {
        let docker = self.sight.inventory.network_by_bridge(&oif).is_some();
        self.leaves(host, &oif, Side::Server)?;
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
            return Err(Halted);
        };
        let device = space
            .holder(to)
            .map(|link| link.name.clone())
            .unwrap_or_default();
        self.cable(container, space, &device)?;
        self.reaches_port(space, to)?;
        self.into(space, &device, Side::Server, true)?;
        self.reverse_path(space, &device, self.probe.answer.dst, self.probe.answer.src)?;
        self.program(space, container, true)?;
        Ok(Arrived::Container(container, space, oif))
    }
}
