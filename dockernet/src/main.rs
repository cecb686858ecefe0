//! `dockernet-trace`.
fn main() {}
