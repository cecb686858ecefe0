//! One id for a flow.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::IpAddr,
};

/// One id for all packets of a flow, given its two outer ends: both directions and both sides of NAT share them.
pub(crate) fn flow_id(protocol: &str, mut ends: [(IpAddr, u16); 2]) -> String {
    ends.sort_unstable();
    // Fixed keys: the same flow has the same id in every run.
    let mut hasher = DefaultHasher::new();
    protocol.hash(&mut hasher);
    ends.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
