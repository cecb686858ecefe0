//! `dockernet-trace`: which packet died on this Docker host, whose it was, why, and which command mends it.
//!
//! Data flows one way: kernel → ring → [`bpf`] → [`inventory`] → [`cause`] → [`report`]. [`host`] reads what the
//! machine is; [`model`] is what the rooms hand to each other and what JSON consumers see.

pub mod bpf;
pub mod cause;
pub mod cli;
pub mod evidence;
pub mod host;
pub mod inventory;
pub mod model;
pub mod report;
