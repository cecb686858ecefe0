//! Echo requests by a raw socket.

use std::{
    mem::MaybeUninit,
    time::{Duration, Instant},
};

use anyhow::Result;
use socket2::{Protocol, Type};

use super::{Outcome, Probe, raw::checksum, socket};

pub(super) fn probe(probe: &Probe) -> Result<Outcome> {
    let started = Instant::now();
    let v4 = probe.to.is_ipv4();
    let protocol = if v4 {
        Protocol::ICMPV4
    } else {
        Protocol::ICMPV6
    };
    let socket = socket(probe, Type::RAW, Some(protocol))?;
    socket.connect(&probe.to.into())?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let id = (std::process::id() ^ started.elapsed().subsec_nanos()).to_be_bytes();
    let id = [id[2], id[3]];
    for sequence in 0..probe.count.max(1) {
        let number = u16::try_from(sequence).unwrap_or(u16::MAX).to_be_bytes();
        let mut packet = vec![if v4 { 8 } else { 128 }, 0, 0, 0];
        packet.extend(id);
        packet.extend(number);
        packet.resize(8 + probe.size, b'p');
        if v4 {
            let sum = checksum(&packet).to_be_bytes();
            packet[2..4].copy_from_slice(&sum);
        }
        if let Err(error) = socket.send(&packet) {
            return Ok(Outcome::of_error(&error));
        }
    }
    let mut buffer = [MaybeUninit::<u8>::uninit(); 2048];
    while started.elapsed() < probe.timeout {
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) => match Outcome::of_error(&error) {
                Outcome::Timeout => continue,
                other => return Ok(other),
            },
        };
        let packet: Vec<u8> = buffer[..length]
            .iter()
            // SAFETY: `recv` says that it wrote the first `length` bytes.
            .map(|byte| unsafe { byte.assume_init() })
            .collect();
        let start = if v4 { header_length(&packet) } else { 0 };
        let reply = if v4 { 0 } else { 129 };
        if packet.get(start) == Some(&reply) && packet.get(start + 4..start + 6) == Some(&id) {
            return Ok(Outcome::Ok);
        }
    }
    Ok(Outcome::Timeout)
}

/// A raw IPv4 socket delivers the IP header too.
fn header_length(packet: &[u8]) -> usize {
    packet
        .first()
        .map_or(0, |byte| usize::from(byte & 0x0f) * 4)
}
