//! Every line that a test reads is held against docs/schema.json: nothing may be missing, and nothing may be there that it does not
//! describe. (Readers other than these tests ignore what they do not know.)

use std::{collections::HashMap, sync::OnceLock};

use anyhow::{Context, Result, bail, ensure};
use jsonschema::Validator;
use serde_json::{Map, Value, json};

const SCHEMA: &str = include_str!("../../docs/schema.json");

/// Parses a line and demands that it is as the schema says.
///
/// # Errors
/// It is no JSON, or differs from the schema; the message says where.
pub fn line(text: &str) -> Result<Value> {
    let line: Value = serde_json::from_str(text).with_context(|| format!("no JSON: {text}"))?;
    check(&line)?;
    Ok(line)
}

/// Parses all lines of an output as [`line()`] does.
///
/// # Errors
/// As [`line()`].
pub fn lines(text: &str) -> Result<Vec<Value>> {
    text.lines().map(line).collect()
}

/// Demands that a line is as the schema says.
///
/// # Errors
/// It is not; the message says where.
pub fn check(line: &Value) -> Result<()> {
    let kind = line["type"].as_str().unwrap_or_default();
    let validator = validators()?
        .get(kind)
        .with_context(|| format!("docs/schema.json knows no line of type {kind:?}: {line}"))?;
    let wrong: Vec<String> = validator
        .iter_errors(line)
        .map(|error| format!("{}: {error}", error.instance_path))
        .collect();
    ensure!(
        wrong.is_empty(),
        "not as docs/schema.json says ({}): {line}",
        wrong.join("; ")
    );
    Ok(())
}

/// One for each type of line: an error then names the key instead of "none of these".
fn validators() -> Result<&'static HashMap<String, Validator>> {
    static ALL: OnceLock<Result<HashMap<String, Validator>, String>> = OnceLock::new();
    match ALL.get_or_init(|| compile().map_err(|error| format!("{error:#}"))) {
        Ok(all) => Ok(all),
        Err(error) => bail!("docs/schema.json: {error}"),
    }
}

fn compile() -> Result<HashMap<String, Validator>> {
    let mut schema: Value = serde_json::from_str(SCHEMA)?;
    close(&mut schema);
    let names: Vec<&str> = schema["oneOf"]
        .as_array()
        .context("no list of lines")?
        .iter()
        .filter_map(|one| one["$ref"].as_str()?.strip_prefix("#/$defs/"))
        .collect();
    names
        .into_iter()
        .map(|name| {
            let one = json!({ "$ref": format!("#/$defs/{name}"), "$defs": schema["$defs"] });
            Ok((name.to_owned(), jsonschema::validator_for(&one)?))
        })
        .collect()
}

/// Refuses keys that the schema does not describe.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("properties").is_some_and(is_keys) {
                object.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            object.values_mut().for_each(close);
        }
        Value::Array(all) => all.iter_mut().for_each(close),
        _ => {}
    }
}

/// A table of keys, not a key of that name.
fn is_keys(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|keys: &Map<String, Value>| keys.values().all(Value::is_object))
}
