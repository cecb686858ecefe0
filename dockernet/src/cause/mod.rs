//! Evidence in, finding out: one file per family of causes. A wrong cause is worse than `unexplained`.

mod bridge;
mod bridge_device;
mod case;
pub mod catalogue;
pub mod changed;
mod checksum;
mod connected;
mod device;
mod dns;
mod firewall;
mod forwarding;
pub mod guide;
mod hosts;
mod macvlan;
mod neighbour;
pub mod noise;
mod overlay;
mod paused;
mod port;
mod queue;
mod routing;
mod sizes;
mod socket;
mod stale;
#[cfg(test)]
mod tests;
mod verdict;
mod wire;

pub use case::{Case, FirewallCache};
pub use verdict::Verdict;

/// A cause's test: what it finds, or nothing.
type Test = fn(&Case<'_>) -> Option<Verdict>;

/// In order: the first that finds something has it. Each looks at reason and location first, so that a drop pays for
/// the reads of its own family only.
const TESTS: &[Test] = &[
    // What is broken below the IP layer sends packets astray, and the layers above complain of it.
    bridge_device::bridge_lost,
    stale::stale_neighbour,
    port::duplicate_mac,
    connected::route_conflict,
    forwarding::address_changed_in_container,
    forwarding::forwarding_disabled,
    forwarding::ipv6_forwarding_disabled,
    forwarding::ipv6_disabled,
    routing::route_rejects,
    routing::no_route,
    routing::rp_filter,
    routing::martian_source,
    sizes::ttl_exceeded,
    sizes::mtu_exceeded,
    bridge::stp_forward_delay,
    bridge::veth_down,
    port::port_isolated,
    macvlan::parent_down,
    macvlan::host_isolation,
    device::uplink_no_carrier,
    device::veth_mtu_mismatch,
    queue::queue_overflow,
    overlay::overlay_broken,
    hosts::stale_entry,
    neighbour::unreachable,
    firewall::netfilter_drop,
    socket::no_socket,
    paused::container_paused,
    socket::buffer_full,
    checksum::bad_checksum,
];

/// Why the packet died, as far as the catalogue and the live state tell.
#[must_use]
pub fn explain(case: &Case<'_>) -> Option<Verdict> {
    let verdict = TESTS.iter().find_map(|test| test(case))?;
    Some(dns::upstream_unreachable(case, &verdict).unwrap_or(verdict))
}
