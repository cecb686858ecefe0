//! Who owns an address, an interface, a namespace: live, with tombstones.
//!
//! [`InventoryService`] watches the machine and the engine and publishes an [`Inventory`] whenever something
//! changed. An inventory never changes: readers keep the one they took for as long as they like.

mod build;
mod caveats;
mod engine;
mod lookup;
mod names;
mod observe;
mod openers;
mod ports;
mod service;
mod space;
mod state;
mod status;

pub use build::{Parts, Snapshot};
pub use service::{InventoryService, Options};
pub use status::EngineStatus;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use crate::model::{Container, Link, NetnsInfo, NetnsKey, Network};

/// How long an ended container still owns its addresses.
///
/// Long enough for the last retransmissions to a container that is gone; short enough that an address that was
/// given away is not blamed on the dead.
pub const TOMBSTONE: Duration = Duration::from_secs(60);

/// Everything that is known about this host's containers and namespaces at one instant.
#[derive(Debug, Default)]
pub struct Inventory {
    host: NetnsKey,
    status: EngineStatus,
    namespaces: HashMap<NetnsKey, Arc<NetnsInfo>>,
    by_inum: HashMap<u32, NetnsKey>,
    containers: BTreeMap<String, Arc<Container>>,
    endpoint_ids: HashMap<String, u32>,
    networks: Vec<Arc<Network>>,
    holders: HashMap<IpAddr, Vec<Holder>>,
    /// (protocol, host port) → container and place in its list.
    published: HashMap<(String, u16), Vec<(String, usize)>>,
    /// Peer of a host veth → the namespace it leads to, by the veth's index in the host.
    behind: HashMap<u32, NetnsKey>,
    /// Links that are gone since a short while, for packets that died with them.
    gone: HashMap<(NetnsKey, u32), Arc<Link>>,
}

/// Who holds an address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Holder {
    /// The host's namespace.
    Host,
    /// A container, by id.
    Container(String),
    /// A namespace that is no container's.
    Namespace(NetnsKey),
}

#[cfg(test)]
mod tests;
