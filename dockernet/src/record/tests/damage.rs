//! Files that are not whole, and files that are none.

use proptest::prelude::*;

use super::{lines_to_frame, recorded, shown};
use crate::{
    cli::Exit,
    record::frames::{Frames, Gap},
};

/// Every frame's content, and the gaps.
pub(super) fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<Gap>) {
    let mut frames = Frames::new(bytes).unwrap();
    let mut all = Vec::new();
    let mut content = Vec::new();
    while frames.next(&mut content).unwrap() {
        all.push(content.clone());
    }
    (all, frames.gaps().to_vec())
}

#[test]
fn a_file_that_was_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let whole = recorded(&folder);
    let bytes = &whole[..whole.len() - 5];
    let (out, err, exit) = shown(bytes, &["--output", "json"]);
    assert_eq!(exit, Exit::Failure);
    assert!(err.contains("cut off") && err.contains("no end"), "{err}");
    // The first frame is there: what ran.
    assert!(out.starts_with(r#"{"type":"ready""#));
    assert!(out.lines().last().unwrap().contains(r#""final":true"#));
}

#[test]
fn a_frame_that_was_damaged() {
    let frames: Vec<Vec<u8>> = ["one", "two", "three"]
        .map(|text| lines_to_frame(&[&text.repeat(50)]))
        .to_vec();
    let mut bytes = frames.concat();
    // In the second: its magic number.
    bytes[frames[0].len()] ^= 0xff;
    let (contents, gaps) = read(&bytes);
    assert_eq!(contents.len(), 2);
    assert!(contents[1].starts_with(b"three"));
    assert_eq!(
        gaps,
        [Gap {
            at: frames[0].len() as u64,
            bytes: frames[1].len() as u64,
            is_cut: false
        }]
    );
}

#[test]
fn other_frames_and_other_lines() {
    let mut bytes = vec![0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    bytes.extend(lines_to_frame(&[
        r#"{"type":"recording","format":1,"version":"0.9.0","started":"2026-11-20T04:01:03Z","ready_after":0.1,"part":1,"catalogue":"x","drops":true,"nat":false,"colour":"red"}"#,
        r#"{"type":"weather","sun":true}"#,
        "no JSON",
        r#"{"type":"ledger","final":true,"seconds":1.0,"observed":0,"shown":0,"filtered":0,"out_of_scope":0,"benign":0,"expected":0,"lost":0,"missed":null,"nat":null}"#,
    ]));
    let (out, err, exit) = shown(&bytes, &["--output", "json"]);
    assert_eq!(exit, Exit::Done);
    assert!(
        out.contains("the beginning of the recording is missing"),
        "{out}"
    );
    for told in [
        "another catalogue",
        "1 lines of types that this version does not know",
        "1 keys that this version does not know",
        "1 lines could not be read",
    ] {
        assert!(err.contains(told), "{told}: {err}");
    }
}

#[test]
fn a_frame_that_would_fill_the_memory() {
    // 64 MiB of zeros in few bytes.
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 3).unwrap();
    let mut bytes = bomb.clone();
    bytes.extend(lines_to_frame(&["after"]));
    let (contents, gaps) = read(&bytes);
    assert_eq!(contents, [b"after\n".to_vec()]);
    assert_eq!((gaps[0].at, gaps[0].bytes), (0, bomb.len() as u64));
}

proptest! {
    /// Whatever is cut off, the frames before the cut are there, and every byte is accounted for.
    #[test]
    fn cut_anywhere(
        texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let frames: Vec<Vec<u8>> = texts
            .iter()
            .map(|text| zstd::bulk::compress(text, 3).unwrap())
            .collect();
        let bytes = frames.concat();
        let cut = cut.index(bytes.len() + 1);
        let (contents, gaps) = read(&bytes[..cut]);
        let mut end = 0;
        let mut whole = Vec::new();
        for (text, frame) in texts.iter().zip(&frames) {
            if end + frame.len() > cut {
                break;
            }
            end += frame.len();
            whole.push(text.clone());
        }
        prop_assert_eq!(contents, whole);
        let lost: u64 = gaps.iter().map(|gap| gap.bytes).sum();
        prop_assert_eq!(lost, (cut - end) as u64);
    }

    /// Any bytes at all, between frames that are whole: those come through.
    #[test]
    fn anything_between(junk in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = [lines_to_frame(&["before"]), junk, lines_to_frame(&["after"])].concat();
        let (contents, gaps) = read(&bytes);
        prop_assert_eq!(&contents[0], b"before\n");
        prop_assert!(contents.last().unwrap() == b"after\n" || !gaps.is_empty());
    }

    /// Any line in a frame is read or counted, never fatal.
    #[test]
    fn any_line(line in "[ -~]{0,200}") {
        let header = r#"{"type":"recording","format":1,"version":"0","started":"2026-11-20T04:01:03Z","ready_after":-1,"part":1,"catalogue":"","drops":true,"nat":true}"#;
        shown(&lines_to_frame(&[header, &line]), &["--output", "json"]);
    }
}
