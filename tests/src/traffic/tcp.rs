//! TCP: one request, first byte of the answer.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Instant,
};

use anyhow::Result;
use socket2::{Protocol, Type};

use super::{Outcome, Probe, socket};

pub(super) fn probe(probe: &Probe) -> Result<Outcome> {
    let started = Instant::now();
    let socket = socket(probe, Type::STREAM, Some(Protocol::TCP))?;
    if let Err(error) = socket.connect_timeout(&probe.to.into(), probe.timeout) {
        return Ok(Outcome::of_error(&error));
    }
    let left = probe.timeout.saturating_sub(started.elapsed());
    // Zero would mean for ever.
    socket.set_read_timeout(Some(left.max(std::time::Duration::from_millis(100))))?;
    Ok(request(TcpStream::from(socket)))
}

fn request(mut stream: TcpStream) -> Outcome {
    let asked = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
    let mut first = [0; 1];
    let answered = asked.and_then(|()| stream.read_exact(&mut first));
    if let Err(error) = answered {
        return Outcome::of_error(&error);
    }
    // Reading to the end lets both sides close in order: unread data would be reset.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).ok();
    Outcome::Ok
}
