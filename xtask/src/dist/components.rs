//! The crates that the program is made of, as cargo tells them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::release::target;
use crate::{process, project};

/// A crate in the program.
#[derive(Debug)]
pub(super) struct Component {
    pub(super) name: String,
    pub(super) version: String,
    /// An SPDX expression.
    pub(super) licence: Option<String>,
    /// Its manifest.
    pub(super) manifest: String,
    /// The hash of what the registry holds; none for our own.
    pub(super) sha256: Option<String>,
    /// Cargo's ids of the crates that it uses.
    pub(super) uses: Vec<String>,
}

/// By cargo's id: whatever is linked into the program or its kernel half, or makes code of it (macros).
pub(super) fn all() -> Result<BTreeMap<String, Component>> {
    let mut metadata = project::cargo();
    metadata
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(["--filter-platform", target()?]);
    let told = process::output(&mut metadata)?;
    let told: Value = serde_json::from_str(&told).context("cargo metadata gave no JSON")?;
    let hashes = hashes(&super::release::source("Cargo.lock")?)?;
    from(&told, &hashes)
}

fn from(
    told: &Value,
    hashes: &BTreeMap<(String, String), String>,
) -> Result<BTreeMap<String, Component>> {
    let packages = list(told, "packages");
    let nodes: BTreeMap<&str, &Value> = told
        .get("resolve")
        .map(|resolve| list(resolve, "nodes"))
        .unwrap_or_default()
        .iter()
        .map(|node| (text(node, "id"), node))
        .collect();
    let mut left: Vec<&str> = packages
        .iter()
        .filter(|package| matches!(text(package, "name"), "dockernet" | "dockernet-ebpf"))
        .map(|package| text(package, "id"))
        .collect();
    let mut used = BTreeSet::new();
    let mut components = BTreeMap::new();
    while let Some(id) = left.pop() {
        if !used.insert(id) {
            continue;
        }
        let uses = nodes.get(id).map(|node| linked(node)).unwrap_or_default();
        left.extend(&uses);
        let package = packages
            .iter()
            .find(|package| text(package, "id") == id)
            .with_context(|| format!("cargo metadata does not tell of {id}"))?;
        let key = (
            text(package, "name").to_owned(),
            text(package, "version").to_owned(),
        );
        components.insert(
            id.to_owned(),
            Component {
                licence: package
                    .get("license")
                    .and_then(Value::as_str)
                    // Cargo's old way to write it.
                    .map(|licence| licence.replace('/', " OR ")),
                manifest: text(package, "manifest_path").to_owned(),
                sha256: hashes.get(&key).cloned(),
                uses: uses.into_iter().map(str::to_owned).collect(),
                name: key.0,
                version: key.1,
            },
        );
    }
    Ok(components)
}

/// Ids of the crates that a crate is linked with. Those of its build script and its tests are in no program.
fn linked(node: &Value) -> Vec<&str> {
    list(node, "deps")
        .iter()
        .filter(|dep| {
            list(dep, "dep_kinds")
                .iter()
                .any(|kind| kind.get("kind").is_some_and(Value::is_null))
        })
        .map(|dep| text(dep, "pkg"))
        .collect()
}

/// Checksums of Cargo.lock, by name and version.
fn hashes(lock: &str) -> Result<BTreeMap<(String, String), String>> {
    let lock: toml::Table = lock.parse().context("Cargo.lock is not TOML")?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let word = |package: &toml::Value, key: &str| {
        package
            .get(key)
            .and_then(toml::Value::as_str)
            .map(str::to_owned)
    };
    Ok(packages
        .into_iter()
        .flatten()
        .filter_map(|package| {
            Some((
                (word(package, "name")?, word(package, "version")?),
                word(package, "checksum")?,
            ))
        })
        .collect())
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_is_linked() {
        let dep =
            |id: &str, kind: Value| serde_json::json!({"pkg": id, "dep_kinds": [{"kind": kind}]});
        let package = |name: &str| {
            serde_json::json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0",
                               "manifest_path": "/x/Cargo.toml"})
        };
        let told = serde_json::json!({
            "packages": [package("dockernet"), package("a"), package("b"), package("builds"), package("tests")],
            "resolve": {"nodes": [
                {"id": "dockernet", "deps": [dep("a", Value::Null), dep("builds", "build".into()), dep("tests", "dev".into())]},
                {"id": "a", "deps": [dep("b", Value::Null)]},
                {"id": "b", "deps": [dep("a", Value::Null)]},
            ]}
        });
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"00ff\"\n[[package]]\nname = \"dockernet\"\nversion = \"1.0.0\"\n";
        let found = from(&told, &hashes(lock).unwrap()).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a", "b", "dockernet"]);
        let a = found.get("a").unwrap();
        assert_eq!(a.sha256.as_deref(), Some("00ff"));
        assert_eq!(a.licence.as_deref(), Some("MIT OR Apache-2.0"));
        assert_eq!(a.uses, ["b"]);
        assert_eq!(found.get("dockernet").unwrap().sha256, None);
    }
}
