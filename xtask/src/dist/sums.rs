//! `SHA256SUMS`: what `sha256sum --check` reads.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use super::release::{Release, write};
use crate::process;

/// Writes it for all files.
pub(super) fn write_for(release: &Release, files: &[PathBuf]) -> Result<()> {
    let mut names: Vec<_> = files.iter().filter_map(|file| file.file_name()).collect();
    names.sort_unstable();
    let mut sum = Command::new("sha256sum");
    sum.current_dir(&release.folder).arg("--").args(names);
    let sums = process::output(&mut sum)?;
    write(&release.folder.join("SHA256SUMS"), sums + "\n")
}

/// Removes what an earlier build left, such as other versions.
pub(super) fn clear(release: &Release) -> Result<()> {
    let entries = fs::read_dir(&release.folder)
        .with_context(|| format!("{} could not be read", release.folder.display()))?;
    for file in entries.flatten().map(|entry| entry.path()) {
        if file.is_file() {
            fs::remove_file(&file)
                .with_context(|| format!("{} could not be removed", file.display()))?;
        }
    }
    Ok(())
}
