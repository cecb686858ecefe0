//! From the program back to the client.

use super::{Go, Party, Space, Walk, forth::Arrived, ports::End};
use crate::{
    check::probe::{Side, bridge_nf},
    host::{
        attached::At,
        firewall::Hook,
        route::{RouteKind, lookup::RouteQuery},
    },
    model::{Container, LinkKind},
};

impl<'s> Walk<'s> {
    /// The answer.
    pub(super) fn back(&mut self, arrived: &Arrived<'s>) -> Go<()> {
        let host = &self.sight.host;
        match arrived {
            Arrived::Host => {
                let query = RouteQuery::to(self.probe.original.src);
                let route = self.way(host, &query)?;
                // To an address of its own by no cable.
                let oif = match route.kind {
                    RouteKind::Local => Some("lo"),
                    _ => route.oif.as_deref(),
                };
                let packet = self.probe.back(None, oif);
                self.quietly(host, &packet, Hook::Output)?;
                self.on_to_client(oif)
            }
            Arrived::Bridged(container, space, bridge) => {
                if bridge.is_empty() {
                    return Ok(());
                }
                self.leave(container, space, false)?;
                let seen = self.sight.number(host, bridge_nf(self.probe.original.src)) == Some(1);
                let packet = self.probe.back(Some(bridge), Some(bridge));
                if let Party::Container(_, client) = self.from {
                    let from = End {
                        space,
                        address: self.probe.answer.src,
                    };
                    let to = End {
                        space: client,
                        address: self.probe.original.src,
                    };
                    self.across(from, to)?;
                }
                if seen {
                    self.filter(host, &packet, Hook::Forward)?;
                }
                self.reach_client(false)
            }
            Arrived::Container(container, space, bridge) => {
                self.leave(container, space, true)?;
                self.through_host(bridge)
            }
            Arrived::Outside(uplink) => {
                self.pass(
                    "host",
                    "uplink",
                    format!("the answer comes in by {uplink}, if it takes the same way"),
                );
                self.through_host(uplink)
            }
        }
    }

    /// The answering container's way to whom it saw as the client; `to_bridge`: by the host's routing.
    fn leave(&mut self, container: &Container, space: &Space, to_bridge: bool) -> Go<()> {
        let seen = self.probe.answer.dst;
        let own = self.probe.answer.src;
        let route = self.way(space, &RouteQuery::to(seen).from(own))?;
        let packet = self.probe.elsewhere().back(None, route.oif.as_deref());
        self.quietly(space, &packet, Hook::Output)?;
        self.sockets(space, container, At::CgroupEgress);
        match route.oif.as_deref() {
            Some(oif) => self.out_of(space, oif, Side::Server, to_bridge),
            None => Ok(()),
        }
    }

    /// An answer that comes back to the host by an interface.
    fn through_host(&mut self, iif: &str) -> Go<()> {
        let sight = self.sight;
        let host = &sight.host;
        let client = self.probe.original.src;
        let source = self.probe.answer.src;
        self.enters(host, iif, Side::Server)?;
        self.quietly(host, &self.probe.back(Some(iif), None), Hook::Prerouting)?;
        self.reverse_path(host, iif, source, client)?;
        // The host's own connection, or one that it masqueraded: conntrack has translated it back by now.
        let own = matches!(self.from, Party::Host) || host.has_address(client);
        if own {
            self.quietly(host, &self.probe.back(Some(iif), None), Hook::Input)?;
            return self.reach_client(true);
        }
        self.forwards(iif, client.is_ipv6())?;
        let route = self.way(
            host,
            &RouteQuery::to(client).from(source).iif(iif.to_owned()),
        )?;
        let oif = route.oif.clone().unwrap_or_default();
        self.filter(host, &self.probe.back(Some(iif), Some(&oif)), Hook::Forward)?;
        self.on_to_client(Some(&oif))
    }

    /// The last device of the host on the way, and what is behind it.
    fn on_to_client(&mut self, oif: Option<&str>) -> Go<()> {
        let host = &self.sight.host;
        let link = oif.and_then(|oif| host.link(oif));
        if let Some(link) = link.filter(|link| link.kind != LinkKind::Loopback) {
            self.leaves(host, &link.name, Side::Client)?;
        }
        self.reach_client(true)
    }

    /// The client's own namespace; `from_bridge`: from the host's routing.
    fn reach_client(&mut self, from_bridge: bool) -> Go<()> {
        let Party::Container(container, space) = self.from else {
            return Ok(());
        };
        let device = space
            .holder(self.probe.original.src)
            .map(|link| link.name.clone());
        if let Some(device) = &device {
            if from_bridge {
                self.reaches_port(space, self.probe.original.src)?;
            }
            self.into(space, device, Side::Client, from_bridge)?;
        }
        self.sockets(space, container, At::CgroupIngress);
        let packet = self.probe.elsewhere().back(device.as_deref(), None);
        self.quietly(space, &packet, Hook::Input)?;
        self.pass(&space.label, "arrives", "the answer is there");
        Ok(())
    }
}
