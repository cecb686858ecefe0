//! Evidence in, finding out: one file per family of causes. A wrong cause is worse than `unexplained`.

mod advertised;
mod bpf;
mod bridge;
mod bridged;
mod case;
pub mod catalogue;
mod checksum;
mod conntrack;
mod dns;
mod firewall;
mod forwarding;
mod fragments;
mod gateway;
mod hairpin;
mod localnet;
mod misrouted;
mod neighbour;
pub mod noise;
mod overlap;
mod routed;
mod routing;
mod sizes;
mod socket;
#[cfg(test)]
mod tests;
mod verdict;

pub use case::{Case, FirewallCache};
pub use conntrack::{adopt, may_be_adopted};
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
    advertised::ipv6_route_lost,
    routing::route_rejects,
    misrouted::misrouted,
    overlap::subnet_overlaps_lan,
    routing::no_route,
    routing::rp_filter,
    localnet::route_localnet,
    routing::martian_source,
    sizes::ttl_exceeded,
    sizes::mtu_exceeded,
    fragments::fragment_lost,
    bridge::stp_forward_delay,
    bridge::veth_down,
    gateway::gateway,
    conntrack::stale_udp,
    hairpin::hairpin_off,
    hairpin::bridge_nf_off,
    neighbour::unreachable,
    firewall::netfilter_drop,
    conntrack::full,
    conntrack::snat_exhausted,
    conntrack::reset,
    dns::embedded_broken,
    socket::no_socket,
    socket::buffer_full,
    checksum::bad_checksum,
    bpf::bpf_drop,
];

/// Why the packet died, as far as the catalogue and the live state tell.
#[must_use]
pub fn explain(case: &Case<'_>) -> Option<Verdict> {
    let verdict = TESTS.iter().find_map(|test| test(case))?;
    Some(dns::upstream_unreachable(case, &verdict).unwrap_or(verdict))
}
