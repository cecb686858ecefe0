//! What hangs at a device on the way, and at a program's sockets: rules of the netdev and bridge families, and programs of others.

use super::{Direction, Go, Space, Walk};
use crate::{
    check::probe::Side,
    host::{
        attached::{At, Attached},
        firewall::Hook,
    },
    map::model::Interface,
    model::Container,
};

/// `br_handle_frame` and `br_pass_frame_up` (net/bridge/br_input.c): from a port to the bridge itself.
const TO_BRIDGE: &[Hook] = &[Hook::Prerouting, Hook::Input];
/// `br_forward` (net/bridge/br_forward.c): from a port to another.
pub(in crate::check) const ACROSS: &[Hook] = &[Hook::Prerouting, Hook::Forward, Hook::Postrouting];
/// `br_dev_xmit`: from the bridge itself to a port.
const FROM_BRIDGE: &[Hook] = &[Hook::Output, Hook::Postrouting];

impl<'s> Walk<'s> {
    /// It comes in by a device.
    pub(super) fn enters(&mut self, space: &Space, device: &str, side: Side) -> Go<()> {
        // `__netif_receive_skb_core` (net/core/dev.c) asks in this order.
        self.at(space, device, &[At::Xdp, At::TcxIngress, At::TcIngress]);
        let reply = self.is_reply();
        let packet = self.probe.untouched(reply, side, (Some(device), None));
        self.quietly(space, &packet, Hook::Ingress)
    }

    /// It leaves by a device.
    pub(super) fn leaves(&mut self, space: &Space, device: &str, side: Side) -> Go<()> {
        let reply = self.is_reply();
        let devices = (None, Some(device));
        let packet = if space.key == self.sight.host.key {
            self.probe.at_device(reply, side, devices)
        } else {
            self.probe.untouched(reply, side, devices)
        };
        // `__dev_queue_xmit` (net/core/dev.c) asks in this order.
        self.quietly(space, &packet, Hook::Egress)?;
        self.at(space, device, &[At::TcxEgress, At::TcEgress]);
        Ok(())
    }

    /// From a container by its own interface to the host's end of the cable; `to_bridge`: and up to the bridge itself.
    pub(super) fn out_of(
        &mut self,
        space: &Space,
        device: &str,
        side: Side,
        to_bridge: bool,
    ) -> Go<()> {
        self.leaves(space, device, side)?;
        let host = &self.sight.host;
        let Some(port) = self.port_of(space, device) else {
            return Ok(());
        };
        self.enters(host, &port, side)?;
        if to_bridge {
            let packet = self
                .probe
                .untouched(self.is_reply(), side, (Some(&port), None));
            self.bridge_filter(host, &packet, TO_BRIDGE)?;
        }
        Ok(())
    }

    /// From the host's end of the cable into a container; `from_bridge`: and before that from the bridge itself.
    pub(super) fn into(
        &mut self,
        space: &Space,
        device: &str,
        side: Side,
        from_bridge: bool,
    ) -> Go<()> {
        let host = &self.sight.host;
        if let Some(port) = self.port_of(space, device) {
            if from_bridge {
                let packet = self
                    .probe
                    .untouched(self.is_reply(), side, (None, Some(&port)));
                self.bridge_filter(host, &packet, FROM_BRIDGE)?;
            }
            self.leaves(host, &port, side)?;
        }
        self.enters(space, device, side)
    }

    /// A container's sockets.
    pub(super) fn sockets(&mut self, space: &Space, container: &Container, at: At) {
        let Some(pid) = container.pid.and_then(|pid| u32::try_from(pid).ok()) else {
            return;
        };
        // Without a cgroup v2 hierarchy there are none.
        let found = self
            .sight
            .state
            .attached_to_process(pid)
            .unwrap_or_default();
        self.tell(space, "its sockets", &found, &[at]);
    }

    fn at(&mut self, space: &Space, device: &str, places: &[At]) {
        match self.sight.state.attached_to_device(&space.handle, device) {
            Ok(found) => self.tell(space, device, &found, places),
            Err(error) => self.unknown(
                &space.label,
                "programs",
                format!("what hangs at {device} could not be read: {error:#}"),
            ),
        }
    }

    fn tell(&mut self, space: &Space, where_: &str, found: &[Attached], places: &[At]) {
        for one in found.iter().filter(|one| places.contains(&one.at)) {
            self.unknown(
                &space.label,
                "programs",
                format!("{one} at {where_} may drop it: what it does cannot be told from outside"),
            );
        }
    }

    pub(super) fn is_reply(&self) -> bool {
        self.direction == Direction::Back
    }

    /// A container's interface by name, with the host's end of its cable.
    pub(super) fn interface_at(&self, space: &Space, device: &str) -> Option<&'s Interface> {
        let mut namespaces = self.sight.map.namespaces.iter();
        let namespace = namespaces.find(|known| known.inum == space.handle.inum())?;
        let mut interfaces = namespace.interfaces.iter();
        interfaces.find(|interface| interface.device.name == device)
    }

    /// The host's end of the cable of the container that has an address.
    pub(super) fn port_to(&self, space: &Space, address: std::net::IpAddr) -> Option<String> {
        self.port_of(space, &space.holder(address)?.name)
    }

    fn port_of(&self, space: &Space, device: &str) -> Option<String> {
        let peer = self.interface_at(space, device)?.peer.as_ref()?;
        Some(peer.device.name.clone())
    }
}
