//! What a bridge's ports let pass: isolated ones, and those that get no flooded frames (net/bridge/br_forward.c).

use std::net::IpAddr;

use super::{Go, Space, Walk, device::ACROSS};
use crate::{
    cause::{Verdict, Withheld},
    check::probe::Side,
    host::bridge::BridgePort,
};

/// One end of a frame's way over a bridge.
#[derive(Clone, Copy)]
pub(super) struct End<'s> {
    /// Whose it is.
    pub space: &'s Space,
    /// Its address there.
    pub address: IpAddr,
}

impl<'s> Walk<'s> {
    /// From one container's port to another's.
    pub(super) fn across(&mut self, from: End<'s>, to: End<'s>) -> Go<()> {
        let names = [from, to].map(|end| self.port_to(end.space, end.address));
        let [out_of, into] = names.each_ref().map(Option::as_deref);
        let host = &self.sight.host;
        let packet = self
            .probe
            .untouched(self.is_reply(), Side::Client, (out_of, into));
        // `should_deliver` asks for isolation between the first hook and the others.
        let (first, others) = ACROSS.split_at(1);
        self.bridge_filter(host, &packet, first)?;
        let [here, there] = [out_of, into].map(|name| host.bridges.port(name?));
        if let (Some(here), Some(there)) = (here, there)
            && here.isolated
            && there.isolated
            && here.bridge == there.bridge
        {
            let verdict = Verdict::confirmed(
                "bridge-port-isolated",
                format!(
                    "{} and {} are isolated on {}: they exchange nothing",
                    here.name, there.name, there.bridge
                ),
            );
            let verdict = verdict.withheld(&there.name, &[Withheld::Isolated]);
            return self.stop("host", "bridge", verdict);
        }
        // Whoever was asked for its address has learned the asker's (`arp_process`, `ndisc_recv_ns`).
        let was_asked = self.is_reply() && !knows(to.space, from.address);
        if !knows(from.space, to.address) && !was_asked {
            self.asked_for(from.space, to, there)?;
        }
        let answers = was_asked || !knows(from.space, to.address);
        self.unicast(to, there, answers)?;
        self.bridge_filter(host, &packet, others)
    }

    /// From the bridge itself to a container's port: `br_flood` gives each port what the host broadcasts.
    pub(super) fn reaches_port(&mut self, space: &'s Space, address: IpAddr) -> Go<()> {
        let host = &self.sight.host;
        let port = self.port_to(space, address);
        let port = port.and_then(|name| host.bridges.port(&name));
        self.unicast(End { space, address }, port, !knows(host, address))
    }

    /// A neighbour's question comes to the port.
    fn asked_for(&mut self, from: &Space, to: End<'s>, port: Option<&'s BridgePort>) -> Go<()> {
        let Some(port) = port else { return Ok(()) };
        let (bridge, name) = (&port.bridge, &port.name);
        let unknown = format!("{} does not know where {} is", from.label, to.address);
        if to.address.is_ipv6() && !port.multicast_flood {
            let says = format!(
                "{unknown}, and {bridge} floods no multicasts to {name} (mcast_flood off): whether it finds it by snooping is not known"
            );
            self.unknown("host", "bridge", says);
        }
        if to.address.is_ipv6() || port.broadcast_flood {
            return Ok(());
        }
        let says = format!("{unknown}, and {bridge} sends no broadcasts to {name}");
        let verdict = Verdict::confirmed("bridge-port-isolated", says);
        let verdict = verdict.withheld(name, &[Withheld::Broadcasts]);
        self.stop("host", "bridge", verdict)
    }

    /// The packet itself comes to the port. `answers`: its receiver has just sent something, an answer to the neighbour's
    /// question, or the packet that this is the answer to.
    fn unicast(&mut self, to: End<'s>, port: Option<&'s BridgePort>, answers: bool) -> Go<()> {
        let Some(port) = port else { return Ok(()) };
        let is_taught = port.learning && (answers || self.is_reply());
        if port.unicast_flood || is_taught || self.learned(to, port) {
            return Ok(());
        }
        let (bridge, name) = (&port.bridge, &port.name);
        let unknown = format!(
            "{bridge} does not know where {} is, and sends no unknown unicast to {name}",
            to.address
        );
        if port.learning {
            // Its neighbour asks anew once nothing comes back, and the answer teaches the bridge.
            let says = format!("{unknown}: the first seconds of a connection may be lost");
            self.pass("host", "bridge", says);
            return Ok(());
        }
        let verdict = Verdict::confirmed("bridge-port-isolated", unknown)
            .fact(format!("{name} learns no addresses (learning off)"))
            .withheld(name, &[Withheld::Unknown]);
        self.stop("host", "bridge", verdict)
    }

    /// The bridge knows which port an address is behind.
    fn learned(&self, to: End<'_>, port: &BridgePort) -> bool {
        let link = to.space.holder(to.address);
        let mac = link.and_then(|link| link.mac.as_deref());
        // What cannot be read is not held against it.
        let Ok(entries) = self.sight.state.fdb(&self.sight.host.handle) else {
            return true;
        };
        mac.is_none_or(|mac| {
            let mut entries = entries.iter();
            entries.any(|entry| entry.device == port.name && entry.mac == mac)
        })
    }
}

/// Whether a namespace has an address's neighbour entry that can be used.
fn knows(space: &Space, address: IpAddr) -> bool {
    let mut entries = space.neighbours.iter();
    entries.any(|entry| entry.address == address && entry.mac.is_some() && !entry.is_unresolved())
}
