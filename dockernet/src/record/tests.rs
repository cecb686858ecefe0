#![expect(clippy::unwrap_used, reason = "tests")]

mod anew;
mod damage;
mod round_trip;
mod samples;

use std::{
    io::Write,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use jiff::Timestamp;
use tempfile::TempDir;

use self::samples::{captured, listed, transition};
use super::{Recorder, Source, everything, replay};
use crate::{
    cli::{
        self, Exit,
        options::{Job, Options, RecordArgs},
    },
    model::{Drop, NatLedger, Reach},
    report::{
        Json, Look, Report, Text, TextOptions, Width,
        samples::{denied, incident, ledger, mystery, ready},
    },
};

/// What a command line means.
fn options(arguments: &[&str]) -> Options {
    let arguments = ["dockernet-trace"].iter().chain(arguments);
    cli::parse(arguments, crate::cause::catalogue::IDS).unwrap()
}

/// Bytes that several hands may write to.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn text(out: &Shared, err: &Shared, since: Option<Timestamp>) -> Box<dyn Report + Send> {
    let look = Look {
        color: false,
        ascii: false,
        width: Width::Unlimited,
    };
    Box::new(Text::new(
        out.clone(),
        err.clone(),
        TextOptions {
            out: look,
            err: look,
            oneline: false,
            verbose: false,
            outside: "host-only",
            zone: jiff::tz::TimeZone::UTC,
            clock: Timestamp::now,
            since,
        },
    ))
}

/// Stdout, stderr and status of `replay ARGUMENTS` for these bytes.
fn shown(bytes: &[u8], arguments: &[&str]) -> (String, String, Exit) {
    let options = options(&[&["replay", "x"], arguments].concat());
    let (out, err) = (Shared::default(), Shared::default());
    let source = Source {
        name: "x".into(),
        input: Box::new(bytes),
    };
    let (to, notes) = (out.clone(), err.clone());
    let exit = replay(
        &options,
        None,
        vec![source],
        &mut || Ok(None),
        &move |options, since| {
            Ok(match options.output {
                cli::options::Output::Json => {
                    Box::new(Warned(Json::new(to.clone()), notes.clone()))
                }
                cli::options::Output::Text => text(&to, &notes, since),
            })
        },
    )
    .unwrap();
    (out.text(), err.text(), exit)
}

/// JSON whose warnings are kept.
struct Warned(Json<Shared>, Shared);

impl Report for Warned {
    fn ready(
        &mut self,
        ready: &crate::model::Ready,
        after: Duration,
    ) -> anyhow::Result<crate::report::Stream> {
        self.0.ready(ready, after)
    }
    fn dropped(&mut self, drop: &Drop) -> anyhow::Result<crate::report::Stream> {
        self.0.dropped(drop)
    }
    fn transition(
        &mut self,
        transition: &crate::model::Transition,
    ) -> anyhow::Result<crate::report::Stream> {
        self.0.transition(transition)
    }
    fn path(&mut self, event: &crate::model::PathEvent) -> anyhow::Result<crate::report::Stream> {
        self.0.path(event)
    }
    fn flows(&mut self, sums: &[crate::model::FlowSum]) -> anyhow::Result<crate::report::Stream> {
        self.0.flows(sums)
    }
    fn finding(&mut self, finding: &Drop) -> anyhow::Result<crate::report::Stream> {
        self.0.finding(finding)
    }
    fn tick(&mut self, now: Timestamp) -> anyhow::Result<crate::report::Stream> {
        self.0.tick(now)
    }
    fn ledger(&mut self, ledger: &crate::model::Ledger) -> anyhow::Result<crate::report::Stream> {
        self.0.ledger(ledger)
    }
    fn finish(
        &mut self,
        ledger: &crate::model::Ledger,
        interrupted: bool,
    ) -> anyhow::Result<crate::report::Stream> {
        self.0.finish(ledger, interrupted)
    }
    fn warning(&mut self, text: &str) {
        writeln!(self.1, "{text}").unwrap();
    }
}

fn at(mut drop: Drop, milliseconds: i64) -> Drop {
    static BASE: OnceLock<i64> = OnceLock::new();
    let second = *BASE.get_or_init(|| Timestamp::now().as_second());
    drop.time = Timestamp::from_millisecond(second * 1000 + milliseconds).unwrap();
    drop
}

