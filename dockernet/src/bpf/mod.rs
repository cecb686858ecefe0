//! The kernel half: load, resolve offsets, attach, drain, count. Bytes in, events and numbers out.

pub mod btf;
mod cast;
pub mod clock;
pub mod features;
pub mod format;
pub mod hops;
mod inject;
pub mod late;
pub mod load;
mod mirror;
pub mod nat;
pub mod offsets;
pub mod reasons;
pub mod symbols;
mod tc;
pub mod tracer;
