//! Traffic with a time limit, from any namespace, by plain sockets.

mod dns;
mod flood;
mod frame;
mod icmp;
mod raw;
mod tcp;
mod udp;

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::Result;
use serde::Deserialize;

use crate::netns::Netns;

pub use dns::{answer as dns_answer, query as dns_query};
pub use flood::{Flood, flood};
pub use frame::FrameSender;
pub use raw::checksum;

/// What is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proto {
    /// Connect, send a request, wait for the first byte of an answer.
    #[default]
    Tcp,
    /// Send datagrams, wait for an answer to the last.
    Udp,
    /// Echo requests.
    Ping,
    /// A DNS query for `NAME.lab` by UDP.
    Dns,
    /// A UDP datagram written header by header; its source may be anyone's. Answers are not awaited.
    RawUdp,
    /// The same with a wrong UDP checksum.
    BadChecksumUdp,
}

/// One probe.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// What is sent.
    pub proto: Proto,
    /// To whom.
    pub to: SocketAddr,
    /// From which of the place's addresses (any at all for the raw kinds).
    pub source: Option<IpAddr>,
    /// How long to wait for an answer, in all.
    pub timeout: Duration,
    /// How many datagrams or echo requests.
    pub count: u32,
    /// Payload bytes of each.
    pub size: usize,
    /// TTL or hop limit.
    pub ttl: Option<u32>,
}

impl Probe {
    /// A probe with the usual values: one packet, 1.5 s.
    #[must_use]
    pub fn new(proto: Proto, to: SocketAddr) -> Self {
        Self {
            proto,
            to,
            source: None,
            timeout: Duration::from_millis(1500),
            count: 1,
            size: 16,
            ttl: None,
        }
    }

    /// TCP to an address and port.
    #[must_use]
    pub fn tcp(to: SocketAddr) -> Self {
        Self::new(Proto::Tcp, to)
    }

    /// UDP to an address and port.
    #[must_use]
    pub fn udp(to: SocketAddr) -> Self {
        Self::new(Proto::Udp, to)
    }

    /// Sends it from a namespace.
    ///
    /// # Errors
    /// The namespace cannot be entered or no socket be made. What the network answers is an [`Outcome`].
    pub fn send(&self, from: &Netns) -> Result<Outcome> {
        from.within(|| match self.proto {
            Proto::Tcp => tcp::probe(self),
            Proto::Udp => udp::probe(self),
            Proto::Ping => icmp::probe(self),
            Proto::Dns => dns::probe(self),
            Proto::RawUdp => raw::probe(self, true),
            Proto::BadChecksumUdp => raw::probe(self, false),
        })
    }
}

/// What became of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered.
    Ok,
    /// Sent; no answer was awaited.
    Sent,
    /// Connection refused (RST or port unreachable).
    Refused,
    /// Connected, then reset or closed without an answer.
    Reset,
    /// Network or host unreachable.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// Anything else.
    Other(String),
}

impl Outcome {
    /// Whether it fits what a scenario says: `ok`, `sent`, `refused`, `reset`, `unreachable`, `timeout`, `fail`
    /// (anything but ok and sent), `any`.
    #[must_use]
    pub fn fits(&self, wanted: &str) -> bool {
        match wanted {
            "any" => true,
            "fail" => !matches!(self, Self::Ok | Self::Sent),
            _ => self.to_string() == wanted,
        }
    }

    pub(crate) fn of_error(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Self::Reset,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unreachable,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Timeout,
            _ if error.raw_os_error() == Some(libc::EACCES) => Self::Unreachable,
            _ => Self::Other(error.to_string()),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Sent => "sent",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Other(text) => text,
        })
    }
}

/// A socket bound and limited as a probe asks.
pub(crate) fn socket(
    probe: &Probe,
    kind: socket2::Type,
    protocol: Option<socket2::Protocol>,
) -> Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(probe.to), kind, protocol)?;
    if let Some(ttl) = probe.ttl {
        if probe.to.is_ipv4() {
            socket.set_ttl_v4(ttl)?;
        } else {
            socket.set_unicast_hops_v6(ttl)?;
        }
    }
    if let Some(source) = probe.source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(socket)
}
