//! The list of what the program is made of: CycloneDX 1.5 (<https://cyclonedx.org/docs/1.5/json/>).

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    components::{self, Component},
    release::{NAME, Release, write},
};
use crate::process;

/// Writes it beside the packages.
pub(super) fn write_to(release: &Release) -> Result<PathBuf> {
    let components = components::all()?;
    let file = release
        .folder
        .join(format!("{NAME}-{}.cdx.json", release.version));
    let bill = bill(&release.version, &components);
    let text = serde_json::to_string_pretty(&bill).context("writing JSON")?;
    write(&file, text + "\n")?;
    process::note(&format!(
        "{} names {} crates",
        file.display(),
        components.len()
    ));
    Ok(file)
}

fn bill(version: &str, components: &BTreeMap<String, Component>) -> Value {
    let program = format!("pkg:generic/{NAME}@{version}");
    let roots: Vec<String> = components
        .values()
        .filter(|component| component.name == "dockernet" || component.name == "dockernet-ebpf")
        .map(purl)
        .collect();
    let mut dependencies = vec![json!({"ref": program, "dependsOn": roots})];
    dependencies.extend(components.values().map(|component| {
        let uses: Vec<String> = component
            .uses
            .iter()
            .filter_map(|id| components.get(id))
            .map(purl)
            .collect();
        json!({"ref": purl(component), "dependsOn": uses})
    }));
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": program,
                "name": NAME,
                "version": version,
                "purl": program,
                "licenses": [{"expression": "MIT OR Apache-2.0"}],
            },
        },
        "components": components.values().map(entry).collect::<Vec<_>>(),
        "dependencies": dependencies,
    })
}

fn entry(component: &Component) -> Value {
    let mut entry = json!({
        "type": "library",
        "bom-ref": purl(component),
        "name": component.name,
        "version": component.version,
        "purl": purl(component),
    });
    if let Some(licence) = &component.licence {
        entry["licenses"] = json!([{"expression": licence}]);
    }
    if let Some(hash) = &component.sha256 {
        entry["hashes"] = json!([{"alg": "SHA-256", "content": hash}]);
    }
    entry
}

/// <https://github.com/package-url/purl-spec>; `+` of a version must be escaped.
fn purl(component: &Component) -> String {
    format!(
        "pkg:cargo/{}@{}",
        component.name,
        component.version.replace('+', "%2B")
    )
}
