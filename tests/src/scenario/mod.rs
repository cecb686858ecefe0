//! Faults as data: one TOML file each, run healthy first and broken then.

mod again;
mod confusion;
mod each;
mod expect;
mod mend;
mod model;
mod pair;
mod phase;
mod rename;
mod run;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::rename::Rename;
use crate::seed;

pub use again::judge_again;
pub use confusion::Confusion;
pub use each::{each, lab_for};
pub use expect::{check, ends_there, quiet};
pub use model::{
    ContainerSpec, Expect, NetworkSpec, Only, Scenario, ServerSpec, Step, TrafficStep,
};
pub use pair::pairs;
pub use run::{Moment, OutOfSight, Report, follow, run, turn};

/// Reads all scenarios, sorted by name, with the names, ports and subnets that the seed gives them.
///
/// # Errors
/// A file is no scenario; the message names it and the line.
pub fn all() -> Result<Vec<Scenario>> {
    let folder = folder();
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    let rename = Rename::by_seed(seed()?);
    files
        .iter()
        .map(|file| {
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            let scenario = Scenario::parse(&name, &rename.apply(&text_of(&name)?))?;
            Ok(placed(scenario, &rename))
        })
        .collect()
}

/// A scenario whose engine has docker0 in the seed's subnet.
fn placed(mut scenario: Scenario, rename: &Rename) -> Scenario {
    scenario
        .daemon
        .entry("bip")
        .or_insert_with(|| rename.bip().into());
    scenario
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

fn text_of(name: &str) -> Result<String> {
    let path = folder().join(format!("{name}.toml"));
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}
