//! Archives as the kernel unpacks them into its first file system: "newc" of
//! Documentation/driver-api/early-userspace/buffer-format.rst. Several of them may follow each other.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Write},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Folder,
    /// Where it leads.
    Link(PathBuf),
    /// Contents from a file of this machine.
    Copy {
        from: PathBuf,
        executable: bool,
    },
    /// Contents as they are.
    Text {
        bytes: Vec<u8>,
        executable: bool,
    },
    /// Major and minor number.
    CharacterDevice(u32, u32),
}

const S_IFCHR: u32 = 0o020_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

/// Writes `entries` (by absolute path; what is above a path sorts before it) and the trailer. All belongs to root.
///
/// # Errors
/// A file cannot be read, has 4 GiB or more, or `out` takes no more.
pub(super) fn write(entries: &BTreeMap<PathBuf, Entry>, out: &mut impl Write) -> Result<()> {
    for (inode, (path, entry)) in (1_u32..).zip(entries) {
        let name = path.strip_prefix("/").unwrap_or(path);
        one(inode, name, entry, out).with_context(|| format!("archiving {}", path.display()))?;
    }
    header(0, 0, 0, (0, 0), "TRAILER!!!".as_bytes(), out)?;
    Ok(())
}

fn one(inode: u32, name: &Path, entry: &Entry, out: &mut impl Write) -> Result<()> {
    let name = name.as_os_str().as_bytes();
    let permissions = |executable: bool| if executable { 0o755 } else { 0o644 };
    match entry {
        Entry::Folder => header(inode, S_IFDIR | 0o755, 0, (0, 0), name, out)?,
        Entry::CharacterDevice(major, minor) => {
            header(inode, S_IFCHR | 0o600, 0, (*major, *minor), name, out)?;
        }
        Entry::Link(to) => {
            let to = to.as_os_str().as_bytes();
            header(inode, S_IFLNK | 0o777, length(to.len())?, (0, 0), name, out)?;
            out.write_all(to)?;
            pad(to.len(), out)?;
        }
        Entry::Text { bytes, executable } => {
            let mode = S_IFREG | permissions(*executable);
            header(inode, mode, length(bytes.len())?, (0, 0), name, out)?;
            out.write_all(bytes)?;
            pad(bytes.len(), out)?;
        }
        Entry::Copy { from, executable } => {
            let mut file =
                File::open(from).with_context(|| format!("opening {}", from.display()))?;
            let size = usize::try_from(file.metadata()?.len())?;
            let mode = S_IFREG | permissions(*executable);
            header(inode, mode, length(size)?, (0, 0), name, out)?;
            let copied = io::copy(&mut (&mut file).take(size as u64), out)?;
            if copied != size as u64 {
                bail!("{} became shorter while it was read", from.display());
            }
            pad(size, out)?;
        }
    }
    Ok(())
}

fn length(bytes: usize) -> Result<u32> {
    u32::try_from(bytes).context("a file of 4 GiB or more")
}

/// Thirteen numbers of eight hexadecimal digits, and the name with its zero, up to a multiple of four.
fn header(
    inode: u32,
    mode: u32,
    size: u32,
    (major, minor): (u32, u32),
    name: &[u8],
    out: &mut impl Write,
) -> io::Result<()> {
    let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
    let (user, group, links, time, device, checksum) = (0, 0, 1, 0, 0, 0);
    write!(out, "070701")?;
    for number in [
        inode, mode, user, group, links, time, size, device, device, major, minor, name_size,
        checksum,
    ] {
        write!(out, "{number:08x}")?;
    }
    out.write_all(name)?;
    out.write_all(&[0])?;
    pad(110 + name.len() + 1, out)
}

fn pad(written: usize, out: &mut impl Write) -> io::Result<()> {
    let zeroes = [0; 3];
    out.write_all(zeroes.get(..written.wrapping_neg() % 4).unwrap_or(&[]))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn headers_and_data_are_padded() {
        let entries = BTreeMap::from([
            (PathBuf::from("/a"), Entry::Folder),
            (
                PathBuf::from("/a/b"),
                Entry::Text {
                    bytes: b"hello".to_vec(),
                    executable: true,
                },
            ),
            (PathBuf::from("/a/l"), Entry::Link(PathBuf::from("b"))),
        ]);
        let mut out = Vec::new();
        write(&entries, &mut out).unwrap();
        assert_eq!(out.len() % 4, 0);
        let text = String::from_utf8_lossy(&out);
        assert_eq!(text.matches("070701").count(), 4);
        // 110 bytes of header, "a/b" and its zero, two bytes up to 116; then the data.
        let second = text.match_indices("070701").nth(1).unwrap().0;
        assert_eq!(second, 112);
        assert_eq!(&text[second + 6 + 8..second + 6 + 16], "000081ed");
        assert_eq!(&text[second + 116..second + 121], "hello");
        assert!(text.contains("TRAILER!!!"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let entry = Entry::Copy {
            from: PathBuf::from("/nonexistent/file"),
            executable: false,
        };
        let entries = BTreeMap::from([(PathBuf::from("/x"), entry)]);
        let error = write(&entries, &mut Vec::new()).unwrap_err();
        assert!(format!("{error:#}").contains("/nonexistent/file"));
    }
}
