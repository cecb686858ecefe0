//! A bounded real probe from inside a namespace: no program of the image is needed.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd as _,
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{cli::options::ProbeKind, host::netns::NetnsHandle};

/// How long an answer is waited for.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// What is sent, and from where.
pub struct Probe {
    /// What.
    pub kind: ProbeKind,
    /// To whom. The port is 0 for echo requests.
    pub to: SocketAddr,
    /// The namespace it starts in.
    pub netns: NetnsHandle,
}

/// How it ended for the one who sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered, in words.
    Answered(String),
    /// Not answered, or refused, in words.
    Failed(String),
}

impl Probe {
    /// Sends it, on a thread of its own; the receiver gets the outcome.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn send(self) -> Result<Receiver<Outcome>> {
        let (told, outcome) = mpsc::channel();
        thread::Builder::new()
            .name("probe".into())
            .spawn(move || {
                let result = self
                    .netns
                    .run(|| self.here())
                    .and_then(|result| result)
                    .unwrap_or_else(|error| Outcome::Failed(format!("not sent: {error:#}")));
                // Nobody waits any more if the run was stopped.
                let _ = told.send(result);
            })
            .context("starting a thread for the probe")?;
        Ok(outcome)
    }

    /// In the calling thread's namespace.
    fn here(&self) -> Result<Outcome> {
        let started = Instant::now();
        let sent = match self.kind {
            ProbeKind::Tcp | ProbeKind::Auto => self.tcp(),
            ProbeKind::Udp => self.datagram(b"dockernet probe\n"),
            ProbeKind::Dns => self.datagram(&question()),
            ProbeKind::Icmp => self.echo(),
        };
        let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
        match sent {
            Ok(what) => Ok(Outcome::Answered(format!("{what} in {milliseconds:.1} ms"))),
            Err(error) => match words(&error) {
                Some(words) => Ok(Outcome::Failed(words)),
                None => bail!(error),
            },
        }
    }

    fn socket(&self, kind: Type, protocol: Option<Protocol>) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(self.to), kind, protocol)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        if kind != Type::STREAM {
            self.hear_errors(&socket)?;
        }
        Ok(socket)
    }

    /// Without this option only some ICMP errors become the socket's (net/ipv4/raw.c, `raw_err`).
    fn hear_errors(&self, socket: &Socket) -> io::Result<()> {
        let (level, option) = match self.to.ip() {
            IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVERR),
            IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
        };
        let on: libc::c_int = 1;
        let length = libc::socklen_t::try_from(size_of_val(&on)).map_err(io::Error::other)?;
        // SAFETY: the socket is open, and the value is as long as its length says.
        let status = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                option,
                (&raw const on).cast(),
                length,
            )
        };
        if status == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Connects and closes again: enough to be answered, and nothing that a service would act on.
    fn tcp(&self) -> io::Result<&'static str> {
        let socket = self.socket(Type::STREAM, Some(Protocol::TCP))?;
        socket.connect_timeout(&self.to.into(), PATIENCE)?;
        Ok("connected")
    }

    fn datagram(&self, payload: &[u8]) -> io::Result<&'static str> {
        let mut socket = self.socket(Type::DGRAM, Some(Protocol::UDP))?;
        // Connected, so that an ICMP error comes back as this socket's error.
        socket.connect(&self.to.into())?;
        socket.write_all(payload)?;
        let mut answer = [0; 512];
        let length = socket.read(&mut answer)?;
        Ok(match (self.kind, answer.get(3).map(|byte| byte & 0xf)) {
            (ProbeKind::Dns, Some(0)) if length >= 12 => "answered",
            (ProbeKind::Dns, Some(2)) if length >= 12 => "answered SERVFAIL",
            (ProbeKind::Dns, Some(5)) if length >= 12 => "answered REFUSED",
            _ => "answered",
        })
    }

    fn echo(&self) -> io::Result<&'static str> {
        let (protocol, request, reply) = match self.to.ip() {
            IpAddr::V4(_) => (Protocol::ICMPV4, 8, 0),
            IpAddr::V6(_) => (Protocol::ICMPV6, 128, 129),
        };
        let mut socket = self.socket(Type::RAW, Some(protocol))?;
        socket.connect(&self.to.into())?;
        let id = u16::try_from(std::process::id() & 0xffff).unwrap_or(1);
        let message = echo_request(request, id);
        socket.write_all(&message)?;
        let deadline = Instant::now() + PATIENCE;
        let mut answer = [0; 256];
        while Instant::now() < deadline {
            let length = socket.read(&mut answer)?;
            let received = answer.get(..length).unwrap_or(&[]);
            // Raw IPv4 sockets get the IP header too.
            let begin = match (self.to.ip(), received.first()) {
                (IpAddr::V4(_), Some(first)) => usize::from(first & 0xf) * 4,
                _ => 0,
            };
            let found = received.get(begin..begin + 6);
            if found.is_some_and(|found| {
                found.first() == Some(&reply) && found.get(4..6) == Some(&id.to_be_bytes()[..])
            }) {
                return Ok("answered");
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

/// What a failure means; none for those that are no answer of the network's.
fn words(error: &io::Error) -> Option<String> {
    let seconds = PATIENCE.as_secs();
    Some(match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::ConnectionRefused, _) => "connection refused".to_owned(),
        (io::ErrorKind::ConnectionReset, _) => "connection reset".to_owned(),
        (io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock, _) | (_, Some(libc::EINPROGRESS)) => {
            format!("no answer in {seconds} s")
        }
        (io::ErrorKind::HostUnreachable, _) => "no route to host".to_owned(),
        (io::ErrorKind::NetworkUnreachable, _) => "network is unreachable".to_owned(),
        (_, Some(libc::EPERM | libc::EACCES)) => {
            "sending was refused locally (a firewall rule on the way out, or a prohibit route)"
                .to_owned()
        }
        (_, Some(libc::EADDRNOTAVAIL)) => "no address to send from".to_owned(),
        _ => return None,
    })
}

fn echo_request(kind: u8, id: u16) -> [u8; 16] {
    let [id_high, id_low] = id.to_be_bytes();
    let mut message = [
        kind, 0, 0, 0, id_high, id_low, 0, 1, b'd', b'o', b'c', b'k', b'e', b'r', b'n', b't',
    ];
    // The kernel fills in ICMPv6's checksum (RFC 3542, 3.1), not ICMP's.
    let sum = message
        .chunks_exact(2)
        .filter_map(|pair| pair.first_chunk::<2>())
        .fold(0_u32, |sum, pair| {
            sum + u32::from(u16::from_be_bytes(*pair))
        });
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0);
    let [high, low] = checksum.to_be_bytes();
    message[2] = high;
    message[3] = low;
    message
}

/// A query for the root's name servers: every resolver answers it.
fn question() -> Vec<u8> {
    let mut query = vec![0x64, 0x6e, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend([0, 0, 2, 0, 1]);
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_request_sums_to_all_ones() {
        let message = echo_request(8, 0x1234);
        let sum: u32 = message
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
