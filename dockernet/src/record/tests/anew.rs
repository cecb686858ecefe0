//! What is kept for causes to be judged again, and what becomes of a recording that has too little of it.

use std::time::Duration;

use serde_json::Value;

use super::{Shared, at, damage::read, everything, lines_to_frame, options, shown, text};
use crate::{
    cli::{Exit, options::RecordArgs},
    host::{
        netns::NetnsHandle,
        state::{CannedState, HostState as _, NotedState},
    },
    record::Recorder,
    report::{
        Report as _,
        samples::{incident, ledger, ready},
    },
};

#[test]
fn an_answer_is_written_when_it_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let args = RecordArgs {
        file: folder.path().join("x.rec"),
        ..RecordArgs::default()
    };
    let quiet = text(&Shared::default(), &Shared::default(), None);
    let wanted = everything(options(&["record", "x", "--drops"]));
    let mut recorder = Recorder::create(&args, &wanted, Vec::new(), quiet).unwrap();
    let _ = recorder.ready(&ready(), Duration::ZERO).unwrap();
    let netns = NetnsHandle::pretend(folder.path().join("x.rec")).unwrap();
    let key = "net/ipv4/ip_forward";
    for (number, value) in [(0, "0"), (1, "0"), (2, "1")] {
        let mut canned = CannedState::default();
        canned.at(&netns).sysctls.insert(key.into(), value.into());
        let state = NotedState::new(canned, recorder.notebook().unwrap());
        let found = state.sysctl(&netns, key).unwrap();
        assert_eq!(found.as_deref(), Some(value));
        state.firewall(&netns);
        let _ = recorder.dropped(&at(incident(), number)).unwrap();
    }
    let _ = recorder.finish(&ledger(), false).unwrap();

    let bytes = std::fs::read(&args.file).unwrap();
    let lines = String::from_utf8(read(&bytes).0.concat()).unwrap();
    let kinds = lines.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        match line["type"].as_str().unwrap() {
            "state" => line["question"][0].as_str().unwrap().to_owned(),
            kind => kind.to_owned(),
        }
    });
    let kinds: Vec<String> = kinds.collect();
    let expected = [
        "recording",
        "ready",
        "sysctl",
        "firewall",
        "drop",
        "drop",
        "sysctl",
        "drop",
        "ledger",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn with_too_little_recorded_the_cause_stays() {
    let mut drop = serde_json::to_value(incident()).unwrap();
    drop["type"] = "drop".into();
    let header = |version: &str, catalogue: &str| {
        format!(
            r#"{{"type":"recording","format":1,"version":"{version}","started":"2026-11-20T04:01:02Z","ready_after":0,"part":1,"catalogue":"{catalogue}","drops":true,"nat":false}}"#
        )
    };
    let of = |version: &str, catalogue: &str| {
        let bytes = lines_to_frame(&[&header(version, catalogue), &drop.to_string()]);
        let (out, err, exit) = shown(&bytes, &["--output", "json"]);
        // It has no ledger.
        assert_eq!(exit, Exit::Failure);
        assert!(
            out.contains(r#""id":"interface-forwarding-disabled""#),
            "{out}"
        );
        err
    };
    let kept = "1 packet with the cause that was recorded";
    let own = env!("CARGO_PKG_VERSION");
    assert!(of("0.0.1", &super::super::catalogue_hash()).contains(kept));
    assert!(of(own, "another").contains(kept));
    assert!(!of(own, &super::super::catalogue_hash()).contains(kept));
}
