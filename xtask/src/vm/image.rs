//! The guest's files: copies of this machine's, with what they need.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufWriter, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::cpio::{self, Entry};
use crate::process;

/// Symbolic links are followed only so far.
const MAX_LINKS: usize = 40;

/// Files by their path in the guest.
#[derive(Debug, Default)]
pub(super) struct Image {
    entries: BTreeMap<PathBuf, Entry>,
}

impl Image {
    /// Text of our own.
    pub(super) fn text(&mut self, path: &str, text: &str, executable: bool) {
        let bytes = text.as_bytes().to_vec();
        self.put(Path::new(path), Entry::Text { bytes, executable });
    }

    /// A folder that nothing is in yet.
    pub(super) fn folder(&mut self, path: &str) {
        self.put(Path::new(path), Entry::Folder);
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, path: &Path, to: &str) {
        self.put(path, Entry::Link(PathBuf::from(to)));
    }

    /// A character device.
    pub(super) fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.put(Path::new(path), Entry::CharacterDevice(major, minor));
    }

    /// A file of this machine under another path.
    ///
    /// # Errors
    /// It is not there.
    pub(super) fn copy(&mut self, from: &Path, to: &Path) -> Result<()> {
        let meta = fs::metadata(from).with_context(|| format!("reading {}", from.display()))?;
        let executable = meta.permissions().mode() & 0o111 != 0;
        let from = from.to_owned();
        self.put(to, Entry::Copy { from, executable });
        Ok(())
    }

    /// What stands at `path` on this machine, at the same path: links on the way and what they lead to included.
    ///
    /// # Errors
    /// It is not there, or is neither file nor folder.
    pub(super) fn same(&mut self, path: &Path) -> Result<()> {
        let real = self.links_of(path)?;
        if real.is_dir() {
            return self.put_folder(&real);
        }
        let copy = real.clone();
        self.copy(&copy, &real)
    }

    /// A folder of this machine with all that is in it.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn tree(&mut self, folder: &Path) -> Result<()> {
        self.same(folder)?;
        let list = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
        for entry in list {
            let path = entry
                .with_context(|| format!("reading {}", folder.display()))?
                .path();
            if path.is_dir() && !path.is_symlink() {
                self.tree(&path)?;
            } else if path.exists() {
                self.same(&path)?;
            }
        }
        Ok(())
    }

    /// A program, by name or path, with the libraries that it is linked with.
    ///
    /// # Errors
    /// It is not there, or a library of it is not.
    pub(super) fn program(&mut self, program: &Path) -> Result<()> {
        self.same(program)?;
        self.libraries(program)
    }

    /// The libraries that a program of this machine is linked with.
    ///
    /// # Errors
    /// One is missing.
    pub(super) fn libraries(&mut self, program: &Path) -> Result<()> {
        // Fails on static programs and scripts: they need none.
        let told = process::output(Command::new("ldd").arg(program)).unwrap_or_default();
        for line in told.lines() {
            if line.contains("not found") {
                bail!("{} lacks a library: {}", program.display(), line.trim());
            }
            let path = line.split_whitespace().find(|word| word.starts_with('/'));
            if let Some(path) = path {
                self.same(Path::new(path))?;
            }
        }
        Ok(())
    }

    /// Puts the links on the way to `path` in, and gives the path behind all of them.
    fn links_of(&mut self, path: &Path) -> Result<PathBuf> {
        let mut real = PathBuf::from("/");
        let mut rest: Vec<PathBuf> = parts(path);
        let mut links = 0;
        while let Some(part) = rest.pop() {
            if part == Path::new("..") {
                real.pop();
                continue;
            }
            let at = real.join(&part);
            let Ok(to) = fs::read_link(&at) else {
                if !at.exists() {
                    bail!(
                        "{} is not there ({} is missing)",
                        path.display(),
                        at.display()
                    );
                }
                real = at;
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                bail!("{} is a link to itself", path.display());
            }
            if to.is_absolute() {
                real = PathBuf::from("/");
            }
            rest.extend(parts(&to));
            self.put(&at, Entry::Link(to));
        }
        Ok(real)
    }

    fn put_folder(&mut self, path: &Path) -> Result<()> {
        self.put(path, Entry::Folder);
        Ok(())
    }

    fn put(&mut self, path: &Path, entry: Entry) {
        for above in path.ancestors().skip(1) {
            if above != Path::new("/") {
                self.entries
                    .entry(above.to_owned())
                    .or_insert(Entry::Folder);
            }
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Writes the archive; it appears only when complete.
    ///
    /// # Errors
    /// A file cannot be read, or there is no room.
    pub(super) fn write(&self, file: &Path) -> Result<()> {
        let fresh = file.with_extension(format!("{}.new", std::process::id()));
        let out = fs::File::create(&fresh)
            .with_context(|| format!("{} could not be made", fresh.display()))?;
        let mut out = BufWriter::with_capacity(1 << 20, out);
        cpio::write(&self.entries, &mut out)?;
        out.flush()
            .and_then(|()| fs::rename(&fresh, file))
            .with_context(|| format!("{} could not be written", file.display()))
    }
}

/// A path's parts, the last first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(part) => Some(PathBuf::from(part)),
        Component::ParentDir => Some(PathBuf::from("..")),
        _ => None,
    });
    let mut parts: Vec<PathBuf> = parts.collect();
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn links_are_followed_and_kept() {
        let folder = std::env::temp_dir().join(format!("xtask-image-{}", std::process::id()));
        fs::create_dir_all(folder.join("real")).unwrap();
        fs::write(folder.join("real/file"), "x").unwrap();
        std::os::unix::fs::symlink("real", folder.join("alias")).unwrap();
        std::os::unix::fs::symlink("../alias/file", folder.join("real/again")).unwrap();
        let mut image = Image::default();
        image.same(&folder.join("alias/again")).unwrap();
        let kind = |name: &str| image.entries.get(&folder.join(name));
        assert_eq!(kind("alias"), Some(&Entry::Link(PathBuf::from("real"))));
        assert!(matches!(kind("real"), Some(Entry::Folder)));
        assert!(matches!(kind("real/again"), Some(Entry::Link(_))));
        assert!(matches!(kind("real/file"), Some(Entry::Copy { .. })));
        assert!(image.same(&folder.join("nothing")).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
