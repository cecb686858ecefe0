//! What this host is: namespaces, links, routes, settings, firewall, listeners, container engine.
//!
//! Everything here reads and nothing changes the machine. Nothing here loads a kernel module.

pub mod accept_queue;
pub mod attached;
pub mod bridge;
pub mod changes;
pub mod connections;
pub mod conntrack;
pub(crate) mod daemon;
pub mod device;
pub mod docker;
pub mod engine_files;
mod ethtool;
pub mod fdb;
pub mod firewall;
pub mod freezer;
pub mod helper;
pub mod hosts;
pub(crate) mod inside;
pub mod ipvs;
pub mod kernel_code;
pub mod link;
pub mod listeners;
pub mod loss;
pub mod neighbour;
pub(crate) mod netlink;
pub mod netns;
pub mod privileges;
pub mod proxies;
pub mod queue;
pub(crate) mod regular;
pub mod resolver;
pub(crate) mod rooted;
pub mod route;
pub mod snmp;
pub mod state;
pub mod sysctl;
pub mod vxlan;

/// Runs a program that lists something, for at most some seconds; none if it is not installed.
pub(crate) use firewall::run::output as program_output;
