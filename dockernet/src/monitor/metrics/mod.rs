//! What Prometheus is told: which metrics there are ([`table`]), their values ([`values`]), what
//! of them outlives a restart ([`before`]), and how they are written
//! ([`encode`]).
//!
//! The encoder is our own: node_exporter's text format and OpenMetrics are both needed, and the series are kept here anyway, because
//! their number is bounded and they go with their container.

pub mod before;
pub mod encode;
pub mod table;
pub mod values;

#[cfg(test)]
mod tests;

pub use before::Saved;
pub use encode::Format;
pub use table::{FAMILIES, Family, Kind};
pub use values::Values;
