//! The kernel half: load, resolve offsets, attach, drain, count. Bytes in, events and numbers out.

pub mod btf;
pub mod clock;
pub mod features;
pub mod format;
pub mod load;
pub mod nat;
pub mod offsets;
pub mod reasons;
pub mod symbols;
pub mod tracer;
