//! The metrics in a file, for node_exporter's textfile collector. It is replaced as a whole: a reader never sees half of it.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

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
    let written = fs::File::create(&beside)
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
        // A full disk.
        assert!(write(Path::new("/dev/full/x"), "x").is_err());
    }
}
