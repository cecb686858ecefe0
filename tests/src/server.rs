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

use crate::{
    dropper::{self, Hook},
    netns::Netns,
    router::Router,
    traffic,
};

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// TCP: answers each connection with one line.
    Tcp,
    /// TCP: answers each connection with a mebibyte.
    Bulk,
    /// TCP: reads all that comes and says nothing.
    Sink,
    /// TCP: takes none of the connections; two may wait.
    Stuck,
    /// UDP: sends each datagram back.
    Echo,
    /// UDP: holds a socket with a small receive buffer and never reads it.
    Deaf,
    /// A BPF program at the TCX ingress of a device (given as the address) that drops all IPv4.
    TcxDrop,
    /// The same in generic XDP.
    XdpDrop,
    /// The same in the driver's XDP.
    XdpDriverDrop,
    /// A router that advertises itself by a device (given as the address) every second.
    Router,
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
            Kind::Tcp | Kind::Bulk | Kind::Sink => {
                let listener = netns.within(|| {
                    TcpListener::bind(address).with_context(|| format!("listening on {address}"))
                })?;
                listener.set_nonblocking(true)?;
                thread::spawn(move || serve_tcp(&listener, kind, &seen))
            }
            Kind::Stuck => {
                let listener = netns.within(|| {
                    let address: std::net::SocketAddr = address.parse()?;
                    let socket = socket2::Socket::new(
                        socket2::Domain::for_address(address),
                        socket2::Type::STREAM,
                        None,
                    )?;
                    socket.set_reuse_address(true)?;
                    socket
                        .bind(&address.into())
                        .with_context(|| format!("binding {address}/tcp"))?;
                    socket.listen(1)?;
                    Ok(socket)
                })?;
                thread::spawn(move || {
                    let _held = listener;
                    while !seen.load(Ordering::Relaxed) {
                        thread::sleep(POLL);
                    }
                })
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
            Kind::Router => {
                let router = netns.within(|| Router::open(address))?;
                // A host takes its time for the first one.
                for _ in 0..3 {
                    router.advertise();
                    thread::sleep(POLL * 10);
                }
                thread::spawn(move || {
                    while !seen.load(Ordering::Relaxed) {
                        thread::sleep(POLL * 50);
                        router.advertise();
                    }
                })
            }
            Kind::TcxDrop | Kind::XdpDrop | Kind::XdpDriverDrop => {
                let hook = match kind {
                    Kind::TcxDrop => Hook::Tcx,
                    Kind::XdpDrop => Hook::Xdp,
                    _ => Hook::XdpDriver,
                };
                let link = netns.within(|| dropper::attach(hook, address))?;
                thread::spawn(move || {
                    let _held = link;
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

fn serve_tcp(listener: &TcpListener, kind: Kind, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let Ok((mut stream, _)) = listener.accept() else {
            thread::sleep(POLL);
            continue;
        };
        thread::spawn(move || {
            stream.set_nonblocking(false).ok();
            stream.set_read_timeout(Some(Duration::from_secs(3))).ok();
            let mut buffer = [0; 4096];
            while kind == Kind::Sink && stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
            if stream.read(&mut buffer).is_ok() {
                let mut answer = b"HTTP/1.0 200 OK\r\n\r\nlab\n".to_vec();
                if kind == Kind::Bulk {
                    answer.resize(1 << 20, b'b');
                }
                stream.write_all(&answer).ok();
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
            _ => Some(buffer[..length].to_vec()),
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
