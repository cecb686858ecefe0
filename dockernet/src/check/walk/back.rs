//! From the program back to the client.

use super::{Go, Party, Space, Walk, forth::Arrived};
use crate::{
    check::probe::bridge_nf,
    host::{firewall::Hook, route::lookup::RouteQuery},
    model::Container,
};

impl<'s> Walk<'s> {
    /// The answer.
    pub(super) fn back(&mut self, arrived: &Arrived<'s>) -> Go<()> {
        let host = &self.sight.host;
        match arrived {
            Arrived::Host => {
                let query = RouteQuery::to(self.probe.original.src);
                let route = self.way(host, &query)?;
                let packet = self.probe.back(None, route.oif.as_deref());
                self.quietly(host, &packet, Hook::Output)?;
                self.reach_client()
            }
            Arrived::Bridged(container, space, bridge) => {
                if bridge.is_empty() {
                    return Ok(());
                }
                self.leave(container, space)?;
                let seen = self.sight.number(host, bridge_nf(self.probe.original.src)) == Some(1);
                let packet = self.probe.back(Some(bridge), Some(bridge));
                self.bridge_filter(host, &packet)?;
                if seen {
                    self.filter(host, &packet, Hook::Forward)?;
                }
                self.reach_client()
            }
            Arrived::Container(container, space, bridge) => {
                self.leave(container, space)?;
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

    /// The answering container's way to whom it saw as the client.
    fn leave(&mut self, _container: &Container, space: &Space) -> Go<()> {
        let seen = self.probe.answer.dst;
        let own = self.probe.answer.src;
        let route = self.way(space, &RouteQuery::to(seen).from(own))?;
        let packet = self.probe.elsewhere().back(None, route.oif.as_deref());
        self.quietly(space, &packet, Hook::Output)
    }

    /// An answer that comes back to the host by an interface.
    fn through_host(&mut self, iif: &str) -> Go<()> {
        let sight = self.sight;
        let host = &sight.host;
        let client = self.probe.original.src;
        let source = self.probe.answer.src;
        self.quietly(host, &self.probe.back(Some(iif), None), Hook::Prerouting)?;
        self.reverse_path(host, iif, source)?;
        // The host's own connection, or one that it masqueraded: conntrack has translated it back by now.
        let own = matches!(self.from, Party::Host) || host.has_address(client);
        if own {
            self.quietly(host, &self.probe.back(Some(iif), None), Hook::Input)?;
            return self.reach_client();
        }
        self.forwards(iif, client.is_ipv6())?;
        let route = self.way(
            host,
            &RouteQuery::to(client).from(source).iif(iif.to_owned()),
        )?;
        let oif = route.oif.clone().unwrap_or_default();
        self.filter(host, &self.probe.back(Some(iif), Some(&oif)), Hook::Forward)?;
        self.reach_client()
    }

    fn reach_client(&mut self) -> Go<()> {
        let Party::Container(_, space) = self.from else {
            return Ok(());
        };
        let device = space
            .holder(self.probe.original.src)
            .map(|link| link.name.clone());
        let packet = self.probe.elsewhere().back(device.as_deref(), None);
        self.quietly(space, &packet, Hook::Input)?;
        self.pass(&space.label, "arrives", "the answer is there");
        Ok(())
    }
}
