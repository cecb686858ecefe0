//! Evidence in, finding out: one file per family of causes. A wrong cause is worse than `unexplained`.

mod advertised;
mod anew;
mod bpf;
mod bridge;
mod bridge_device;
mod bridged;
mod buffers;
mod case;
pub mod catalogue;
pub mod changed;
mod checksum;
mod connected;
mod conntrack;
mod device;
mod dns;
mod firewall;
mod firewalls;
mod forwarding;
mod fragments;
mod gateway;
pub mod guide;
mod hairpin;
mod hosts;
pub(crate) mod ipvs;
mod localnet;
mod macvlan;
mod misrouted;
mod neighbour;
pub mod noise;
mod overlap;
mod overlay;
mod paused;
mod port;
mod queue;
mod reattach;
mod routed;
mod routing;
mod sizes;
mod socket;
mod stale;
#[cfg(test)]
pub(crate) mod tests;
mod verdict;
mod wire;

pub(crate) use advertised::{ADVICE as ROUTE_COMES_BACK, at_stake, on_the_internet, refused};
pub(crate) use anew::suit;
pub(crate) use bpf::detach;
pub(crate) use bridge::lan_port;
pub(crate) use bridged::lost_address;
pub use case::Case;
pub(crate) use connected::leads_out;
pub use conntrack::{adopt, may_be_adopted};
pub(crate) use firewall::{
    Addresses, BY_FIREWALLD, accept, calls, delete, translated_again, untracked,
};
pub use firewalls::FirewallCache;
pub(crate) use firewalls::TRIED_AGAIN as RULES_HOLD;
pub(crate) use overlap::another_subnet;
pub(crate) use overlay::down as tunnel_down;
pub(crate) use port::Withheld;
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
    advertised::ipv6_route_lost,
    routing::route_rejects,
    misrouted::misrouted,
    hosts::stale_entry,
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
    port::port_isolated,
    macvlan::parent_down,
    macvlan::host_isolation,
    device::uplink_no_carrier,
    device::veth_mtu_mismatch,
    queue::queue_overflow,
    overlay::overlay_broken,
    neighbour::unreachable,
    firewall::netfilter_drop,
    ipvs::no_backend,
    conntrack::full,
    conntrack::snat_exhausted,
    conntrack::reset,
    dns::embedded_broken,
    dns::loopback_resolver,
    socket::no_socket,
    paused::container_paused,
    buffers::buffer_full,
    checksum::bad_checksum,
    bpf::bpf_drop,
];

/// Why the packet died, as far as the catalogue and the live state tell.
#[must_use]
pub fn explain(case: &Case<'_>) -> Option<Verdict> {
    let mut verdict = match TESTS.iter().find_map(|test| test(case)) {
        Some(verdict) => dns::upstream_unreachable(case, &verdict).unwrap_or(verdict),
        None => firewall::one_of_several(case)?,
    };
    suit(&mut verdict.cause.fix, case.inventory.engine_status());
    Some(verdict)
}
