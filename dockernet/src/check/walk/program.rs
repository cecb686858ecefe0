//! The program at the end.

use dockernet_common::packet::TCP;

use super::{Go, Party, Space, Walk, forth::Arrived};
use crate::{
    cause::{Verdict, translated_again},
    check::probe::Probe,
    host::{
        attached::At,
        firewall::Hook,
        listeners::{Transport, listening_on},
        route::{fib::FibMatch, lookup::RouteQuery},
    },
    model::{Container, Impact, State},
};

impl<'s> Walk<'s> {
    /// The container's program gets it.
    pub(super) fn program(
        &mut self,
        space: &Space,
        container: &Container,
        filtered: bool,
    ) -> Go<()> {
        let (to, port) = self.probe.destination();
        if filtered {
            let device = space.holder(to).map(|link| link.name.clone());
            self.quietly(
                space,
                &self.probe.elsewhere().first(device.as_deref(), None),
                Hook::Input,
            )?;
        }
        self.sockets(space, container, At::CgroupIngress);
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
    pub(super) fn host_program(&mut self) -> Go<Arrived<'s>> {
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
                FibMatch::Route { route, .. } => route.prefsrc.unwrap_or(to),
                _ => to,
            };
            self.iif = None;
            self.untracked = None;
            self.probe = Probe::new(self.probe.proto, own, address, published.container_port);
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
            Some((container, _)) => {
                let verdict = Verdict::confirmed(
                    "nat-rules-missing",
                    format!(
                        "no rule and no docker-proxy leads from port {port} to {}",
                        container.name
                    ),
                );
                translated_again(verdict, self.untracked.as_deref())
            }
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