/// What happened, to whoever is told of it: `drops` that are shown or not, then a NAT transition.
fn tell(report: &mut dyn Report, is_live: bool) {
    let shows = |drop: &Drop| !is_live || drop.reach == Reach::Containers && drop.noise.is_none();
    let mut dull = at(mystery(), 400);
    dull.noise = Some("multicast".into());
    let mut elsewhere = at(denied("198.51.100.9", 4000), 500);
    elsewhere.reach = Reach::Host;
    let mut many = at(denied("198.51.100.20", 4000), 6200);
    many.count = 48_213;
    let mut drops = vec![at(captured(incident()), 100), dull, elsewhere, many];
    // A storm, whose seconds end with the clock's.
    drops.extend((0..40).map(|number| {
        at(
            denied("198.51.100.20", 4000 + number),
            7000 + i64::from(number),
        )
    }));
    drops.push(at(mystery(), 20_000));
    let _ = report.ready(&ready(), Duration::from_millis(140)).unwrap();
    for drop in drops {
        if shows(&drop) {
            let _ = report.dropped(&drop).unwrap();
        }
        let tick = drop.time.checked_add(Duration::from_millis(20)).unwrap();
        let _ = report.tick(tick).unwrap();
    }
    let mut finding = at(mystery(), 21_000);
    finding.packet = None;
    let _ = report.finding(&finding).unwrap();
    let _ = report.transition(&transition()).unwrap();
    if !is_live {
        let _ = report.transition(&listed()).unwrap();
    }
    let mut last = ledger();
    (last.seconds, last.missed) = (21.5, Some(7));
    let lines: u64 = 1 + 48_213 + 40 + 1;
    let of_lines = if is_live {
        (lines, 1, 1)
    } else {
        (lines + 2, 0, 0)
    };
    (last.shown, last.benign, last.out_of_scope) = of_lines;
    (last.filtered, last.lost, last.expected) = (3, 5, 0);
    last.observed = last.shown + last.benign + last.out_of_scope + 8;
    last.nat = Some(NatLedger {
        seen: if is_live { 5 } else { 6 },
        shown: if is_live { 1 } else { 2 },
        hidden: 3,
        lost: 1,
    });
    let _ = report.finish(&last, false).unwrap();
}

/// Records both views, and says nothing.
fn recorder(args: &RecordArgs, reasons: Vec<String>) -> Recorder {
    let quiet = text(&Shared::default(), &Shared::default(), None);
    let wanted = everything(options(&["record", "x", "--drops", "--nat"]));
    Recorder::create(args, &wanted, reasons, quiet).unwrap()
}

/// The bytes of a recording of [`tell`].
fn recorded(folder: &TempDir) -> Vec<u8> {
    let args = RecordArgs {
        file: folder.path().join("x.rec"),
        ..RecordArgs::default()
    };
    let reasons = vec!["NETFILTER_DROP".to_owned(), "IP_INADDRERRORS".to_owned()];
    let mut recorder = recorder(&args, reasons);
    tell(&mut recorder, false);
    std::fs::read(&args.file).unwrap()
}

