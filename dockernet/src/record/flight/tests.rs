#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use super::*;
use crate::{
    model::{Capture, LinkType},
    report::samples::{denied, incident, ledger, mystery, ready},
};

/// Keeps what the user would be told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Report for Told {
    fn ready(&mut self, _: &Ready, _: Duration) -> Result<Stream> {
        Ok(Stream::Open)
    }
    fn dropped(&mut self, _: &Drop) -> Result<Stream> {
        Ok(Stream::Open)
    }
    fn finding(&mut self, _: &Drop) -> Result<Stream> {
        Ok(Stream::Open)
    }
    fn tick(&mut self, _: Timestamp) -> Result<Stream> {
        Ok(Stream::Open)
    }
    fn ledger(&mut self, _: &Ledger) -> Result<Stream> {
        Ok(Stream::Open)
    }
    fn finish(&mut self, _: &Ledger, _: bool) -> Result<Stream> {
        Ok(Stream::Open)
    }
    fn note(&mut self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
    fn warning(&mut self, text: &str) {
        self.note(text);
    }
}

fn recorder(directory: &Path, time: Duration, clear_after: Duration) -> (FlightRecorder, Told) {
    let told = Told::default();
    let flight = Flight {
        time,
        keep: 3,
        ..Flight::to(directory.to_owned())
    };
    let mut recorder = FlightRecorder::around(Box::new(told.clone()), flight, clear_after).unwrap();
    let _ = recorder.ready(&ready(), Duration::ZERO).unwrap();
    (recorder, told)
}

/// A UDP datagram with 100 bytes of payload.
fn packet(mut drop: Drop) -> Drop {
    let mut bytes = vec![0x45, 0, 0, 128, 0, 0, 0, 0, 64, 17];
    bytes.resize(28, 0);
    bytes.resize(128, 0xee);
    drop.time = Timestamp::now();
    drop.capture = Some(Box::new(Capture {
        link: LinkType::Ip,
        length: 128,
        bytes,
    }));
    drop
}

/// Names of the files, and how many packets each has.
fn files(directory: &Path) -> Vec<(String, usize)> {
    let mut found: Vec<(String, usize)> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, packets(&fs::read(path).unwrap()))
        })
        .collect();
    found.sort();
    found
}

fn packets(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while !bytes.is_empty() {
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        count += usize::from(number(0) == 6);
        bytes = &bytes[number(4) as usize..];
    }
    count
}

#[test]
fn what_came_before_and_after_is_in_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let (mut recorder, told) = recorder(
        directory.path(),
        Duration::from_secs(60),
        Duration::from_secs(60),
    );
    for _ in 0..3 {
        recorder.accounted(Fate::Benign, &packet(denied("198.51.100.20", 4000)), 60);
    }
    recorder.accounted(Fate::Filtered, &packet(mystery()), 60);
    assert!(files(directory.path()).is_empty());
    recorder.accounted(Fate::Shown, &packet(incident()), 60);
    recorder.accounted(Fate::Shown, &packet(incident()), 60);
    // Another cause that begins meanwhile, and one without bytes.
    recorder.accounted(Fate::Shown, &packet(mystery()), 60);
    recorder.accounted(Fate::Shown, &incident(), 60);
    // On the disk already: the process may be killed.
    let _ = recorder.tick(Timestamp::now()).unwrap();
    let found = files(directory.path());
    assert_eq!(found[0].1, 6);
    let _ = recorder.finish(&ledger(), false).unwrap();
    assert_eq!(files(directory.path()), found);
    let [(name, 6)] = found.as_slice() else {
        unreachable!("{found:?}")
    };
    assert!(
        name.ends_with("Z-interface-forwarding-disabled-web.pcapng"),
        "{name}"
    );
    let lines = told.lines();
    let [line] = lines.as_slice() else {
        unreachable!("{lines:?}")
    };
    assert!(
        line.contains("6 packets around interface-forwarding-disabled (web), "),
        "{line}"
    );
    // Three headers of 28 bytes, no payload.
    let bytes = fs::read(directory.path().join(name)).unwrap();
    assert!(!bytes.windows(4).any(|window| window == [0xee; 4]));
}

/// It would take the place of one that tells something.
#[test]
fn a_failure_without_a_packet_around_it_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let minute = Duration::from_secs(60);
    let (mut recorder, told) = recorder(directory.path(), minute, minute);
    let _ = recorder.finding(&incident()).unwrap();
    assert_eq!(files(directory.path()).len(), 1);
    let before = told.lines();
    let _ = recorder.finish(&ledger(), false).unwrap();
    assert_eq!(files(directory.path()), []);
    assert!(!told.lines().iter().any(|line| line.contains("wrote")));
    assert!(told.lines().starts_with(&before));
}

