//! docs/schema.json: what tells of no packet is held against it here; lines of tracing wherever a test reads them.

use anyhow::{Context, Result, ensure};
use dockernet_tests::{Cmd, schema, tool_path};
use serde_json::{Value, json};

fn printed(args: &[&str]) -> Result<Vec<Value>> {
    let output = Cmd::new(tool_path()?)
        .args(args)
        .args(["--output", "json"])
        .output()?;
    let lines = schema::lines(&output.stdout).with_context(|| format!("{output:?}"))?;
    ensure!(!lines.is_empty(), "{args:?} printed nothing: {output:?}");
    Ok(lines)
}

#[test]
fn explain_and_doctor() -> Result<()> {
    ensure!(printed(&["explain", "--list"])?.len() > 70);
    for (id, key) in [
        ("rp-filter", "symptom"),
        ("unexplained", "title"),
        ("NETFILTER_DROP", "causes"),
    ] {
        let lines = printed(&["explain", id])?;
        ensure!(lines.len() == 1 && !lines[0][key].is_null(), "{lines:?}");
    }
    let lines = printed(&["doctor"])?;
    ensure!(lines[0]["type"] == "doctor", "{lines:?}");
    Ok(())
}

#[test]
fn what_differs_is_refused() -> Result<()> {
    let good = json!({"type": "reason", "reason": "NETFILTER_DROP", "causes": ["rp-filter"]});
    schema::check(&good)?;
    for (key, value, word) in [
        ("more", json!(1), "more"),
        ("causes", json!("rp-filter"), "causes"),
        ("type", json!("reasons"), "reasons"),
    ] {
        let mut bad = good.clone();
        bad[key] = value;
        let said = schema::check(&bad).err().map(|error| format!("{error:#}"));
        ensure!(
            said.as_ref().is_some_and(|said| said.contains(word)),
            "{bad}: {said:?}"
        );
    }
    let mut short = good.clone();
    short.as_object_mut().context("no object")?.remove("causes");
    ensure!(schema::check(&short).is_err(), "a key may be missing");
    Ok(())
}
