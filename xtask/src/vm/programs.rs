//! The lab's tests, built here to be run in a guest.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::guest::Extra;
use crate::{process, project};

/// Where they are in the guest.
pub(super) const FOLDER: &str = "/vm/tests";

/// Builds the named test programs of the lab and gives them as files of a guest. `scratch` takes copies without
/// debugging information, which would only fill the guest's memory.
///
/// # Errors
/// They do not compile.
pub(super) fn build(names: &[&str], scratch: &Path) -> Result<Vec<Extra>> {
    let mut cargo = project::cargo();
    cargo
        .args([
            "test",
            "--locked",
            "--no-run",
            "--package",
            "dockernet-tests",
        ])
        .arg("--message-format=json-render-diagnostics");
    for name in names {
        cargo.args(["--test", name]);
    }
    process::step(
        &format!("building the tests {}", names.join(", ")),
        "they run in the guests",
    );
    let output = cargo
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo could not be started")?;
    if !output.status.success() {
        bail!("the lab's tests do not build ({})", output.status);
    }
    let told = String::from_utf8_lossy(&output.stdout);
    names
        .iter()
        .map(|name| {
            let program = executable(&told, name)
                .with_context(|| format!("cargo built no test program {name}"))?;
            Ok(Extra {
                from: stripped(&program, &scratch.join(name))?,
                to: Path::new(FOLDER).join(name),
            })
        })
        .collect()
}

/// The program of test `name` among cargo's messages.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let fits = message["target"]["name"] == name && message["target"]["kind"][0] == "test";
        fits.then(|| message["executable"].as_str().map(PathBuf::from))?
    })
}

fn stripped(program: &Path, copy: &Path) -> Result<PathBuf> {
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(copy).arg(program);
    if process::output(&mut strip).is_err() {
        fs::copy(program, copy).with_context(|| format!("copying {}", program.display()))?;
    }
    Ok(copy.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_of_a_test() {
        let messages = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"nat"},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"nat"},"executable":"/t/nat-1"}
rubbish"#;
        assert_eq!(executable(messages, "nat"), Some(PathBuf::from("/t/nat-1")));
        assert_eq!(executable(messages, "faults"), None);
    }
}