#[test]
fn json_is_that_of_a_live_run() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = recorded(&folder);
    let live = Shared::default();
    tell(&mut Json::new(live.clone()), true);
    let (out, err, exit) = shown(&bytes, &["--output", "json"]);
    assert_eq!((err.as_str(), exit), ("", Exit::Done));
    assert_eq!(out, live.text());
    // The views apart.
    let (drops, _, _) = shown(&bytes, &["--drops", "--output", "json"]);
    assert!(!drops.contains(r#""type":"nat""#) && drops.contains(r#""type":"finding""#));
    let (nat, _, _) = shown(&bytes, &["--nat", "--output", "json"]);
    assert_eq!(nat.matches(r#""type":"drop""#).count(), 0);
    assert!(nat.contains(r#""observed":0"#), "{nat}");
}

#[test]
fn text_is_that_of_a_live_run() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = recorded(&folder);
    let (out, err) = (Shared::default(), Shared::default());
    tell(&mut *text(&out, &err, None), true);
    let (replayed, notes, exit) = shown(&bytes, &[]);
    assert_eq!(exit, Exit::Done, "{notes}");
    assert_eq!(replayed, out.text());
    assert!(replayed.contains("×40/s"), "the storm is one: {replayed}");
    assert_eq!(notes, err.text());
}

#[test]
fn filters_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = recorded(&folder);
    let count = |arguments: &[&str]| {
        let arguments = [&["--output", "json", "--drops"], arguments].concat();
        let (out, err, exit) = shown(&bytes, &arguments);
        let last = out.lines().last().unwrap();
        let ledger: serde_json::Value = serde_json::from_str(last).unwrap();
        let part = |key: &str| ledger[key].as_u64().unwrap();
        let sum = [
            "shown",
            "filtered",
            "out_of_scope",
            "benign",
            "expected",
            "lost",
        ];
        assert_eq!(
            part("observed"),
            sum.map(part).iter().sum::<u64>(),
            "{ledger}"
        );
        let lines = out.matches(r#"{"type":"drop""#).count();
        (lines, part("filtered"), part("expected"), err, exit)
    };
    assert_eq!(count(&["--all"]).0, 44);
    assert_eq!(count(&["--scope", "host"]).0, 44);
    assert_eq!(count(&["--scope", "host", "--all"]).0, 45);
    assert_eq!(count(&["--cause", "interface-forwarding-disabled"]).0, 1);
    assert_eq!(count(&["--port", "53"]).0, 41);
    assert_eq!(count(&["--count", "2"]).0, 2);
    assert_eq!(
        count(&["--ignore", "cause=docker-user-drop"]).2,
        48_213 + 40
    );
    assert_eq!(count(&["--expect-no-drops"]).4, Exit::Found);
    let (lines, _, _, err, _) = count(&["--container", "nobody", "--network", "lan"]);
    assert_eq!(lines, 0);
    assert!(err.contains("no container is called 'nobody'"), "{err}");
    assert!(err.contains("network"), "{err}");
}

#[test]
fn a_duration_counts_from_the_recordings_start() {
    let line = |drop: Drop| {
        let mut drop = serde_json::to_value(drop).unwrap();
        drop["type"] = "drop".into();
        drop
    };
    let mut later = incident();
    later.time += Duration::from_secs(5);
    let (drop, later) = (line(incident()), line(later));
    let bytes = lines_to_frame(&[
        r#"{"type":"recording","format":1,"version":"0","started":"2026-11-20T04:01:02Z","ready_after":0,"part":1,"catalogue":"","drops":true,"nat":false}"#,
        &later.to_string(),
        // It waited for its cause.
        &drop.to_string(),
    ]);
    let told = |duration| {
        let (out, ..) = shown(&bytes, &["--output", "json", "--duration", duration]);
        let drops = out.matches(r#"{"type":"drop""#).count();
        let ledger: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
        (drops, ledger["seconds"].as_f64().unwrap())
    };
    // The ledger's time is what was read, though the file's own ledger was not.
    assert_eq!((told("1s"), told("2s")), ((0, 1.0), (1, 2.0)));
}

/// Its own ledgers end before it does: the time up to its last line is counted, once.
#[test]
fn a_recording_without_an_end_knows_its_time() {
    let header = |part| {
        format!(
            r#"{{"type":"recording","format":1,"version":"0","started":"2026-11-20T04:01:02Z","ready_after":0,"part":{part},"catalogue":"","drops":true,"nat":false}}"#
        )
    };
    let mut drop = serde_json::to_value(incident()).unwrap();
    drop["type"] = "drop".into();
    let first = drop.to_string();
    drop["time"] = "2026-11-20T04:01:12.123Z".into();
    let interim = r#"{"type":"ledger","final":false,"seconds":5.0,"observed":1,"shown":1,"filtered":0,"out_of_scope":0,"benign":0,"expected":0,"lost":0,"missed":null,"nat":null}"#;
    for (part, wanted) in [(1, 10.123), (7, 9.0)] {
        let bytes = lines_to_frame(&[&header(part), &first, interim, &drop.to_string()]);
        let (out, ..) = shown(&bytes, &["--output", "json"]);
        let ledger: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
        assert_eq!(ledger["seconds"].as_f64(), Some(wanted), "part {part}");
    }
}

#[test]
fn what_is_not_there_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = recorded(&folder);
    let refused = |bytes: &[u8], arguments: &[&str]| {
        let options = options(&[&["replay", "x"], arguments].concat());
        let source = Source {
            name: "x".into(),
            input: Box::new(bytes),
        };
        let opener = |_: &Options, _| Ok(text(&Shared::default(), &Shared::default(), None));
        let error = replay(&options, None, vec![source], &mut || Ok(None), &opener).unwrap_err();
        cli::error::sentence(&error)
    };
    assert!(refused(&bytes, &["--reason", "NETFILTER_DROPP"]).contains("NETFILTER_DROP"));
    assert!(refused(b"", &[]).contains("empty"));
    assert!(refused(b"no recording", &[]).contains("no recording"));
    let newer = lines_to_frame(&[
        r#"{"type":"recording","format":2,"version":"9.0.0","started":"2026-11-20T04:01:03Z","ready_after":0.1,"part":1,"catalogue":"","drops":true,"nat":false}"#,
    ]);
    assert!(refused(&newer, &[]).contains("format 2"));
    let (_, err, exit) = shown(&bytes, &["--drops"]);
    assert_eq!(
        (err.contains("warning"), exit),
        (false, Exit::Done),
        "{err}"
    );
}

/// Lines as one frame.
fn lines_to_frame(lines: &[&str]) -> Vec<u8> {
    zstd::bulk::compress((lines.join("\n") + "\n").as_bytes(), 3).unwrap()
}

#[test]
fn rotated_files_stand_alone_and_together() {
    let folder = tempfile::tempdir().unwrap();
    let args = RecordArgs {
        file: folder.path().join("x.rec"),
        rotate_size: Some(1),
        keep: Some(2),
        ..RecordArgs::default()
    };
    std::fs::write(&args.file, "older").unwrap();
    let mut recorder = recorder(&args, Vec::new());
    let _ = recorder.ready(&ready(), Duration::ZERO).unwrap();
    for number in 0..3 {
        let _ = recorder.dropped(&at(incident(), number)).unwrap();
        // The file has its beginning; a tick rotates it.
        let _ = recorder.tick(Timestamp::now()).unwrap();
    }
    let mut last = ledger();
    (last.shown, last.lost, last.benign, last.out_of_scope) = (3, 2, 0, 0);
    let _ = recorder.finish(&last, false).unwrap();
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert!(!folder.path().join("x.rec.3").exists());
    // The beginning of each, and a drop that was in its frame when it was ended.
    let files = ["x.rec.2", "x.rec.1", "x.rec"].map(read);
    let mut all = 0;
    for file in &files {
        let (out, err, exit) = shown(file, &["--output", "json"]);
        assert_eq!((err.as_str(), exit), ("", Exit::Done));
        all += out.matches(r#"{"type":"drop""#).count();
    }
    let (together, err, _) = shown(&files.concat(), &["--output", "json"]);
    assert_eq!(err, "");
    assert_eq!(together.matches(r#"{"type":"ready""#).count(), 1);
    assert_eq!(together.matches(r#"{"type":"drop""#).count(), all);
    assert_eq!(all, 2, "the first went with its file");
    // In the order of names the newest comes first.
    let names = ["x.rec", "x.rec.1", "x.rec.2"].map(|name| folder.path().join(name));
    let oldest_first: Vec<_> = names
        .iter()
        .rev()
        .map(|path| path.to_str().unwrap())
        .collect();
    let sorted = || -> Vec<String> {
        let sorted = replay::in_order(&names).unwrap();
        sorted.into_iter().map(|source| source.name).collect()
    };
    assert_eq!(sorted(), oldest_first);
    // One whose beginning is damaged is where its name puts it.
    let mut bytes = files[1].clone();
    bytes[..64].fill(0);
    std::fs::write(&names[1], &bytes).unwrap();
    assert_eq!(sorted(), oldest_first);
    for wrong in [[&files[1][..], &files[0]], [&files[0], &files[2]]] {
        let (_, err, exit) = shown(&wrong.concat(), &["--output", "json"]);
        let is_told = err.contains("what is between them is missing");
        assert_eq!((is_told, exit), (true, Exit::Failure), "{err}");
    }
}

#[test]
fn transitions_that_are_missing_are_told_of() {
    let bytes = lines_to_frame(&[
        r#"{"type":"recording","format":1,"version":"0","started":"2026-11-20T04:01:02Z","ready_after":0,"part":1,"catalogue":"","drops":true,"nat":true}"#,
        r#"{"type":"ledger","final":true,"seconds":1.0,"observed":0,"shown":0,"filtered":0,"out_of_scope":0,"benign":0,"expected":0,"lost":0,"missed":null,"nat":{"seen":3,"shown":2,"hidden":1,"lost":0}}"#,
    ]);
    for view in ["--drops", "--nat"] {
        let (_, err, exit) = shown(&bytes, &["--output", "json", view]);
        let is_told = err.contains("x: 2 of 2 NAT transitions are missing");
        assert_eq!((is_told, exit), (true, Exit::Failure), "{err}");
    }
}

#[test]
fn files_are_rotated_by_time() {
    let folder = tempfile::tempdir().unwrap();
    let args = RecordArgs {
        file: folder.path().join("x.rec"),
        rotate_every: Some(Duration::from_millis(1)),
        ..RecordArgs::default()
    };
    let mut recorder = recorder(&args, Vec::new());
    let _ = recorder.ready(&ready(), Duration::ZERO).unwrap();
    let _ = recorder.dropped(&at(incident(), 0)).unwrap();
    std::thread::sleep(Duration::from_millis(2));
    let _ = recorder.tick(Timestamp::now()).unwrap();
    let _ = recorder.finish(&ledger(), false).unwrap();
    let first = std::fs::read(folder.path().join("x.rec.1")).unwrap();
    let (out, ..) = shown(&first, &["--output", "json"]);
    assert_eq!(out.matches(r#"{"type":"drop""#).count(), 1);
}

#[test]
fn unwritable_places() {
    let folder = tempfile::tempdir().unwrap();
    let create = |file: &std::path::Path| {
        let args = RecordArgs {
            file: file.to_owned(),
            ..RecordArgs::default()
        };
        let quiet = text(&Shared::default(), &Shared::default(), None);
        let made = Recorder::create(&args, &options(&["record", "x"]), Vec::new(), quiet);
        made.map(|_| ())
            .map_err(|error| cli::error::sentence(&error))
    };
    let there = folder.path().join("there");
    std::fs::write(&there, "x").unwrap();
    assert!(create(&there).unwrap_err().contains("is there already"));
    assert!(create(folder.path()).unwrap_err().contains("directory"));
    assert!(
        create(&folder.path().join("no/x"))
            .unwrap_err()
            .contains("opening")
    );
    // A full disk.
    let args = RecordArgs {
        file: "/dev/full".into(),
        ..RecordArgs::default()
    };
    let quiet = text(&Shared::default(), &Shared::default(), None);
    let mut full = Recorder::create(&args, &options(&["record", "x"]), Vec::new(), quiet).unwrap();
    let error = cli::error::sentence(&full.ready(&ready(), Duration::ZERO).unwrap_err());
    assert!(
        error.contains("/dev/full") && error.contains("No space left"),
        "{error}"
    );
}

#[test]
fn the_command_line() {
    let refused = |arguments: &[&str]| {
        let arguments = ["dockernet-trace"].iter().chain(arguments);
        cli::parse(arguments, crate::cause::catalogue::IDS).unwrap_err();
    };
    refused(&["--nat", "--output", "pcapng"]);
    refused(&["map", "--output", "pcapng"]);
    refused(&["record", "x", "--output", "pcapng"]);
    refused(&["record", "x", "--expect-no-drops"]);
    refused(&["record", "x", "--keep", "3"]);
    refused(&["record", "x", "--rotate-size", "1"]);
    refused(&["replay"]);
    refused(&["replay", "x", "--trace-rules"]);
    let all = options(&["replay", "x"]);
    assert!(all.drops && all.nat && matches!(all.job, Job::Replay(_)));
    let drops = options(&["replay", "x", "--output", "pcapng"]);
    assert!(drops.drops && !drops.nat && drops.pcapng);
}
