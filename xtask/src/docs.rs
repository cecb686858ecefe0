//! `docs`: the pages that are made of the program's own data.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{process, project};

/// The pages, each with the example that prints it.
const PAGES: [(&str, &str); 2] = [("docs/causes.md", "causes"), ("docs/metrics.md", "metrics")];

/// What a build may take on a slow machine.
const LIMIT: Duration = Duration::from_secs(1800);

/// The test that makes docs/json.md and docs/schema.json of the types that write the lines.
const SCHEMA: [&str; 7] = [
    "test",
    "--locked",
    "--quiet",
    "--package",
    "dockernet",
    "--lib",
    "schema::",
];

/// Writes them.
pub(crate) fn verb() -> Result<()> {
    for (page, example) in PAGES {
        let file = project::root().join(page);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        fs::write(&file, printed(example)?)
            .with_context(|| format!("writing {}", file.display()))?;
        process::note(&format!("{page} is written"));
    }
    process::quiet(
        project::cargo().args(SCHEMA).env("DOCKERNET_DOCS", "write"),
        LIMIT,
    )?;
    process::note("docs/json.md and docs/schema.json are written");
    Ok(())
}

/// Demands that they are as `verb` would write them.
pub(crate) fn check() -> Result<()> {
    process::step("cargo xtask docs", "generated pages are as the data is");
    for (page, example) in PAGES {
        let written = fs::read_to_string(project::root().join(page)).unwrap_or_default();
        ensure!(
            written == printed(example)?,
            "{page} is stale: run `cargo xtask docs` and commit it"
        );
    }
    process::quiet(project::cargo().args(SCHEMA), LIMIT)
}

fn printed(example: &str) -> Result<String> {
    let output = project::cargo()
        .args(["run", "--locked", "--quiet", "--package", "dockernet"])
        .args(["--example", example])
        .output()
        .context("running cargo")?;
    ensure!(
        output.status.success(),
        "the example `{example}` failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .with_context(|| format!("the example `{example}` wrote no UTF-8"))
}
