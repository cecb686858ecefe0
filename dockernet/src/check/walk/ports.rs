//! What a bridge's ports let pass: isolated ones, and those that get no flooded frames (net/bridge/br_forward.c).

use std::net::IpAddr;

use super::{Direction, Go, Space, Walk, device::ACROSS};
use crate::{
    cause::Verdict,
    check::probe::Side,
    host::{bridge::BridgePort, neighbour::NeighbourState},
    model::Impact,
};

/// One end of a frame's way over a bridge.
#[derive(Clone, Copy)]
pub(super) struct End<'s> {
    /// Whose it is.
    pub space: &'s Space,
    /// Its address there.
    pub address: IpAddr,
}

/// A flag of a port, as `bridge link` calls it.
enum Flag {
    Isolated,
    Flood,
    Broadcast,
    Multicast,
}

impl Flag {
    fn name(&self) -> &'static str {
        match self {
            Self::Isolated => "isolated",
            Self::Flood => "flood",
            Self::Broadcast => "bcast_flood",
            Self::Multicast => "mcast_flood",
        }
    }
}

impl<'s> Walk<'s> {
    /// From one container's port to another's.
    pub(super) fn across(&mut self, from: End<'s>, to: End<'s>) -> Go<()> {
        let names = [from, to].map(|end| self.port_to(end.space, end.address));
        let [out_of, into] = names.each_ref().map(Option::as_deref);
        // `should_deliver` asks for isolation before the rules are asked.
        let [first, second] = [out_of, into].map(|name| self.bridge_port(name));
        if let (Some(first), Some(second)) = (first, second)
            && first.isolated
            && second.isolated
        {
            let says = format!(
                "{} and {} are isolated on {}: they exchange nothing",
                first.name, second.name, second.bridge
            );
            return self.stop(
                "host",
                "bridge",
                set_wrongly(&says, second, &Flag::Isolated),
            );
        }
        self.found(from, to, second)?;
        let packet = self.probe.untouched(
            self.direction == Direction::Back,
            Side::Client,
            (out_of, into),
        );
        self.bridge_filter(&self.sight.host, &packet, ACROSS)
    }

    /// From the bridge itself to a container's port.
    pub(super) fn reaches_port(&mut self, space: &'s Space, address: IpAddr) -> Go<()> {
        let to = End { space, address };
        let port = self.bridge_port(self.port_to(space, address).as_deref());
        let from = End {
            space: &self.sight.host,
            ..to
        };
        self.found(from, to, port)
    }

    /// The port of the receiver gets what is needed to find it.
    fn found(&mut self, from: End<'s>, to: End<'s>, port: Option<&'s BridgePort>) -> Go<()> {
        let Some(port) = port else { return Ok(()) };
        let knows = |whose: End<'_>, whom: End<'_>| {
            whose.space.neighbours.iter().any(|entry| {
                let told = !matches!(
                    entry.state,
                    NeighbourState::Failed | NeighbourState::Incomplete
                );
                entry.address == whom.address && entry.mac.is_some() && told
            })
        };
        let asks = !knows(from, to);
        // `br_flood`: from the bridge itself every port gets them, and the answer teaches it where the receiver is.
        let from_bridge = from.space.key == self.sight.host.key;
        // Whoever was asked for its address has learned the asker's (`arp_process`, `ndisc_recv_ns`).
        let was_asked = self.direction == Direction::Back && !knows(to, from);
        if asks && (from_bridge || was_asked) {
            return Ok(());
        }
        let (floods, flag, what) = match (asks, to.address.is_ipv6()) {
            (false, _) => (port.unicast_flood, Flag::Flood, "unknown unicast"),
            (true, false) => (port.broadcast_flood, Flag::Broadcast, "broadcast"),
            (true, true) => (port.multicast_flood, Flag::Multicast, "multicast"),
        };
        if floods || (!asks && self.learned(to, port)) {
            return Ok(());
        }
        let because = if asks {
            format!("{} does not know where {} is", from.space.label, to.address)
        } else {
            format!("{} has forgotten where {} is", port.bridge, to.address)
        };
        let says = format!(
            "{because}, and {} sends no {what} frames to {}",
            port.bridge, port.name
        );
        self.stop("host", "bridge", set_wrongly(&says, port, &flag))
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

    fn bridge_port(&self, name: Option<&str>) -> Option<&'s BridgePort> {
        self.sight.host.bridges.port(name?)
    }
}

fn set_wrongly(says: &str, port: &BridgePort, flag: &Flag) -> Verdict {
    let name = &port.name;
    let (is, mend) = match flag {
        Flag::Isolated => ("on", "off"),
        Flag::Flood | Flag::Broadcast | Flag::Multicast => ("off", "on"),
    };
    let flag = flag.name();
    Verdict::confirmed("bridge-port-isolated", says)
        .fact(format!("bridge -d link show dev {name}: {flag} {is}"))
        .run(
            format!("bridge link set dev {name} {flag} {mend}"),
            "host",
            None,
            Impact::None,
        )
}
