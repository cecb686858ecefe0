//! One file per family of findings. A family looks at the machine and says what does not fit; on a healthy one nothing.

mod configuration;
mod engine;
mod firewall;
pub(super) mod forwarding;
pub(super) mod gateway;
mod hosts;
mod identity;
mod inner;
mod input;
mod ipvs;
mod local;
mod modes;
mod names;
pub(super) mod nat;
mod programs;
pub(super) mod queues;
mod routing;
mod rp_filter;
mod siblings;
mod sizes;
pub(super) mod sockets;
mod stopped;
mod subnets;
pub(super) mod tracking;
mod uplinks;
pub(super) mod wiring;

pub(super) use self::firewall::uplink;
use super::{Finding, Sight};
use crate::cause::suit;

/// A family.
type Family = fn(&Sight<'_>) -> Vec<Finding>;

/// In the order of a packet's way.
const FAMILIES: &[Family] = &[
    forwarding::find,
    routing::find,
    subnets::find,
    gateway::find,
    rp_filter::find,
    firewall::find,
    inner::find,
    programs::find,
    nat::find,
    wiring::find,
    uplinks::find,
    sizes::find,
    identity::find,
    sockets::find,
    queues::find,
    local::find,
    input::find,
    tracking::find,
    stopped::find,
    names::find,
    hosts::find,
    engine::find,
    ipvs::find,
    modes::find,
];

/// What all of them find.
pub(super) fn all(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = FAMILIES.iter().flat_map(|find| find(sight)).collect();
    for finding in &mut found {
        suit(&mut finding.cause.fix, sight.inventory.engine_status());
    }
    found
}
