//! `soak`: the service for as long as wanted, in a lab where things happen; the report goes to docs/soak.md.

use anyhow::Result;

use crate::test;

/// Builds everything with optimisations, then runs it with root's rights.
pub(crate) fn verb(minutes: u64) -> Result<()> {
    test::lab_program("soak", &[minutes.to_string()])
}
