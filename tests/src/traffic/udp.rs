//! UDP: datagrams out, one back.

use std::{io, net::UdpSocket, time::Instant};

use anyhow::Result;
use socket2::{Protocol, Type};

use super::{Outcome, Probe, socket};

pub(super) fn probe(probe: &Probe) -> Result<Outcome> {
    let payload = vec![b'u'; probe.size];
    let (outcome, _) = exchange(probe, |socket| {
        for _ in 0..probe.count {
            match socket.send(&payload) {
                // An ICMP error about an earlier datagram; this one was not sent.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    socket.send(&payload)?;
                }
                other => drop(other?),
            }
        }
        Ok(())
    })?;
    Ok(outcome)
}

/// Sends by `send`, then waits for one datagram, which is returned too.
pub(super) fn exchange(
    probe: &Probe,
    send: impl FnOnce(&UdpSocket) -> io::Result<()>,
) -> Result<(Outcome, Vec<u8>)> {
    let started = Instant::now();
    let socket = socket(probe, Type::DGRAM, Some(Protocol::UDP))?;
    if let Err(error) = socket.connect(&probe.to.into()) {
        return Ok((Outcome::of_error(&error), Vec::new()));
    }
    let socket = UdpSocket::from(socket);
    if let Err(error) = send(&socket) {
        return Ok((Outcome::of_error(&error), Vec::new()));
    }
    let left = probe.timeout.saturating_sub(started.elapsed());
    socket.set_read_timeout(Some(left.max(std::time::Duration::from_millis(50))))?;
    let mut buffer = vec![0; 65_536];
    Ok(match socket.recv(&mut buffer) {
        Ok(length) => {
            buffer.truncate(length);
            (Outcome::Ok, buffer)
        }
        Err(error) => (Outcome::of_error(&error), Vec::new()),
    })
}
