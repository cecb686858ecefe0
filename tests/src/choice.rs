//! How much of the tests a run does: everything (`DOCKERNET_TEST_FULL=1`), or a share that `DOCKERNET_TEST_SEED` says.

use anyhow::{Result, anyhow};

use crate::{Engine, engines};

/// Whether everything is to run.
#[must_use]
pub fn is_full() -> bool {
    std::env::var_os("DOCKERNET_TEST_FULL").is_some_and(|value| value == "1")
}

/// The number that rotates what runs; 0 where none is given.
///
/// # Errors
/// It is no number.
pub fn seed() -> Result<usize> {
    match std::env::var("DOCKERNET_TEST_SEED") {
        Ok(text) => text
            .parse()
            .map_err(|_| anyhow!("DOCKERNET_TEST_SEED is {text:?}, which is no number")),
        Err(_) => Ok(0),
    }
}

/// All engines in a full run, else the one that the seed says.
///
/// # Errors
/// No engine runs here, or the seed is no number.
pub fn engines_of_run() -> Result<Vec<Engine>> {
    let mut engines = engines()?;
    if is_full() {
        return Ok(engines);
    }
    let place = seed()? % engines.len().max(1);
    Ok(vec![engines.swap_remove(place)])
}
