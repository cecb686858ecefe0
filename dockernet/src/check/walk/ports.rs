//! What a bridge's ports let pass: isolated ones, and those that get no flooded frames (net/bridge/br_forward.c).

use std::net::IpAddr;

use super::{Go, Space, Walk, device::ACROSS};
use crate::{
    cause::{Verdict, Withheld},
    check::probe::Side,
    host::{
        bridge::BridgePort,
        neighbour::{Neighbour, NeighbourState},
    },
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
        let asks = !knows(from.space, to.address);
        // Whoever was asked for its address has learned the asker's (`arp_process`, `ndisc_recv_ns`).
        let was_asked = self.is_reply() && !knows(to.space, from.address);
        if asks && !was_asked {
            self.asked_for(from.space, to, there)?;
        }
        let is_found = there.is_none_or(|port| to.address.is_ipv6() || port.broadcast_flood);
        let again = is_found && asks_again(from.space, to.address);
        self.unicast(to, there, asks, again)?;
        self.bridge_filter(host, &packet, others)
    }

    /// From the bridge itself to a container's port: `br_flood` gives each port what the host broadcasts.
    pub(super) fn reaches_port(&mut self, space: &'s Space, address: IpAddr) -> Go<()> {
        let host = &self.sight.host;
        let port = self.port_to(space, address);
        let port = port.and_then(|name| host.bridges.port(&name));
        let asks = !knows(host, address);
        self.unicast(
            End { space, address },
            port,
            asks,
            asks_again(host, address),
        )
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

    /// The packet itself comes to the port. `answers`: its receiver has just answered its neighbour's question. `again`: it
    /// will be asked anew if nothing comes back.
    fn unicast(
        &mut self,
        to: End<'s>,
        port: Option<&'s BridgePort>,
        answers: bool,
        again: bool,
    ) -> Go<()> {
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
        if port.learning && again {
            // The answer teaches the bridge.
            let says = format!("{unknown}: packets are lost until its neighbour asks for it anew");
            self.pass("host", "bridge", says);
            return Ok(());
        }
        let verdict = Verdict::confirmed("bridge-port-isolated", unknown)
            .maybe_fact(
                (!port.learning).then(|| format!("{name} learns no addresses (learning off)")),
            )
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
    entries.any(|entry| entry.address == address && entry.is_usable())
}

/// Whether an address is asked for anew when nothing comes back: not where somebody has set it by hand.
fn asks_again(space: &Space, address: IpAddr) -> bool {
    let fixed = |entry: &Neighbour| {
        matches!(
            entry.state,
            NeighbourState::Permanent | NeighbourState::Noarp
        )
    };
    let mut entries = space.neighbours.iter();
    !entries.any(|entry| entry.address == address && fixed(entry))
}
