//! The recorder's files: `20261128T202714.250Z-forward-drop-web.pcapng`.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use jiff::tz::TimeZone;

use crate::{model::Drop, report::subject_name};

const SUFFIX: &str = ".pcapng";
/// A name in a file's name is cut there.
const LONGEST: usize = 60;

/// Makes the directory and sees that a file can be made in it.
pub(super) fn prepare(directory: &Path) -> Result<()> {
    let shown = directory.display();
    fs::DirBuilder::new()
        .recursive(true)
        // Its files hold addresses, and the beginnings of packets.
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("making the flight recorder's directory {shown}"))?;
    let trial = directory.join(format!(".dockernet-trace.{}", std::process::id()));
    open(&trial)
        .and_then(|_| fs::remove_file(&trial))
        .with_context(|| format!("writing to the flight recorder's directory {shown}"))
}

/// A new file, named by time, cause and container.
pub(super) fn create(directory: &Path, drop: &Drop) -> Result<(File, PathBuf)> {
    let time = drop.time.to_zoned(TimeZone::UTC);
    let stem = format!(
        "{}-{}-{}",
        time.strftime("%Y%m%dT%H%M%S%.3fZ"),
        safe(&drop.cause.id),
        safe(&subject_name(drop))
    );
    let mut number = 1;
    loop {
        let name = match number {
            1 => format!("{stem}{SUFFIX}"),
            number => format!("{stem}-{number}{SUFFIX}"),
        };
        let path = directory.join(name);
        match open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => {
                number += 1;
            }
            opened => {
                let file = opened.with_context(|| format!("opening {}", path.display()))?;
                return Ok((file, path));
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Removes the oldest files beyond `keep`, but not `newest`: the clock may have been set back since the others were written. What is not
/// named as ours is left alone.
pub(super) fn make_room(directory: &Path, keep: u32, newest: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    // The time is what a name begins with.
    let mut ours: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_ours))
        .map(|entry| entry.path())
        .filter(|path| path != newest)
        .collect();
    ours.sort();
    let spare = (ours.len() + 1).saturating_sub(keep as usize);
    for path in ours.into_iter().take(spare) {
        if let Err(error) = fs::remove_file(&path) {
            log::warn!("flight recorder: removing {}: {error}", path.display());
        }
    }
}

/// `20261128T202714.250Z-…`
fn is_ours(name: &str) -> bool {
    let Some((time, _)) = name
        .strip_suffix(SUFFIX)
        .and_then(|stem| stem.split_once('-'))
    else {
        return false;
    };
    let shape: String = time
        .chars()
        .map(|each| if each.is_ascii_digit() { '0' } else { each })
        .collect();
    shape == "00000000T000000.000Z"
}

/// A name as part of a file's.
fn safe(name: &str) -> String {
    name.chars()
        .map(|each| match each {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => each,
            _ => '_',
        })
        .take(LONGEST)
        .collect()
}

#[cfg(test)]
mod checks {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_was_just_written_stays_though_the_clock_was_set_back() {
        let directory = tempfile::tempdir().unwrap();
        let named = |time: &str| {
            let path = directory.path().join(format!("{time}-no-route-web.pcapng"));
            fs::write(&path, "").unwrap();
            path
        };
        let first = named("20261128T202714.250Z");
        let second = named("20261128T202715.250Z");
        let newest = named("20241128T202714.250Z");
        make_room(directory.path(), 2, &newest);
        assert_eq!(
            [&first, &second, &newest].map(|path| path.exists()),
            [false, true, true]
        );
        // One is kept at least.
        make_room(directory.path(), 1, &newest);
        assert!(newest.exists() && !second.exists());
    }

    #[test]
    fn only_files_named_by_the_recorder_are_its_own() {
        for (name, expected) in [
            ("20261128T202714.250Z-forward-drop-web.pcapng", true),
            ("20261128T202714.250Z-forward-drop-web-2.pcapng", true),
            ("20261128T202714.250Z.pcapng", false),
            ("20261128T202714.250Z-forward-drop-web.pcap", false),
            ("customer-trace.pcapng", false),
            ("2026-11-28-trace.pcapng", false),
        ] {
            assert_eq!(is_ours(name), expected, "{name}");
        }
        assert_eq!(safe("../web 1\u{1b}"), ".._web_1_");
    }
}
