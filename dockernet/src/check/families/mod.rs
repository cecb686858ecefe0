//! One file per family of findings. A family looks at the machine and says what does not fit; on a healthy one nothing.

mod forwarding;

use super::{Finding, Sight};

/// A family.
type Family = fn(&Sight<'_>) -> Vec<Finding>;

/// In the order of a packet's way.
const FAMILIES: &[Family] = &[
    forwarding::find,
];

/// What all of them find.
pub(super) fn all(sight: &Sight<'_>) -> Vec<Finding> {
    FAMILIES.iter().flat_map(|find| find(sight)).collect()
}
