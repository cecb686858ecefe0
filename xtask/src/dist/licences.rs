//! The licence texts of all crates in the program, as most licences ask for: each text once, with the crates that it is of.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::{components, release::write};

/// Words that names of such files begin with.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"];

/// Writes them to a file in `folder`.
pub(super) fn write_texts(folder: &Path) -> Result<PathBuf> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut without = Vec::new();
    for component in components::all()?.values() {
        let crate_ = format!("{} {}", component.name, component.version);
        let Some(place) = Path::new(&component.manifest).parent() else {
            continue;
        };
        let found = of(place);
        if found.is_empty() && component.sha256.is_some() {
            let licence = component.licence.as_deref().unwrap_or("none told");
            without.push(format!("{crate_} ({licence})"));
        }
        for text in found {
            texts.entry(text).or_default().push(crate_.clone());
        }
    }
    let mut page = String::from("Licences of the crates that dockernet-trace is made of.\n");
    if !without.is_empty() {
        page += &format!(
            "\nWithout a text of their own, by their manifests: {}.\n",
            without.join(", ")
        );
    }
    let rule = "=".repeat(80);
    for (text, crates) in &texts {
        page += &format!("\n{rule}\n{}:\n\n{text}\n", crates.join(", "));
    }
    let file = folder.join("LICENSES-third-party.txt");
    write(&file, page)?;
    Ok(file)
}

/// Texts in a crate's folder, with the ends of lines that Unix has.
fn of(place: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(place) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let name = name.to_ascii_uppercase();
            NAMES.iter().any(|start| name.starts_with(start))
        })
        .collect();
    files.sort();
    files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .map(|text| text.replace("\r\n", "\n").trim().to_owned())
        .collect()
}
