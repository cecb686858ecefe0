//! Bridge ports that do not get what is meant for them: isolated, not flooded to, or with another port's MAC address.

use super::{
    Case, Verdict,
    wire::{self, Crossing},
};
use crate::{
    host::bridge::BridgePort,
    model::{Impact, LinkKind},
};

/// What a port of a bridge is kept from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// All that other isolated ports send.
    Isolated,
    /// Unicast frames for addresses that the bridge has not learnt.
    Unknown,
    /// Broadcasts, ARP requests among them.
    Broadcasts,
    /// Multicasts of groups that nobody has joined, neighbour solicitations among them where the bridge does no snooping.
    Multicasts,
}

impl Withheld {
    /// What is not flooded to a port.
    pub(crate) fn from(port: &BridgePort) -> Vec<Self> {
        let all = [
            (port.unicast_flood, Self::Unknown),
            (port.broadcast_flood, Self::Broadcasts),
            (port.multicast_flood, Self::Multicasts),
        ];
        let withheld = all.into_iter().filter(|(is_flooded, _)| !is_flooded);
        withheld.map(|(_, what)| what).collect()
    }

    /// The frames.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Isolated => "frames of other isolated ports",
            Self::Unknown => "unicast frames for addresses that the bridge has not learnt",
            Self::Broadcasts => "broadcasts, ARP requests among them",
            Self::Multicasts => "multicasts, IPv6 neighbour solicitations among them",
        }
    }

    /// As `bridge link` calls the flag.
    fn flag(self) -> &'static str {
        match self {
            Self::Isolated => "isolated",
            Self::Unknown => "flood",
            Self::Broadcasts => "bcast_flood",
            Self::Multicasts => "mcast_flood",
        }
    }
}

impl Verdict {
    /// Adds what is withheld from a port, and the command that lets it have that.
    pub(crate) fn withheld(self, port: &str, all: &[Withheld]) -> Self {
        let isolated = all.contains(&Withheld::Isolated);
        let (is, mend) = if isolated {
            ("on", "off")
        } else {
            ("off", "on")
        };
        let set = |to: &'static str| {
            let flags = all.iter().map(move |one| format!("{} {to}", one.flag()));
            flags.collect::<Vec<_>>().join(" ")
        };
        let verdict = self.fact(format!("bridge -d link show dev {port}: {}", set(is)));
        let run = format!("bridge link set dev {port} {}", set(mend));
        if isolated {
            verdict.run(run, "host", None, Impact::OpensFirewall).advise(
                "it may be meant so (Docker leaves ports alone; CNI's portIsolation and network managers set it): isolated ports still reach the host and the outside",
            )
        } else {
            verdict
                .run(run, "host", None, Impact::None)
                .advise("find what sets it: Docker leaves flooding on")
        }
    }
}

/// A frame that the bridge has no port for, `br_forward` and `br_flood` refusing those that there are (net/bridge/br_forward.c,
/// inlined into this one).
fn no_port(case: &Case<'_>) -> bool {
    case.in_host()
        && case.evidence.reason_or_silent("NO_TX_TARGET")
        && case.evidence.freed_in(&[
            "br_handle_frame_finish",
            "br_flood",
            "br_forward",
            "__br_forward",
        ])
}

/// Row 63. Two isolated ports exchange nothing; one that is not flooded to gets nothing while the bridge does not know
/// where its address is.
pub(super) fn port_isolated(case: &Case<'_>) -> Option<Verdict> {
    if !no_port(case) && !super::neighbour::gave_up(case) {
        return None;
    }
    let crossings = wire::crossings(case);
    let bridges = case.state.bridges(case.host).ok()?;
    let port = |crossing: &Crossing<'_>| {
        bridges
            .port(&crossing.host.name)
            .filter(|port| port.bridge == crossing.bridge)
    };
    let to = case.evidence.drop.destination.container.as_ref()?;
    let towards = crossings
        .iter()
        .find(|crossing| crossing.container.id.starts_with(&to.id))?;
    let there = port(towards)?;
    if case.in_host() && case.device() == towards.bridge {
        // From the bridge itself: isolation is among ports only, and what the host asks neighbours is flooded to all.
        let is_lost = no_port(case) && !there.unicast_flood;
        return is_lost.then(|| unflooded(Withheld::Unknown, towards, there));
    }
    let from = crossings.iter().find(|crossing| {
        crossing.bridge == towards.bridge && crossing.host.ifindex != towards.host.ifindex
    })?;
    let here = port(from)?;
    if !(here.isolated && there.isolated) {
        let lost = lost(case);
        let withheld = Withheld::from(there).contains(&lost);
        return withheld.then(|| unflooded(lost, towards, there));
    }
    let (a, b) = (&from.container.name, &towards.container.name);
    Some(
        Verdict::confirmed(
            "bridge-port-isolated",
            format!(
                "{a} and {b} are on isolated ports of {}, which exchange nothing",
                towards.bridge
            ),
        )
        .fact(format!("{} and {} are isolated", here.name, there.name))
        .withheld(&there.name, &[Withheld::Isolated]),
    )
}

