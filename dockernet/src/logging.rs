//! What the tool says of itself, on standard error.

use std::{
    io::{self, Write},
    os::fd::AsFd,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::cli::options::{Job, Options};

/// Fits into a pipe or a socket that has any room (`PIPE_BUF`).
const PIECE: usize = 4096;

/// What is said, in `env_logger`'s words. `-v`: what the tool does; `-vv`: every step of it, the kernel half's and the verifier's words
/// included. Without, a service's warnings: nobody watches it, and what failed has to be found later.
#[must_use]
pub fn filter(options: &Options) -> &'static str {
    match (options.verbose, &options.job) {
        (0, Job::Monitor(_)) => "dockernet=warn",
        (0, _) => "off",
        (1, _) => "dockernet=info",
        _ => "dockernet=debug,aya=info",
    }
}

/// From here on it is said. `is_service`: whether or not somebody reads it.
pub fn start(filter: &str, is_service: bool) {
    let target = if is_service {
        env_logger::Target::Pipe(Box::new(Hasty(io::stderr())))
    } else {
        env_logger::Target::Stderr
    };
    env_logger::Builder::new()
        .parse_filters(filter)
        .target(target)
        .format(|out, record| {
            writeln!(
                out,
                "dockernet-trace: {}: {}",
                record.level().as_str().to_lowercase(),
                record.args()
            )
        })
        .init();
}

/// Waits for no reader: what there is no room for (a pipe, a log driver that hangs) is lost.
struct Hasty<W>(W);

impl<W: Write + AsFd> Write for Hasty<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut fds, PollTimeout::ZERO)? == 0 {
            return Ok(bytes.len());
        }
        self.0.write(bytes.get(..PIECE).unwrap_or(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::io::{Read as _, pipe};

    use super::*;

    #[test]
    fn a_service_warns_without_being_asked() {
        for (line, expected) in [
            ("monitor", "dockernet=warn"),
            ("monitor -v", "dockernet=info"),
            ("monitor -vv", "dockernet=debug,aya=info"),
            ("--drops", "off"),
            ("top", "off"),
            ("--drops -v", "dockernet=info"),
        ] {
            let words = ["dockernet-trace"].into_iter().chain(line.split(' '));
            let options = crate::cli::parse(words, &[]).unwrap();
            assert_eq!(filter(&options), expected, "{line}");
        }
    }

    #[test]
    fn a_reader_that_does_not_read_holds_up_nobody() {
        let (mut reader, writer) = pipe().unwrap();
        let mut hasty = Hasty(writer);
        let line = format!("{}\n", "a warning ".repeat(1000));
        // More than a pipe holds.
        for _ in 0..100 {
            hasty.write_all(line.as_bytes()).unwrap();
        }
        drop(hasty);
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert!(read.starts_with(line.as_bytes()));
        assert!(read.len() < 100 * line.len());
    }
}
