//! The command line: what the user typed, and what it means.

pub mod args;
pub mod duration;
pub mod error;
pub mod exit;
pub mod filter;
pub mod flight;
pub mod ignore;
pub mod man;
pub mod options;
pub mod pattern;
pub mod protocol;
mod shown;
pub mod suggest;
pub mod target;

#[cfg(test)]
mod tests;

pub use error::{Marked, Refusal, Usage};
pub use exit::Exit;
pub use filter::Filter;
pub use ignore::Ignore;
pub use options::{Job, Options, parse};
pub use pattern::Pattern;
pub use protocol::Protocol;
pub use target::Target;
