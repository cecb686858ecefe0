//! TCP connections of a network namespace, with what their programs have not read yet.
//!
//! From /proc/thread-self/net/{tcp,tcp6}, where half-open ones stand too (since 4.4, net/ipv4/tcp_ipv4.c `get_openreq4`).

use std::{
    io::{self, BufReader, Read as _},
    net::SocketAddr,
};

use anyhow::{Context as _, Result};

use super::{
    inside,
    listeners::{LIMIT, Transport, parse},
    netns::NetnsHandle,
};

/// Connections that are kept at most.
const MOST: usize = 1 << 16;
/// States of include/net/tcp_states.h.
const ESTABLISHED: u8 = 1;
const SYN_RECV: u8 = 3;
const CLOSE_WAIT: u8 = 8;

/// A TCP connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// This end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Bytes that have come and that nobody has read.
    pub unread: u32,
    state: u8,
}

impl Connection {
    /// Data can come in, or has.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, ESTABLISHED | CLOSE_WAIT)
    }

    /// Its SYN was answered, and that answer was not.
    #[must_use]
    pub fn is_half_open(&self) -> bool {
        self.state == SYN_RECV
    }
}

/// The connections of a namespace, the first 65,536 of them.
///
/// # Errors
/// The namespace cannot be entered, or its files not be read.
pub fn connections(netns: &NetnsHandle) -> Result<Vec<Connection>> {
    netns
        .run(|| {
            let mut all = Vec::new();
            for name in ["tcp", "tcp6"] {
                match inside::open(&format!("/proc/thread-self/net/{name}")) {
                    Ok(file) => read(BufReader::new(file.take(LIMIT)), &mut all)?,
                    // A kernel without IPv6 has no such file.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(all)
        })?
        .with_context(|| {
            format!(
                "reading the connections of network namespace {}",
                netns.inum()
            )
        })
}

fn read(source: impl io::BufRead, all: &mut Vec<Connection>) -> io::Result<()> {
    for line in source.lines() {
        if all.len() >= MOST {
            break;
        }
        let Some((found, state)) = parse(&line?, Transport::Tcp) else {
            continue;
        };
        if let Some(remote) = found.remote {
            all.push(Connection {
                local: found.local,
                remote,
                unread: found.receive_queue,
                state,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_real_connection_with_unread_data() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = std::net::TcpStream::connect(address).unwrap();
        let (_server, peer) = listener.accept().unwrap();
        client.write_all(b"hello").unwrap();
        let Ok(all) = connections(&NetnsHandle::current().unwrap()) else {
            // A sandbox where no namespace can be entered, not even one's own.
            return;
        };
        let found = all
            .iter()
            .find(|found| (found.local, found.remote) == (address, peer))
            .unwrap();
        assert_eq!(found.unread, 5);
        assert!(found.is_open() && !found.is_half_open());
    }
}
