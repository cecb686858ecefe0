//! What comes out is what went in, whatever it is; and what earlier versions wrote is still read.

use std::{net::IpAddr, time::Duration};

use proptest::prelude::*;
use serde_json::Value;

use super::{
    Shared, at, recorder,
    samples::{captured, transition},
    shown,
};
use crate::{
    cli::{Exit, options::RecordArgs},
    model::{Drop, Transition},
    record::line,
    report::{
        Json, Report,
        samples::{denied, incident, ledger, mystery, ready},
    },
};

/// Text as it may come from an engine or a kernel: quotes, line ends, other scripts.
fn words() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,20}", any::<String>()]
}

fn dropped() -> impl Strategy<Value = Drop> {
    let kinds = prop_oneof![
        Just(incident()),
        Just(captured(incident())),
        Just(mystery()),
        any::<u16>().prop_map(|port| denied("198.51.100.9", port)),
    ];
    let place = (
        prop::option::of(words()),
        prop::option::of(prop::collection::vec(words(), 0..4)),
        prop::option::of(words()),
    );
    let packet = (
        any::<IpAddr>(),
        prop::option::of(any::<u16>()),
        any::<u32>(),
        prop::collection::vec(any::<u8>(), 0..60),
    );
    let rest = (
        1..1_u64 << 40,
        prop::collection::vec(words(), 0..3),
        words(),
    );
    (kinds, place, packet, rest).prop_map(
        |(
            mut drop,
            (location, stack, device),
            (src, src_port, mark, bytes),
            (count, facts, name),
        )| {
            (drop.location, drop.stack, drop.device) = (location, stack, device);
            drop.count = count;
            if let Some(packet) = &mut drop.packet {
                (packet.src, packet.src_port, packet.mark) = (Some(src), src_port, mark);
            }
            if let Some(capture) = &mut drop.capture {
                capture.bytes = bytes;
            }
            drop.cause.evidence = facts;
            if let Some(container) = &mut drop.netns.container {
                container.name = name;
            }
            at(drop, 100)
        },
    )
}

fn changed() -> impl Strategy<Value = Transition> {
    let milliseconds = || prop::option::of(prop::num::f64::POSITIVE | prop::num::f64::ZERO);
    (
        milliseconds(),
        milliseconds(),
        any::<[bool; 4]>(),
        words(),
        prop::option::of(any::<u16>()),
    )
        .prop_map(|(answer, age, flags, published, port)| {
            let mut transition = transition();
            (transition.answer_ms, transition.age_ms) = (answer, age);
            [
                transition.redirect,
                transition.hairpin,
                transition.replied,
                transition.old,
            ] = flags;
            transition.published = Some(published);
            transition.translated.src_port = port;
            transition
        })
}

/// What is told of these, without the time that it all took.
fn tell(report: &mut dyn Report, drops: &[Drop], finding: &Drop, transition: &Transition) {
    let _ = report.ready(&ready(), Duration::from_millis(140)).unwrap();
    for drop in drops {
        let _ = report.dropped(drop).unwrap();
    }
    let _ = report.finding(finding).unwrap();
    let _ = report.transition(transition).unwrap();
    let _ = report.finish(&ledger(), false).unwrap();
}

/// Lines about what happened.
fn events(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| {
            ["drop", "finding", "nat"]
                .iter()
                .any(|kind| line["type"] == *kind)
        })
        .collect()
}

/// Whether everything of an older version's value is in a newer's, which may have more keys.
fn holds(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => old
            .iter()
            .all(|(key, old)| new.get(key).is_some_and(|new| holds(new, old))),
        _ => new == old,
    }
}

/// A real fault's, with its state lines, and what `replay --output json` told of it then.
#[test]
fn a_recording_of_an_earlier_version_is_read() {
    let (out, err, exit) = shown(include_bytes!("kept/format-1.rec"), &["--output", "json"]);
    assert_eq!(exit, Exit::Done, "{err}");
    let (new, mut old) = (events(&out), events(include_str!("kept/format-1.jsonl")));
    assert_eq!(new.len(), old.len());
    for kind in ["drop", "finding", "nat"] {
        assert!(old.iter().any(|line| line["type"] == kind), "{kind}");
    }
    for (new, old) in new.iter().zip(&mut old) {
        // Causes are judged again.
        for key in ["cause", "rule"] {
            old.as_object_mut().unwrap().remove(key);
        }
        assert!(holds(new, old), "{new}\nwas\n{old}");
    }
}

#[test]
fn what_stands_beside_a_line_is_read_again() {
    let drop = Drop {
        veth_of: Some("web".into()),
        ..captured(incident())
    };
    let text = serde_json::to_vec(&line::Written::Drop(line::with_drop(&drop))).unwrap();
    let mut unknown = 0;
    let line::Line::Drop(read) = line::read(&text, &mut unknown, false).unwrap() else {
        unreachable!("{}", String::from_utf8_lossy(&text))
    };
    assert_eq!((read.veth_of, read.capture), (drop.veth_of, drop.capture));
    assert_eq!(unknown, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_was_recorded_is_told_again(
        drops in prop::collection::vec(dropped(), 1..4),
        finding in dropped(),
        transition in changed(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let args = RecordArgs { file: folder.path().join("x.rec"), ..RecordArgs::default() };
        let mut recorder = recorder(&args, Vec::new());
        tell(&mut recorder, &drops, &finding, &transition);
        let live = Shared::default();
        tell(&mut Json::new(live.clone()), &drops, &finding, &transition);
        let bytes = std::fs::read(&args.file).unwrap();
        let (out, err, _) = shown(&bytes, &["--all", "--scope", "all", "--output", "json"]);
        prop_assert_eq!(events(&out), events(&live.text()), "{}", err);
    }
}