/// What kind of frame it was that did not come: the packet's own, or the one that was to find its receiver.
fn lost(case: &Case<'_>) -> Withheld {
    let asked = if case.is_ipv6() {
        Withheld::Multicasts
    } else {
        Withheld::Broadcasts
    };
    if !no_port(case) {
        return asked;
    }
    let packet = case.packet();
    match packet.and_then(|packet| packet.dst_mac.as_deref()) {
        Some("ff:ff:ff:ff:ff:ff") => Withheld::Broadcasts,
        // IPv6's and IPv4's multicast (RFC 2464, RFC 1112).
        Some(mac) if mac.starts_with("33:33:") || mac.starts_with("01:00:5e:") => {
            Withheld::Multicasts
        }
        _ => Withheld::Unknown,
    }
}

fn unflooded(lost: Withheld, towards: &Crossing<'_>, there: &BridgePort) -> Verdict {
    // Who has joined a group gets it all the same, where the bridge does snooping.
    let sure = lost != Withheld::Multicasts;
    Verdict::when(
        sure,
        "bridge-port-isolated",
        format!(
            "the port of {} on {} gets no {}",
            towards.container.name,
            towards.bridge,
            lost.what()
        ),
    )
    .withheld(&there.name, &[lost])
}

/// Row 59. A bridge knows one port for an address: what is for the other container goes to the one that spoke last, and
/// what one of both sends to the other comes back to the port it came from, where it is dropped.
pub(super) fn duplicate_mac(case: &Case<'_>) -> Option<Verdict> {
    let misled = case.in_container()
        && case
            .evidence
            .freed_in(&["ip_error", "ip6_forward", "ip6_pkt_drop"]);
    if !no_port(case) && !super::neighbour::gave_up(case) && !misled {
        return None;
    }
    let ends = wire::crossings(case);
    let (mine, other) = ends.iter().find_map(|end| {
        if misled
            && case
                .container_here()
                .is_some_and(|here| here.id == end.container.id)
        {
            return None;
        }
        Some((end, twin(case, end)?))
    })?;
    let mac = mine.wire.mac.as_deref()?;
    let dst_mac = case.packet()?.dst_mac.as_deref();
    if (no_port(case) || misled) && dst_mac != Some(mac) {
        return None;
    }
    Some(
        Verdict::confirmed(
            "duplicate-mac",
            format!(
                "{} and {} have one MAC address on {}, which sends what is for either to the one that spoke last",
                mine.container.name, other.container.name, mine.bridge
            ),
        )
        .fact(format!(
            "{mac} is on {} of {} and on {} of {}",
            mine.wire.name, mine.container.name, other.wire.name, other.container.name
        ))
        .advise(format!(
            "recreate {} or {} without --mac-address (mac_address in compose), or with another one",
            mine.container.name, other.container.name
        )),
    )
}

/// Another container's veth on the same bridge with the same MAC address.
fn twin<'a>(case: &Case<'a>, end: &Crossing<'a>) -> Option<Crossing<'a>> {
    let mac = end.wire.mac.as_ref()?;
    let living = case.inventory.containers().filter(|container| {
        container.ended.is_none()
            && container.netns.is_some()
            && container.netns != end.container.netns
    });
    living
        .filter_map(|container| Some((container, case.inventory.netns(container.netns?)?)))
        .flat_map(|(container, netns)| netns.links.iter().map(move |link| (container, link)))
        .filter(|(_, link)| link.kind == LinkKind::Veth && link.mac.as_ref() == Some(mac))
        .filter_map(|(container, link)| wire::crossing(case, container, link))
        .find(|other| other.bridge == end.bridge)
}
