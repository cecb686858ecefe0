//! `docs`: the pages that are made of the program's own data.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::{process, project};

/// Where the catalogue of causes is written.
const CAUSES: &str = "docs/causes.md";

/// Writes them.
pub(crate) fn verb() -> Result<()> {
    let file = project::root().join(CAUSES);
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    fs::write(&file, causes()?).with_context(|| format!("writing {}", file.display()))?;
    process::note(&format!("{CAUSES} is written"));
    Ok(())
}

/// Demands that they are as `verb` would write them.
pub(crate) fn check() -> Result<()> {
    process::step("cargo xtask docs", "generated pages are as the data is");
    let written = fs::read_to_string(project::root().join(CAUSES)).unwrap_or_default();
    ensure!(
        written == causes()?,
        "{CAUSES} is stale: run `cargo xtask docs` and commit it"
    );
    Ok(())
}

fn causes() -> Result<String> {
    let output = project::cargo()
        .args(["run", "--locked", "--quiet", "--package", "dockernet"])
        .args(["--example", "causes"])
        .output()
        .context("running cargo")?;
    ensure!(
        output.status.success(),
        "the example `causes` failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).context("the example `causes` wrote no UTF-8")
}
