//! Evidence in, finding out: one file per family of causes. A wrong cause is worse than `unexplained`.

mod bridge;
mod case;
pub mod catalogue;
mod checksum;
mod dns;
mod firewall;
mod forwarding;
mod neighbour;
pub mod noise;
mod routing;
mod sizes;
mod socket;
#[cfg(test)]
mod tests;
mod verdict;

pub use case::{Case, FirewallCache};
pub(crate) use firewall::{Addresses, accept, calls, delete};
pub use verdict::Verdict;

/// A cause's test: what it finds, or nothing.
type Test = fn(&Case<'_>) -> Option<Verdict>;

/// In order: the first that finds something has it. Each looks at reason and location first, so that a drop pays for
/// the reads of its own family only.
const TESTS: &[Test] = &[
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
    neighbour::unreachable,
    firewall::netfilter_drop,
    socket::no_socket,
    socket::buffer_full,
    checksum::bad_checksum,
];

/// Why the packet died, as far as the catalogue and the live state tell.
#[must_use]
pub fn explain(case: &Case<'_>) -> Option<Verdict> {
    let verdict = TESTS.iter().find_map(|test| test(case))?;
    Some(dns::upstream_unreachable(case, &verdict).unwrap_or(verdict))
}
