//! One file per family of findings. A family looks at the machine and says what does not fit; on a healthy one nothing.

mod firewall;
mod forwarding;
mod identity;
mod nat;
mod sockets;
mod wiring;

use super::{Finding, Sight};

/// A family.
type Family = fn(&Sight<'_>) -> Vec<Finding>;

/// In the order of a packet's way.
const FAMILIES: &[Family] = &[
    forwarding::find,
    firewall::find,
    nat::find,
    wiring::find,
    identity::find,
    sockets::find,
];

/// What all of them find.
pub(super) fn all(sight: &Sight<'_>) -> Vec<Finding> {
    FAMILIES.iter().flat_map(|find| find(sight)).collect()
}
