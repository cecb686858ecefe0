//! What may be changed while the pipeline runs.

use crate::cli::Ignore;

/// A wish of the service around the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// These drops are deliberate from now on, instead of those said before.
    Ignore(Vec<Ignore>),
    /// Whether packets are looked at in detail; without it they are counted, and only the first of each kind on each CPU is
    /// looked at.
    Detail(bool),
    /// To end in order, as a failure: why.
    End(String),
}
