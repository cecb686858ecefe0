//! Faults as data: one TOML file each, run healthy first and broken then.

mod expect;
mod model;
mod phase;
mod run;

use std::path::Path;

use anyhow::{Context, Result, ensure};

pub use expect::{check, ends_there, quiet};
pub use model::{
    ContainerSpec, Expect, NetworkSpec, Only, Scenario, ServerSpec, Step, TrafficStep,
};
pub use run::{Report, follow, run};

/// Reads all scenarios, sorted by name.
///
/// # Errors
/// A file is no scenario; the message names it and the line.
pub fn all() -> Result<Vec<Scenario>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| {
            let text = std::fs::read_to_string(file)?;
            let mut scenario: Scenario = toml::from_str(&text)
                .with_context(|| format!("{} is no scenario", file.display()))?;
            scenario.name = file
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            ensure!(
                !scenario.traffic.is_empty(),
                "{} has no traffic",
                file.display()
            );
            Ok(scenario)
        })
        .collect()
}
