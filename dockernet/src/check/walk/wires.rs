//! Cables, bridges and neighbours on the way.

use std::net::IpAddr;

use super::{Go, Halted, Space, Walk};
use crate::{
    cause::{Verdict, lan_port},
    check::{families::wiring::bridge_is_down, sight::has_been_given},
    host::{
        bridge::PortState,
        neighbour::{Neighbour, NeighbourState},
    },
    model::{Attachment, Container, Impact},
};

impl<'s> Walk<'s> {
    /// A physical interface is up and has a carrier.
    pub(super) fn carrier(&mut self, name: &str) -> Go<()> {
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

    /// A container's cable, up to the bridge whose name it returns.
    pub(super) fn cable(
        &mut self,
        container: &Container,
        space: &Space,
        device: &str,
    ) -> Go<String> {
        let sight = self.sight;
        let Some((interface, peer)) = self
            .interface_at(space, device)
            .and_then(|interface| Some((interface, interface.peer.as_ref()?)))
        else {
            self.unknown(
                &space.label,
                "cable",
                format!(
                    "{device} is no veth to a bridge of the host: its way from there is not known"
                ),
            );
            return Err(Halted);
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
            // The network that this interface is of, of several.
            let given = |attachment: &&Attachment| {
                let addresses = [attachment.ipv4, attachment.ipv6];
                addresses.iter().flatten().any(|given| {
                    let mut own = own.addresses.iter();
                    own.any(|own| own.addr() == given.addr())
                })
            };
            let bridge = container
                .attachments
                .iter()
                .find(given)
                .and_then(|attachment| sight.inventory.network(&attachment.network_id))
                .and_then(|network| network.bridge.clone());
            let bridge = bridge.filter(|bridge| sight.host.link(bridge).is_some());
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
            return self.stop("host", "bridge", bridge_is_down(&bridge));
        }
        let state = sight.host.bridges.port(name).map(|port| port.state);
        if let Some(state) = state.filter(|state| *state != PortState::Forwarding) {
            let verdict = Verdict::confirmed(
                "stp-forward-delay",
                format!("{name} is {state} on {bridge}: it passes nothing"),
            )
            .end_spanning_tree(
                &bridge,
                Some(name),
                lan_port(&sight.host.bridges, &bridge, &sight.host.links),
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
    pub(super) fn neighbour(&mut self, space: &Space, device: &str, next: IpAddr) -> Go<()> {
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
        let is_known = entry.is_some_and(Neighbour::is_usable);
        let network = self.sight.inventory.network_of(next);
        // A machine behind another port of the bridge.
        let is_lans = is_known
            && self.assigned(next).is_none()
            && network.is_some_and(|network| {
                let host = &self.sight.host;
                let bridge = network.bridge.as_deref();
                bridge.is_some_and(|bridge| lan_port(&host.bridges, bridge, &host.links).is_some())
            });
        if owner.is_none() && !is_lans && network.is_some() {
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

    pub(super) fn assigned(&self, address: IpAddr) -> Option<&'s Container> {
        self.sight
            .running()
            .into_iter()
            .find(|container| has_been_given(container, address))
    }

    pub(super) fn mac_of(&self, address: IpAddr) -> Option<String> {
        let spaces = std::iter::once(&self.sight.host).chain(&self.sight.spaces);
        let mut links = spaces.filter_map(|space| space.holder(address));
        links.next()?.mac.clone()
    }

    /// The container that has an address.
    pub(super) fn holder(&self, address: IpAddr) -> Option<(&'s Container, &'s Space)> {
        let space = self
            .sight
            .spaces
            .iter()
            .find(|space| space.has_address(address))?;
        let container = self.sight.inventory.containers_in(space.key).next()?;
        Some((container, space))
    }
}
