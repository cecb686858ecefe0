//! The JSON Lines as a JSON Schema and as a page of the documentation, made of the types that write them. Tests only: the tool
//! itself carries none of it.
//!
//! `DOCKERNET_DOCS=write cargo test -p dockernet --lib schema` writes both files, which is what `cargo xtask docs` does.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod page;

use std::{collections::BTreeMap, env, fs, path::Path};

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{check, detach, doctor, explain, map, monitor, report};

const FILE: &str = "docs/schema.json";
const PAGE: &str = "docs/json.md";

/// A type of line, and the layouts that it has.
type Lines = BTreeMap<String, Vec<Value>>;

/// The schema of a struct whose `type` serde writes, which schemars does not know of.
pub(crate) fn tagged<T: JsonSchema>(name: &str, generator: &mut SchemaGenerator) -> Schema {
    let mut schema = Value::from(T::json_schema(generator));
    schema["properties"]["type"] = json!({ "type": "string", "const": name });
    let required = schema["required"].as_array_mut().unwrap();
    required.insert(0, "type".into());
    schema.try_into().unwrap()
}

/// Every type of line, and the objects inside them.
fn collect() -> (Lines, Map<String, Value>) {
    let mut generator = SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator();
    let mut schemas: Vec<Schema> = [
        report::schemas(&mut generator),
        check::schemas(&mut generator),
        explain::schemas(&mut generator),
        doctor::schemas(&mut generator),
        detach::schemas(&mut generator),
        monitor::schemas(&mut generator),
    ]
    .concat();
    schemas.push(tagged::<map::Map>("map", &mut generator));
    let defs = generator.take_definitions(true);
    let mut lines = Lines::new();
    for schema in schemas {
        add(schema.as_value(), &defs, &mut lines);
    }
    // What a line's own type became a part of, and nothing else names.
    let mut used = Map::new();
    for line in lines.values().flatten() {
        keep(line, &defs, &mut used);
    }
    (lines, used)
}

/// Adds an object, or each of an enum's.
fn add(schema: &Value, defs: &Map<String, Value>, lines: &mut Lines) {
    if let Some(all) = schema["oneOf"].as_array() {
        for one in all {
            add(one, defs, lines);
        }
        return;
    }
    let mut line = schema.clone();
    // A variant that holds a struct: its keys belong to the line.
    if let Some(inner) = schema["$ref"].as_str() {
        let inner = &defs[inner.trim_start_matches("#/$defs/")];
        merge(&mut line, inner);
    }
    let line = line.as_object_mut().unwrap();
    line.remove("$ref");
    line.remove("title");
    let name = line["properties"]["type"]["const"]
        .as_str()
        .unwrap_or_else(|| panic!("a line without a type: {schema}"))
        .to_owned();
    let known = lines.entry(name).or_default();
    let line = Value::Object(line.clone());
    if !known.contains(&line) {
        known.push(line);
    }
}

/// Puts the keys of `inner` behind those of `line`.
fn merge(line: &mut Value, inner: &Value) {
    for (key, value) in inner["properties"].as_object().unwrap() {
        line["properties"][key] = value.clone();
    }
    let more = inner["required"].as_array().unwrap().clone();
    line["required"].as_array_mut().unwrap().extend(more);
}

/// Copies the definitions that `schema` names, and what they name.
fn keep(schema: &Value, defs: &Map<String, Value>, used: &mut Map<String, Value>) {
    match schema {
        Value::Object(object) => {
            if let Some(name) = object.get("$ref").and_then(Value::as_str) {
                let name = name.trim_start_matches("#/$defs/");
                if !used.contains_key(name) {
                    used.insert(name.to_owned(), defs[name].clone());
                    keep(&defs[name], defs, used);
                }
            }
            for value in object.values() {
                keep(value, defs, used);
            }
        }
        Value::Array(all) => {
            for value in all {
                keep(value, defs, used);
            }
        }
        _ => {}
    }
}

/// The schema's text. Types of lines are definitions with names in lower case, objects inside them begin with a capital.
fn document(lines: &Lines, objects: &Map<String, Value>) -> String {
    let mut defs = objects.clone();
    for (name, layouts) in lines {
        let schema = match layouts.as_slice() {
            [one] => one.clone(),
            several => json!({ "oneOf": several }),
        };
        assert!(defs.insert(name.clone(), schema).is_none(), "{name} twice");
    }
    let all: Vec<Value> = lines
        .keys()
        .map(|name| json!({ "$ref": format!("#/$defs/{name}") }))
        .collect();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://github.com/dockernet/dockernet/blob/main/docs/schema.json",
        "title": "A line of dockernet-trace --output json",
        "description": "Written by `cargo xtask docs` from the types that write the lines; docs/json.md is the same to read. \
            Later versions may add keys and types: readers ignore what they do not know.",
        "oneOf": all,
        "$defs": defs,
    });
    format!("{schema:#}\n")
}

#[test]
fn files_are_as_the_types_are() {
    let (lines, objects) = collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (name, text) in [
        (FILE, document(&lines, &objects)),
        (PAGE, page::text(&lines, &objects)),
    ] {
        let file = root.join(name);
        if env::var_os("DOCKERNET_DOCS").is_some_and(|value| value == "write") {
            fs::write(file, text).unwrap();
            continue;
        }
        assert!(
            fs::read_to_string(file).is_ok_and(|written| written == text),
            "{name} is stale: run `cargo xtask docs` and commit it"
        );
    }
}

#[test]
fn every_key_is_there_and_explained() {
    let (lines, objects) = collect();
    let mut keys = 0;
    for (name, object) in lines
        .iter()
        .flat_map(|(name, layouts)| layouts.iter().map(move |layout| (name, layout)))
        .chain(&objects)
    {
        let variants = object["anyOf"].as_array().into_iter().flatten();
        for object in [object].into_iter().chain(variants) {
            let Some(properties) = object["properties"].as_object() else {
                continue;
            };
            for (key, value) in properties {
                keys += 1;
                let required = object["required"].as_array().unwrap();
                assert!(
                    required.contains(&json!(key)),
                    "{name}.{key} may be missing"
                );
                let told =
                    key == "type" && value["const"].is_string() || value["description"].is_string();
                assert!(told, "{name}.{key} has no description");
            }
        }
    }
    assert!(keys > 200, "{keys} keys");
}
