//! The container engine, asked through its HTTP interface. Only questions are asked; nothing is changed.

mod address;
mod api;
mod client;
pub(crate) mod convert;
mod error;
mod inspect;

pub use address::{DockerHost, Origin};
pub use api::{About, Action, EngineApi, Event};
pub use client::{Client, Ending};
pub use error::EngineError;
pub use inspect::{Binding, Inspect, Place, cut};

use std::time::Duration;

/// How long any one question may take.
pub const LIMIT: Duration = Duration::from_secs(2);
