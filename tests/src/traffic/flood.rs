//! Many datagrams, as fast as plain sockets go.

use std::{
    net::{SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::netns::Netns;

/// How a flood is sent.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    /// To whom.
    pub to: SocketAddr,
    /// How many datagrams in all.
    pub count: u64,
    /// By how many threads.
    pub threads: u64,
    /// Payload bytes.
    pub size: usize,
    /// Give up after this long.
    pub limit: Duration,
}

/// Sends a flood from a namespace; returns how many datagrams the kernel took.
///
/// # Errors
/// A socket cannot be made, or not all were sent within the limit.
pub fn flood(from: &Netns, flood: Flood) -> Result<u64> {
    let deadline = Instant::now() + flood.limit;
    let sockets: Vec<UdpSocket> = from.within(|| {
        (0..flood.threads)
            .map(|_| {
                let socket =
                    UdpSocket::bind((if flood.to.is_ipv4() { "0.0.0.0" } else { "::" }, 0))?;
                socket.connect(flood.to)?;
                Ok(socket)
            })
            .collect()
    })?;
    let share = flood.count / flood.threads.max(1);
    let sent: u64 = thread::scope(|scope| {
        let threads: Vec<_> = sockets
            .iter()
            .map(|socket| scope.spawn(move || send(socket, share, flood.size, deadline)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(0))
            .sum()
    });
    if sent < share * flood.threads {
        bail!(
            "only {sent} of {} datagrams were sent within {:?}",
            flood.count,
            flood.limit
        );
    }
    Ok(sent)
}

fn send(socket: &UdpSocket, count: u64, size: usize, deadline: Instant) -> u64 {
    let payload = vec![b'f'; size];
    let mut sent = 0;
    while sent < count {
        if socket.send(&payload).is_ok() {
            sent += 1;
        } else {
            thread::yield_now();
        }
        if sent % 1024 == 0 && Instant::now() > deadline {
            break;
        }
    }
    sent
}
