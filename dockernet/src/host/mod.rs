//! What this host is: namespaces, links, routes, settings, firewall, listeners, container engine.
//!
//! Everything here reads and nothing changes the machine. Nothing here loads a kernel module.

pub mod bridge;
pub mod conntrack;
pub mod device;
pub mod docker;
pub mod engine_files;
pub mod firewall;
pub mod link;
pub mod listeners;
pub mod neighbour;
pub(crate) mod netlink;
pub mod netns;
pub mod privileges;
pub mod proxies;
pub mod resolver;
pub mod route;
pub mod state;
pub mod sysctl;