#[test]
fn a_cause_begins_anew_after_a_pause_and_old_files_go() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("mine.pcapng"), "").unwrap();
    let (mut recorder, told) = recorder(directory.path(), Duration::from_millis(1), Duration::ZERO);
    let mut names = Vec::new();
    for round in 1..=5 {
        recorder.accounted(Fate::Shown, &packet(incident()), 60);
        std::thread::sleep(Duration::from_millis(3));
        let _ = recorder.tick(Timestamp::now()).unwrap();
        assert_eq!(told.lines().len(), round);
        let newest = files(directory.path()).into_iter().rev().nth(1).unwrap();
        assert_eq!(newest.1, 1);
        names.push(newest.0);
    }
    let left: Vec<String> = files(directory.path())
        .into_iter()
        .map(|file| file.0)
        .collect();
    assert_eq!(left[..3], names[2..]);
    assert_eq!(left[3..], ["mine.pcapng"]);
}

#[test]
fn a_cause_that_goes_on_is_written_once() {
    let directory = tempfile::tempdir().unwrap();
    let (mut recorder, told) = recorder(
        directory.path(),
        Duration::from_millis(1),
        Duration::from_secs(60),
    );
    for _ in 0..5 {
        recorder.accounted(Fate::Shown, &packet(incident()), 60);
        std::thread::sleep(Duration::from_millis(3));
        let _ = recorder.tick(Timestamp::now()).unwrap();
    }
    assert_eq!(told.lines().len(), 1);
    assert_eq!(files(directory.path()).len(), 1);
}

#[test]
fn files_and_their_directory_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join("flight");
    let (mut recorder, _) = recorder(&below, Duration::from_secs(60), Duration::from_secs(60));
    recorder.accounted(Fate::Shown, &packet(incident()), 60);
    let (name, _) = files(&below).pop().unwrap();
    for (path, expected) in [(below.clone(), 0o700), (below.join(name), 0o600)] {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, expected, "{}", path.display());
    }
}

#[test]
fn a_file_that_cannot_be_written_takes_no_ones_place() {
    let directory = tempfile::tempdir().unwrap();
    let (mut recorder, told) = recorder(directory.path(), Duration::from_millis(1), Duration::ZERO);
    for _ in 0..3 {
        recorder.accounted(Fate::Shown, &packet(incident()), 60);
        std::thread::sleep(Duration::from_millis(3));
        let _ = recorder.tick(Timestamp::now()).unwrap();
    }
    let whole = files(directory.path());
    for _ in 0..3 {
        recorder.accounted(Fate::Shown, &packet(incident()), 60);
        // Writing fails as on a full disk.
        let full = File::options().write(true).open("/dev/full").unwrap();
        *recorder.writing.as_mut().unwrap().packets.out_mut() = full;
        let _ = recorder.tick(Timestamp::now()).unwrap();
    }
    assert_eq!(files(directory.path()), whole);
    let lines = told.lines();
    // Said once.
    assert_eq!(lines.len(), 4);
    assert!(
        lines[3]
            .contains("interface-forwarding-disabled-web.pcapng: writing packets: No space left"),
        "{}",
        lines[3]
    );
}

#[test]
fn what_follows_a_full_file_is_kept_for_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let (mut recorder, told) = recorder(
        directory.path(),
        Duration::from_secs(60),
        Duration::from_secs(60),
    );
    recorder.accounted(Fate::Shown, &packet(incident()), 60);
    recorder.writing.as_mut().unwrap().size = FILE_SIZE;
    recorder.accounted(Fate::Shown, &packet(incident()), 60);
    let _ = recorder.tick(Timestamp::now()).unwrap();
    assert!(
        told.lines()[0]
            .ends_with("1 packet around interface-forwarding-disabled (web); it is full")
    );
    recorder.accounted(Fate::Shown, &packet(mystery()), 60);
    assert!(recorder.writing.is_some());
}

#[test]
fn memory_and_time_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let (mut recorder, _) = recorder(
        directory.path(),
        Duration::from_secs(3600),
        Duration::from_secs(60),
    );
    for _ in 0..20_000 {
        recorder.accounted(Fate::Benign, &packet(denied("198.51.100.20", 4000)), 60);
    }
    let size = recorder.ring.size();
    assert!((3 << 20..=4 << 20).contains(&size), "{size}");
    // Whatever the clock on the wall says.
    let _ = recorder.tick(Timestamp::MAX).unwrap();
    assert_eq!(recorder.ring.size(), size);
    let now = Instant::now();
    recorder.ring.forget(now + Duration::from_secs(3500));
    assert_eq!(recorder.ring.size(), size);
    recorder.ring.forget(now + Duration::from_secs(3700));
    assert_eq!(recorder.ring.size(), 0);
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let flight = Flight::to(file.join("below"));
    let error = FlightRecorder::around(Box::new(Told::default()), flight, Duration::ZERO)
        .err()
        .unwrap();
    assert!(
        format!("{error:#}").contains("flight recorder's directory"),
        "{error:#}"
    );
}
