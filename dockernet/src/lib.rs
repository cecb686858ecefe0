//! `dockernet-trace`: which packet died on this Docker host, whose it was, why, and which command mends it.
//!
//! Data flows one way: kernel → ring → [`bpf`] → [`evidence`] (with the [`inventory`]) → [`cause`] → [`report`].
//! [`host`] reads what the machine is; [`model`] is what the rooms hand to each other and what JSON consumers see.
//! [`trace_rules`] asks the kernel for the rule behind a drop, the only part that changes a ruleset, and only if told to.
//! [`findings`] watches for failures that drop nothing.
//! [`monitor`] is the same as a service: another report, and what a service needs around it.
//! [`record`] keeps what a run would have shown in a file, and shows it again.
//! [`top`] is the same as a screen: another report, with a thread that draws.
//! [`pcap_filter`] compiles `--filter` for the kernel half.
//! [`plan`] turns options into what to do, [`loading`] loads the kernel half for it, [`pipeline`] does it.

pub mod bpf;
pub mod cause;
pub mod check;
pub mod cli;
pub mod detach;
pub mod doctor;
pub mod evidence;
pub mod explain;
pub mod findings;
pub mod host;
#[doc(hidden)]
pub mod hostile;
pub mod inventory;
pub mod loading;
pub mod logging;
pub mod map;
pub mod memory;
pub mod model;
pub mod monitor;
pub mod path;
pub mod pcap_filter;
pub mod pipeline;
pub mod plan;
pub mod record;
pub mod report;
#[cfg(test)]
mod schema;
mod text;
pub mod top;
pub mod trace_rules;
