//! The metrics in a file, for node_exporter's textfile collector. It is replaced as a whole: a reader never sees half of it.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    sync::{Mutex, PoisonError},
};

/// Who writes at the end may find one at work who writes from time to time: each makes its page when it is its turn, so that the last has
/// the newest.
static TURN: Mutex<()> = Mutex::new(());

/// Writes the page that it then makes.
///
/// # Errors
/// As [`write()`].
pub(super) fn write_in_turn(path: &Path, page: impl FnOnce() -> String) -> io::Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    write(path, &page())
}

/// Writes it beside its place and renames it. The name in between does not end in `.prom`, so that nobody reads it.
///
/// # Errors
/// The folder cannot be written to, or the disk is full; what was there stays.
pub(super) fn write(path: &Path, page: &str) -> io::Result<()> {
    let mut name = path
        .file_name()
        .ok_or_else(|| io::Error::other("this names no file"))?
        .to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(name);
    // One that is left of a run with the same pid. Whoever owns the folder could put a link there instead: it is never followed.
    let _ = fs::remove_file(&beside);
    let written = fs::File::create_new(&beside)
        .and_then(|mut file| file.write_all(page.as_bytes()))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // Nothing to be done about it if even this fails.
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn it_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dockernet.prom");
        write(&path, "one\n").unwrap();
        write(&path, "two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write(&folder.path().join("no/such/folder.prom"), "x").is_err());
    }

    #[test]
    fn links_in_its_way_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "mine").unwrap();
        let path = folder.path().join("dockernet.prom");
        let beside = format!("dockernet.prom.{}.tmp", std::process::id());
        std::os::unix::fs::symlink(&victim, folder.path().join(beside)).unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        write(&path, "one\n").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\n");
    }
}
