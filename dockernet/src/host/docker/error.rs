//! What can be wrong with the engine, one sentence each.

use std::{error::Error, fmt, io};

/// Why the engine did not answer. Displayed as one sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineError {
    /// Nothing at the path.
    NoSocket(String),
    /// Something else than a socket at the path.
    NotASocket(String),
    /// Not allowed.
    PermissionDenied(String),
    /// Nobody listens.
    Refused(String),
    /// No answer within [`super::LIMIT`].
    Hung(String),
    /// An address that cannot be asked.
    Unsupported(String),
    /// An answer that is an error: status and message.
    Status(u16, String),
    /// The events ended: the engine stopped or restarts.
    Ended,
    /// Anything else.
    Other(String),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSocket(at) => write!(
                f,
                "no engine at {at}: there is no such socket; start Docker, or name its socket with -H unix:///path"
            ),
            Self::NotASocket(at) => write!(
                f,
                "no engine at {at}: that is not a socket; name Docker's socket with -H unix:///path"
            ),
            Self::PermissionDenied(at) => write!(
                f,
                "the engine at {at} refuses this user: run with sudo, or join the group that owns the socket"
            ),
            Self::Refused(at) => write!(
                f,
                "no engine listens at {at}: the socket is there but nobody serves it; start Docker (systemctl start docker)"
            ),
            Self::Hung(at) => write!(
                f,
                "the engine at {at} did not answer within {} s: it hangs; see its log (journalctl -u docker)",
                super::LIMIT.as_secs()
            ),
            Self::Unsupported(at) => write!(
                f,
                "the engine's address {at} cannot be used: give unix:///path or tcp://host:port with -H"
            ),
            Self::Status(status, message) => {
                write!(f, "the engine answered with error {status}: {message}")
            }
            Self::Ended => f.write_str(
                "the engine closed the connection: it stopped or restarts (systemctl status docker)",
            ),
            Self::Other(what) => write!(f, "asking the engine failed: {what}"),
        }
    }
}

impl Error for EngineError {}

impl EngineError {
    /// An error of connecting to `at`.
    #[must_use]
    pub fn connecting(at: &str, error: &io::Error) -> Self {
        let at = at.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound => Self::NoSocket(at),
            io::ErrorKind::NotADirectory => Self::NotASocket(at),
            io::ErrorKind::PermissionDenied => Self::PermissionDenied(at),
            io::ErrorKind::ConnectionRefused => Self::Refused(at),
            io::ErrorKind::TimedOut => Self::Hung(at),
            _ => Self::Other(format!("{at}: {error}")),
        }
    }
}
