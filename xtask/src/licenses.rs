//! `licenses`: every dependency's licence against the allow list of deny.toml, the file cargo-deny reads.

use std::fs;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{process, project};

/// Fails with one line per dependency whose licence is not allowed.
pub(crate) fn verb() -> Result<()> {
    process::step(
        "licences of all dependencies",
        "only those of deny.toml are allowed",
    );
    let file = project::root().join("deny.toml");
    let text = fs::read_to_string(&file)
        .with_context(|| format!("{} could not be read", file.display()))?;
    let allowed = allowed(&text)?;
    let mut metadata = project::cargo();
    metadata.args(["metadata", "--format-version", "1", "--locked"]);
    let told = process::output(&mut metadata)?;
    let told: Value = serde_json::from_str(&told).context("cargo metadata gave no JSON")?;
    let refused = refused(&told, &allowed);
    if !refused.is_empty() {
        bail!(
            "deny.toml does not allow the licence of:\n{}\nUse another crate, or allow it with a reason",
            refused.join("\n")
        );
    }
    Ok(())
}

/// The allow list.
fn allowed(text: &str) -> Result<Vec<String>> {
    let deny: toml::Table = text.parse().context("deny.toml is not TOML")?;
    let list = deny
        .get("licenses")
        .and_then(|table| table.get("allow"))
        .and_then(toml::Value::as_array)
        .context("deny.toml has no list [licenses] allow")?;
    Ok(list
        .iter()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect())
}

/// `name version: licence` of every package that is not allowed.
fn refused(metadata: &Value, allowed: &[String]) -> Vec<String> {
    let packages = metadata.get("packages").and_then(Value::as_array);
    let text = |package: &Value, key: &str| {
        package
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    packages
        .into_iter()
        .flatten()
        .filter(|package| !is_allowed(&text(package, "license"), allowed))
        .map(|package| {
            format!(
                "  {} {}: {}",
                text(package, "name"),
                text(package, "version"),
                package
                    .get("license")
                    .and_then(Value::as_str)
                    .unwrap_or("none told")
            )
        })
        .collect()
}

/// Evaluates an SPDX expression; cargo's old `A/B` means `A OR B`. What cannot be read is not allowed.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    either(&mut rest, allowed) == Some(true) && rest.is_empty()
}

/// `both (OR both)*`
fn either(words: &mut &[&str], allowed: &[String]) -> Option<bool> {
    let mut value = both(words, allowed)?;
    while let Some((&"OR", rest)) = words.split_first() {
        *words = rest;
        // Both sides are read whatever the first one says.
        value |= both(words, allowed)?;
    }
    Some(value)
}

/// `one (AND one)*`
fn both(words: &mut &[&str], allowed: &[String]) -> Option<bool> {
    let mut value = one(words, allowed)?;
    while let Some((&"AND", rest)) = words.split_first() {
        *words = rest;
        value &= one(words, allowed)?;
    }
    Some(value)
}

/// `NAME`, `NAME WITH EXCEPTION` or `( … )`
fn one(words: &mut &[&str], allowed: &[String]) -> Option<bool> {
    let (word, rest) = words.split_first()?;
    *words = rest;
    match *word {
        "(" => {
            let value = either(words, allowed)?;
            let (&")", rest) = words.split_first()? else {
                return None;
            };
            *words = rest;
            Some(value)
        }
        ")" | "OR" | "AND" | "WITH" => None,
        name => {
            let mut name = name.to_owned();
            if let Some((&"WITH", rest)) = words.split_first() {
                let (exception, rest) = rest.split_first()?;
                name = format!("{name} WITH {exception}");
                *words = rest;
            }
            Some(allowed.contains(&name))
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn check(expression: &str) -> bool {
        is_allowed(
            expression,
            &allowed("[licenses]\nallow = [\"MIT\", \"ISC\"]").unwrap(),
        )
    }

    #[test]
    fn expressions() {
        for good in [
            "MIT",
            "MIT OR GPL-3.0-only",
            "Apache-2.0/MIT",
            "MIT AND ISC",
            "(GPL-3.0-only OR MIT) AND ISC",
        ] {
            assert!(check(good), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "(GPL-3.0-only OR MIT) AND Zlib",
            "MIT WITH Other-exception",
            "MIT OR",
            "(MIT",
            "MIT)",
            "MIT ISC",
            "AND MIT",
        ] {
            assert!(!check(bad), "{bad}");
        }
        assert!(is_allowed("A WITH B OR C", &["A WITH B".to_owned()]));
    }

    #[test]
    fn refused_packages_are_named() {
        let metadata = serde_json::json!({"packages": [
            {"name": "a", "version": "1.0.0", "license": "MIT"},
            {"name": "b", "version": "2.0.0", "license": "GPL-3.0-only"},
            {"name": "c", "version": "3.0.0", "license": null},
        ]});
        let refused = refused(&metadata, &["MIT".to_owned()]);
        assert_eq!(refused, ["  b 2.0.0: GPL-3.0-only", "  c 3.0.0: none told"]);
    }

    #[test]
    fn a_list_must_be_there() {
        assert!(allowed("[licenses]").is_err());
        assert!(allowed("[").is_err());
    }
}
