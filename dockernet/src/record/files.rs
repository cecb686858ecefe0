//! The file that is written, and its forerunners: FILE, FILE.1, FILE.2 … from the newest to the oldest.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::cli::{Usage, options::RecordArgs};

/// The file now, and when the next one is due.
#[derive(Debug)]
pub(crate) struct Files {
    path: PathBuf,
    file: File,
    /// Bytes that are whole: a write that failed is cut off.
    size: u64,
    opened: Instant,
    is_regular: bool,
    rotate_size: Option<u64>,
    rotate_every: Option<Duration>,
    keep: u32,
}

impl Files {
    /// Opens the file. One that is there is kept as FILE.1 if files are rotated; else it is not touched, and an error.
    ///
    /// # Errors
    /// It is there, or cannot be written.
    pub(crate) fn create(args: &RecordArgs) -> Result<Self> {
        let path = args.file.clone();
        let shown = path.display();
        let rotates = args.rotate_size.is_some() || args.rotate_every.is_some();
        let keep = args.keep.unwrap_or(10);
        let is_regular = match fs::metadata(&path) {
            Ok(found) if found.is_file() && found.len() > 0 && !rotates => {
                return Err(Usage(format!(
                    "{shown} is there already; remove it, choose another name, or have files rotated (--rotate-size, --rotate-every)"
                ))
                .into());
            }
            Ok(found) if found.is_dir() => {
                return Err(Usage(format!("{shown} is a directory; expected a file")).into());
            }
            Ok(found) if !found.is_file() && rotates => {
                return Err(
                    Usage(format!("{shown} is no regular file, and cannot be rotated")).into(),
                );
            }
            Ok(found) if found.is_file() && found.len() > 0 => {
                shift(&path, keep)?;
                true
            }
            Ok(found) => found.is_file(),
            Err(_) => true,
        };
        Ok(Self {
            file: open(&path)?,
            path,
            size: 0,
            opened: Instant::now(),
            is_regular,
            rotate_size: args.rotate_size,
            rotate_every: args.rotate_every,
            keep,
        })
    }

    /// Its name.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes written to it.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Whether it has grown, or lasted, as long as one file may.
    pub(crate) fn is_due(&self) -> bool {
        let is_full = self.rotate_size.is_some_and(|limit| self.size >= limit);
        let is_old = self
            .rotate_every
            .is_some_and(|limit| self.opened.elapsed() >= limit);
        self.size > 0 && (is_full || is_old)
    }

    /// Goes on in a new file.
    ///
    /// # Errors
    /// A file cannot be renamed, or the new one not opened.
    pub(crate) fn rotate(&mut self) -> Result<()> {
        shift(&self.path, self.keep)?;
        self.file = open(&self.path)?;
        self.size = 0;
        self.opened = Instant::now();
        Ok(())
    }

    /// Appends bytes, whole or not at all.
    ///
    /// # Errors
    /// The disk is full, or whatever the system says.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        if let Err(error) = written {
            if self.is_regular {
                let _ = self.file.set_len(self.size);
            }
            return Err(error).with_context(|| self.failed());
        }
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Has the system put everything on its disk.
    ///
    /// # Errors
    /// It could not.
    pub(crate) fn finish(&mut self) -> Result<()> {
        match self.file.sync_all() {
            // Pipes and devices have no disk.
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => {
                Err(error).with_context(|| self.failed())
            }
            _ => Ok(()),
        }
    }

    fn failed(&self) -> String {
        format!(
            "writing {} (what it holds up to {} bytes is whole)",
            self.path.display(),
            self.size
        )
    }
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        // It holds addresses, and the beginnings of packets.
        .mode(0o600)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// FILE becomes FILE.1, FILE.1 becomes FILE.2, and so on; what is beyond `keep` goes.
fn shift(path: &Path, keep: u32) -> Result<()> {
    let renamed = |from: &Path, to: &Path| {
        match fs::rename(from, to) {
            // A gap, or the first times.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
        .with_context(|| format!("renaming {} to {}", from.display(), to.display()))
    };
    if keep == 0 {
        return fs::remove_file(path).with_context(|| format!("removing {}", path.display()));
    }
    for number in (1..keep).rev() {
        renamed(&numbered(path, number), &numbered(path, number + 1))?;
    }
    renamed(path, &numbered(path, 1))
}
