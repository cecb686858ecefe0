//! journald's native protocol (systemd's JOURNAL_NATIVE_PROTOCOL.md): fields in a datagram.

use std::{
    env,
    fmt::Display,
    fs, io,
    os::unix::{fs::MetadataExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
};

use crate::{cli::options::JournalWhen, text::start_of};

/// journald's socket.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Longer values are cut: a datagram has to hold them all.
const LONGEST: usize = 16 << 10;

/// A way to journald.
#[derive(Debug)]
pub(super) struct Journal(UnixDatagram, PathBuf);

impl Journal {
    /// As the configuration says. None: lines go to standard output.
    pub(super) fn open(when: JournalWhen) -> io::Result<Option<Self>> {
        let is_wanted = match when {
            JournalWhen::Always => true,
            JournalWhen::Never => false,
            JournalWhen::Auto => stdout_is_journal(),
        };
        if !is_wanted {
            return Ok(None);
        }
        Self::at(Path::new(SOCKET)).map(Some)
    }

    fn at(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(path)?;
        Ok(Self(socket, path.to_owned()))
    }

    /// One that takes nothing.
    #[cfg(test)]
    pub(super) fn deaf() -> io::Result<Self> {
        let (ours, _gone) = UnixDatagram::pair()?;
        Ok(Self(ours, PathBuf::from("/nowhere")))
    }

    /// Sends an entry. One that journald has no room for is lost: nothing waits for it.
    pub(super) fn send(&self, entry: &Entry) -> io::Result<()> {
        match self.0.send(&entry.0) {
            // Its socket has been made anew since.
            Err(error) if is_gone(&error) => {
                self.0.connect(&self.1)?;
                self.0.send(&entry.0).map(drop)
            }
            sent => sent.map(drop),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
    )
}

/// Whether standard output is connected to the journal: systemd.exec(5), `$JOURNAL_STREAM`.
pub(super) fn stdout_is_journal() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else {
        return false;
    };
    fs::metadata("/proc/self/fd/1")
        .is_ok_and(|stdout| stream == format!("{}:{}", stdout.dev(), stdout.ino()))
}

/// Fields in the making.
#[derive(Debug, Default)]
pub(super) struct Entry(Vec<u8>);

impl Entry {
    /// Adds a field. Names are upper case.
    pub(super) fn field(&mut self, name: &str, value: impl Display) -> &mut Self {
        let value = value.to_string();
        let value = start_of(&value, LONGEST);
        self.0.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            self.0.push(b'\n');
            self.0
                .extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
        self
    }

    /// Adds a field that may have no value.
    pub(super) fn optional(&mut self, name: &str, value: Option<impl Display>) -> &mut Self {
        if let Some(value) = value {
            self.field(name, value);
        }
        self
    }
}

/// The MESSAGE_ID of a cause: the same on every host and in every version. It is the FNV-1a hash, 128 bits, of the cause's
/// id behind our name.
#[must_use]
pub fn message_id(cause: &str) -> String {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash = b"dockernet-trace/"
        .iter()
        .chain(cause.as_bytes())
        .fold(BASIS, |hash, byte| {
            (hash ^ u128::from(*byte)).wrapping_mul(PRIME)
        });
    format!("{hash:032x}")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_socket_that_is_made_anew_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let first = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::at(&path).unwrap();
        let mut entry = Entry::default();
        entry.field("A", "one");
        journal.send(&entry).unwrap();
        drop(first);
        assert!(journal.send(&entry).is_err());
        fs::remove_file(&path).unwrap();
        assert!(journal.send(&entry).is_err());
        let second = UnixDatagram::bind(&path).unwrap();
        journal.send(&entry).unwrap();
        let mut buffer = [0; 16];
        let length = second.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"A=one\n");
    }

    #[test]
    fn fields_with_newlines_carry_their_length() {
        let mut entry = Entry::default();
        entry
            .field("A", "one")
            .field("B", "two\nlines")
            .optional("C", None::<u8>);
        assert_eq!(entry.0, b"A=one\nB\n\x09\0\0\0\0\0\0\0two\nlines\n");
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let mut entry = Entry::default();
        entry.field("A", "ä".repeat(LONGEST));
        assert_eq!(entry.0.len(), "A=".len() + LONGEST + "\n".len());
        assert!(String::from_utf8(entry.0).is_ok());
    }

    #[test]
    fn message_ids_never_change_and_differ() {
        assert_eq!(message_id("no-route"), "84b129c9276b35c236c1d2d0cce2b532");
        let ids: std::collections::HashSet<String> = crate::cause::catalogue::IDS
            .iter()
            .map(|cause| message_id(cause))
            .collect();
        assert_eq!(ids.len(), crate::cause::catalogue::IDS.len());
    }
}
