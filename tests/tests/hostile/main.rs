//! What others wrote, damaged in all ways a seed can think of: no parser panics.
//!
//! The same entry points as the fuzz targets (`cargo xtask fuzz`), which look at coverage and find more; this runs everywhere.
//! `DOCKERNET_TEST_FULL=1` gives each parser half a minute instead of one second.

mod mutate;
mod seeds;

use std::{
    panic,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use dockernet::hostile::PARSERS;
use dockernet_tests::progress;

use self::mutate::Mutator;

/// Writes the seeds to a folder, for `cargo xtask fuzz`.
fn write_seeds(folder: &str) -> Result<()> {
    for (name, _) in PARSERS {
        let folder = Path::new(folder).join(name);
        std::fs::create_dir_all(&folder)?;
        for (number, seed) in seeds::of(name).iter().enumerate() {
            std::fs::write(folder.join(number.to_string()), seed)?;
        }
    }
    Ok(())
}

#[test]
fn no_parser_panics() -> Result<()> {
    if let Ok(folder) = std::env::var("DOCKERNET_SEEDS") {
        return write_seeds(&folder);
    }
    let full = std::env::var_os("DOCKERNET_TEST_FULL").is_some_and(|value| value == "1");
    let limit = Duration::from_secs(if full { 30 } else { 1 });
    let seed = std::env::var("DOCKERNET_TEST_SEED").map_or(Ok(0), |text| text.parse())?;
    for (name, parser) in PARSERS {
        let seeds = seeds::of(name);
        anyhow::ensure!(!seeds.is_empty(), "{name} has nothing to begin with");
        // Undamaged first.
        let mut inputs: Vec<Vec<u8>> = seeds.clone();
        inputs.push(Vec::new());
        let mut mutator = Mutator::new(seed, seeds);
        let started = Instant::now();
        let mut tried = 0_u64;
        while started.elapsed() < limit {
            let input = inputs.pop().unwrap_or_else(|| mutator.next());
            tried += 1;
            if panic::catch_unwind(|| parser(&input)).is_err() {
                let file = format!("{}/hostile-{name}", env!("CARGO_TARGET_TMPDIR"));
                std::fs::write(&file, &input)?;
                bail!("{name} panics at the input in {file}");
            }
        }
        progress(&format!("{name}: {tried} inputs"));
    }
    Ok(())
}
