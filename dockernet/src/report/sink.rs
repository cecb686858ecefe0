//! Buffered output that notices when nobody reads it any more.

use std::io::{self, Write};

use anyhow::{Context as _, Result};
use bytes::BytesMut;

use super::Stream;

/// Beyond this many bytes the buffer goes out before the batch ends.
const FULL: usize = 64 * 1024;

/// Stdout, or a stand-in for tests.
#[derive(Debug)]
pub(super) struct Sink<W> {
    out: W,
    /// What it is, for errors.
    name: &'static str,
    buffer: BytesMut,
    closed: bool,
}

impl<W: Write> Sink<W> {
    pub(super) fn new(out: W) -> Self {
        Self::named(out, "writing to standard output")
    }

    /// `name`: what is done when writing fails.
    pub(super) fn named(out: W, name: &'static str) -> Self {
        Self {
            out,
            name,
            buffer: BytesMut::new(),
            closed: false,
        }
    }

    /// Adds bytes, for which the caller ends the line.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<Stream> {
        if self.closed {
            return Ok(Stream::Closed);
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= FULL {
            return self.flush();
        }
        Ok(Stream::Open)
    }

    /// Sends what is buffered.
    pub(super) fn flush(&mut self) -> Result<Stream> {
        if self.closed {
            return Ok(Stream::Closed);
        }
        let sent = self
            .out
            .write_all(&self.buffer)
            .and_then(|()| self.out.flush());
        self.buffer.clear();
        match sent {
            Ok(()) => Ok(Stream::Open),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(Stream::Closed)
            }
            Err(error) => Err(error).context(self.name),
        }
    }

    /// Where it goes. Flush first: what is buffered comes later.
    pub(super) fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    #[cfg(test)]
    pub(super) fn get_ref(&self) -> &W {
        &self.out
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn closed_pipe_is_no_error_and_stays_closed() {
        let mut sink = Sink::new(Broken(io::ErrorKind::BrokenPipe));
        assert_eq!(sink.write(b"x\n").unwrap(), Stream::Open);
        assert_eq!(sink.flush().unwrap(), Stream::Closed);
        assert_eq!(sink.write(b"x\n").unwrap(), Stream::Closed);
        assert_eq!(sink.flush().unwrap(), Stream::Closed);
    }

    #[test]
    fn full_disk_is_an_error() {
        let mut sink = Sink::new(Broken(io::ErrorKind::StorageFull));
        let _ = sink.write(b"x\n").unwrap();
        assert!(
            sink.flush()
                .unwrap_err()
                .to_string()
                .contains("standard output")
        );
    }

    #[test]
    fn long_batches_go_out_early() {
        let mut sink = Sink::new(Vec::new());
        let _ = sink.write(&vec![b'x'; FULL]).unwrap();
        assert_eq!(sink.get_ref().len(), FULL);
    }
}
