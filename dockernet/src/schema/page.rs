//! The schema as a page to read.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::Lines;

const HEAD: &str = "\
<!-- Written by `cargo xtask docs` from the types that write the lines. Do not edit. -->

# JSON Lines

With `--output json` every job writes one object a line, flushed as it happens. [schema.json](schema.json) is the same as a JSON Schema
(2020-12); the tests hold every line that they read against it.

- `type` says what a line is, and which keys it has. All of them are always there: what is absent is `null`.
- Later versions may add keys, types of lines, and values of what is no closed list here. Readers ignore what they do not know. A key that goes or changes its meaning
  raises `schema` (now 1), which the first line tells.
- Times are RFC 3339 in UTC, those of packets with nine digits, so that they sort as text. Units are in the descriptions; a name that ends in `_ms` or `_us` is one too.
- Tracing begins with `ready` and ends with a `ledger` whose `final` is true; `observed` = `shown` + `filtered` + `out_of_scope` + `benign` + `expected` +
  `lost`, always. A `drop` line stands for `count` packets.
- Texts (`summary`, `evidence`, `sentence`, `says` …) are for people, and may be worded otherwise in any version. Scripts go by ids and numbers.

```
dockernet-trace --output json | jq -r 'select(.type == \"drop\") | [.time, .cause.id, .destination.container.name] | @tsv'
```
";

/// `docs/json.md`.
pub(super) fn text(lines: &Lines, objects: &Map<String, Value>) -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n## Types of lines\n\n| type | what it is |\n|---|---|\n");
    for (name, layouts) in lines {
        let told: Vec<&str> = layouts.iter().map(described).collect();
        let _ = writeln!(page, "| [`{name}`](#{name}) | {} |", told.join(" "));
    }
    for (name, layouts) in lines {
        for layout in layouts {
            let _ = writeln!(page, "\n### {name}\n\n{}\n", described(layout));
            keys(&mut page, layout);
        }
    }
    page.push_str("\n## Objects inside them\n");
    for (name, object) in objects {
        // Some have the name of a type of line: their headings must differ.
        let _ = writeln!(page, "\n### {name} (object)\n\n{}\n", described(object));
        if object["properties"].is_object() {
            keys(&mut page, object);
        } else if let Some(kinds) = object["anyOf"].as_array() {
            for (place, kind) in kinds.iter().enumerate() {
                let gap = if place == 0 { "" } else { "\nOr:\n\n" };
                let _ = writeln!(page, "{gap}{}\n", described(kind));
                keys(&mut page, kind);
            }
        } else {
            values(&mut page, object);
        }
    }
    page
}

fn described(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

/// A table of an object's keys, in the order in which they are written.
fn keys(page: &mut String, object: &Value) {
    page.push_str("| key | type | meaning |\n|---|---|---|\n");
    for key in object["required"].as_array().into_iter().flatten() {
        let key = key.as_str().unwrap_or_default();
        let value = &object["properties"][key];
        let meaning = described(value).replace('\n', " ").replace('|', "\\|");
        let _ = writeln!(page, "| `{key}` | {} | {meaning} |", kind(value));
    }
}

/// A list of what a string may be.
fn values(page: &mut String, object: &Value) {
    for value in object["oneOf"].as_array().into_iter().flatten() {
        let word = value["const"].as_str().unwrap_or_default();
        let meaning = described(value).replace('\n', " ");
        let _ = writeln!(page, "- `{word}`: {meaning}");
    }
}

/// A value's type, in words.
fn kind(value: &Value) -> String {
    if let Some(word) = value["const"].as_str() {
        return format!("`\"{word}\"`");
    }
    if let Some(name) = value["$ref"].as_str() {
        let name = name.trim_start_matches("#/$defs/");
        return format!("[{name}](#{}-object)", name.to_lowercase());
    }
    if let Some(all) = value["anyOf"].as_array() {
        let all: Vec<String> = all.iter().map(kind).collect();
        return all.join(" or ");
    }
    let one = |name: &str| match name {
        "array" => format!("list of {}", kind(&value["items"])),
        "string" => match value["format"].as_str() {
            Some("date-time") => "time".to_owned(),
            Some("ip") => "address".to_owned(),
            _ => "string".to_owned(),
        },
        "boolean" => "true or false".to_owned(),
        other => other.to_owned(),
    };
    match &value["type"] {
        Value::String(name) => one(name),
        Value::Array(names) => {
            let names: Vec<String> = names.iter().filter_map(Value::as_str).map(one).collect();
            names.join(" or ")
        }
        _ => String::new(),
    }
}
