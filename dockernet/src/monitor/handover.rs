//! Counters over a restart: the last thing that a service writes, and the first that the next one reads.
//!
//! Only a service that ended by itself leaves the file, and it is gone as soon as the next one counts. A file from some time before it was
//! killed would hold less than what was scraped since: Prometheus would take that for a reset and add all of it again. After a
//! kill counters begin at 0, which it understands.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    metrics::{Format, Saved, Values},
    textfile,
};

/// The way the file is written; another one is not read.
const FORMAT: u32 = 1;
/// Of this run of the kernel (`Documentation/admin-guide/sysctl/kernel.rst`, random).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Numbers above it are no counters: Prometheus' own are floating-point numbers.
const MOST: u64 = 1 << 53;

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    /// The kernel's counters begin at 0 with it, and so do ours.
    boot_id: String,
    counters: Saved,
}

/// The file while its counters are in a service's hands but do not count yet.
#[derive(Debug)]
pub(super) struct Taken(PathBuf);

impl Taken {
    /// The counters have gone on from it: it must not be read again.
    pub(super) fn done(self) {
        if let Err(error) = fs::remove_file(&self.0) {
            log::warn!("removing {}: {error}", self.0.display());
        }
    }
}

/// Writes the counters.
///
/// # Errors
/// The folder cannot be written to, or the disk is full.
pub(super) fn write(path: &Path, counters: Saved) -> io::Result<()> {
    let file = File {
        format: FORMAT,
        boot_id: boot_id()?,
        counters,
    };
    let text = serde_json::to_string(&file)?;
    textfile::write(path, &format!("{text}\n"))
}

/// Takes the counters that the service before has left. `None`: it has left none, or those of before the last boot.
///
/// # Errors
/// One sentence that says why they begin at 0 although there is a file.
pub(super) fn take(path: &Path) -> Result<Option<(Saved, Taken)>, String> {
    let because = |what: &str| format!("counters begin at 0: {} {what}", path.display());
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".taken");
    let taken = path.with_file_name(name);
    match fs::rename(path, &taken) {
        Ok(()) => {}
        // One that failed before it counted has left it like this.
        Err(error) if error.kind() == io::ErrorKind::NotFound && taken.is_file() => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(because(&format!("cannot be taken: {error}"))),
    }
    let handle = Taken(taken);
    match read(&handle.0) {
        Ok(Some(counters)) => Ok(Some((counters, handle))),
        Ok(None) => {
            handle.done();
            Ok(None)
        }
        Err(problem) => {
            handle.done();
            Err(because(&problem))
        }
    }
}

fn read(path: &Path) -> Result<Option<Saved>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    let file = parse(&text)?;
    let boot_id = boot_id().map_err(|error| format!("is of an unknown boot: {error}"))?;
    Ok((file.boot_id == boot_id).then_some(file.counters))
}

fn parse(text: &str) -> Result<File, String> {
    let no_file = |error: serde_json::Error| format!("is no file of counters: {error}");
    let value: Value = serde_json::from_str(text).map_err(no_file)?;
    if value["format"] != FORMAT {
        return Err(format!("has format {}, not {FORMAT}", value["format"]));
    }
    if !is_sane(&value) {
        return Err("holds numbers that are no counters".to_owned());
    }
    serde_json::from_value(value).map_err(no_file)
}

/// A file of any content, and the page of metrics that begins with it. See [`crate::hostile`].
pub(super) fn hostile(text: &str) {
    let Ok(file) = parse(text) else {
        return;
    };
    let mut values = Values::default();
    values.restore(file.counters);
    for format in [Format::Text, Format::OpenMetrics] {
        let _ = values.page(format, None);
    }
    let _ = values.save();
}

/// Whether all numbers are small enough to be added to.
fn is_sane(value: &Value) -> bool {
    match value {
        Value::Number(number) => number
            .as_u64()
            .map_or_else(|| number.is_f64(), |number| number <= MOST),
        Value::Array(values) => values.iter().all(is_sane),
        Value::Object(values) => values.values().all(is_sane),
        _ => true,
    }
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string(BOOT_ID)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn saved(removed: u64) -> Saved {
        serde_json::from_value(serde_json::json!({ "removed": removed })).unwrap()
    }

    #[test]
    fn it_is_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counters.json");
        assert!(take(&path).unwrap().is_none());
        write(&path, saved(7)).unwrap();
        // A service that ends before it counts leaves it for the next.
        let (counters, _unused) = take(&path).unwrap().unwrap();
        assert_eq!(counters, saved(7));
        let (counters, taken) = take(&path).unwrap().unwrap();
        assert_eq!(counters, saved(7));
        taken.done();
        assert!(take(&path).unwrap().is_none());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_none_of_ours_is_said_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counters.json");
        let boot = boot_id().unwrap();
        for (text, problem) in [
            ("", "is no file of counters"),
            ("{\"format\":2}", "has format 2, not 1"),
            ("{\"format\":1}", "is no file of counters"),
            (
                &format!(
                    "{{\"format\":1,\"boot_id\":\"{boot}\",\"counters\":{{\"removed\":18446744073709551615}}}}"
                ),
                "holds numbers that are no counters",
            ),
            (
                &format!("{{\"format\":1,\"boot_id\":\"{boot}\",\"counters\":{{\"removed\":-1}}}}"),
                "holds numbers that are no counters",
            ),
        ] {
            fs::write(&path, text).unwrap();
            let said = take(&path).unwrap_err();
            assert!(said.contains(problem), "{text}: {said}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        let other = "{\"format\":1,\"boot_id\":\"of another boot\",\"counters\":{\"removed\":7}}";
        fs::write(&path, other).unwrap();
        assert!(take(&path).unwrap().is_none());
    }
}
