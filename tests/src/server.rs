//! Small servers for the far end of a probe: threads of the test, sockets in a lab's namespace.

use std::{
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{netns::Netns, traffic};

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// TCP: answers each connection with one line.
    Tcp,
    /// UDP: sends each datagram back.
    Echo,
    /// UDP: holds a socket with a small receive buffer and never reads it.
    Deaf,
    /// UDP: answers each DNS query with 192.0.2.53.
    Dns,
}

/// A running server; ends when dropped.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

const POLL: Duration = Duration::from_millis(20);

impl Server {
    pub(crate) fn start(netns: &Netns, kind: Kind, address: &str) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = match kind {
            Kind::Tcp => {
                let listener = netns.within(|| {
                    TcpListener::bind(address).with_context(|| format!("listening on {address}"))
                })?;
                listener.set_nonblocking(true)?;
                thread::spawn(move || serve_tcp(&listener, &seen))
            }
            Kind::Deaf => {
                let socket = netns.within(|| {
                    let socket = UdpSocket::bind(address)
                        .with_context(|| format!("binding {address}/udp"))?;
                    socket2::SockRef::from(&socket).set_recv_buffer_size(4096)?;
                    Ok(socket)
                })?;
                thread::spawn(move || {
                    let _held = socket;
                    while !seen.load(Ordering::Relaxed) {
                        thread::sleep(POLL);
                    }
                })
            }
            Kind::Echo | Kind::Dns => {
                let socket = netns.within(|| {
                    UdpSocket::bind(address).with_context(|| format!("binding {address}/udp"))
                })?;
                socket.set_read_timeout(Some(POLL))?;
                thread::spawn(move || serve_udp(&socket, kind, &seen))
            }
        };
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn serve_tcp(listener: &TcpListener, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let Ok((mut stream, _)) = listener.accept() else {
            thread::sleep(POLL);
            continue;
        };
        thread::spawn(move || {
            stream.set_nonblocking(false).ok();
            stream.set_read_timeout(Some(Duration::from_secs(3))).ok();
            let mut buffer = [0; 4096];
            if stream.read(&mut buffer).is_ok() {
                stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nlab\n").ok();
            }
        });
    }
}

fn serve_udp(socket: &UdpSocket, kind: Kind, stop: &AtomicBool) {
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, peer)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let answer = match kind {
            Kind::Dns => traffic::dns_answer(&buffer[..length]),
            Kind::Tcp | Kind::Echo | Kind::Deaf => Some(buffer[..length].to_vec()),
        };
        if let Some(answer) = answer {
            socket.send_to(&answer, peer).ok();
        }
    }
}

/// What the outside always offers: TCP 80, echo on UDP 7, DNS on UDP 53.
pub(crate) fn internet(outside: &Netns) -> Result<Vec<Server>> {
    Ok(vec![
        Server::start(outside, Kind::Tcp, "[::]:80")?,
        // UDP from a wildcard socket answers from the address of the route: one socket per address.
        Server::start(outside, Kind::Echo, "203.0.113.7:7")?,
        Server::start(outside, Kind::Echo, "198.51.100.20:7")?,
        Server::start(outside, Kind::Echo, "[2001:db8:1::20]:7")?,
        Server::start(outside, Kind::Dns, "203.0.113.7:53")?,
        Server::start(outside, Kind::Dns, "198.51.100.20:53")?,
    ])
}
