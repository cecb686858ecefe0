//! Datagrams through a published port: one pinned sender, a server that answers what asks for it.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use dockernet_tests::{Engine, HOST_IP, Lab, LabOptions, Netns, Place, Run};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

/// Payload bytes of a datagram.
pub(crate) const PAYLOAD: usize = 64;

/// A container that publishes a UDP port, and a socket outside that sends to it.
pub(crate) struct Wire {
    pub lab: Lab,
    pub socket: UdpSocket,
    _server: Server,
}

impl Wire {
    /// On the newest engine.
    pub(crate) fn bring_up() -> Result<Self> {
        let lab = Lab::start(&Engine::newest()?, &LabOptions::default())?;
        lab.run(&Run::new("web", "sleep 3600").publish("10053:53/udp"))?;
        let web = lab.netns(&Place::Container("web".into()))?;
        let server = Server::start(&web)?;
        let socket = flow(&lab)?;
        Ok(Self {
            lab,
            socket,
            _server: server,
        })
    }

    /// A new flow to the same port.
    pub(crate) fn begin_anew(&mut self) -> Result<()> {
        self.socket = flow(&self.lab)?;
        Ok(())
    }

    /// Exchanges datagrams until conntrack is assured of the flow (answers for two seconds, nf_conntrack_proto_udp.c).
    pub(crate) fn establish(&self) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(2600) {
            self.socket.send(b"echo")?;
            self.socket.recv(&mut [0; 16]).context("no echo")?;
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Sends so many; packets per second.
    pub(crate) fn send(&self, packets: u32) -> Result<f64> {
        pinned(|| {
            let payload = [b'x'; PAYLOAD];
            let started = Instant::now();
            for _ in 0..packets {
                // A full queue is the network's way to slow us down.
                self.socket.send(&payload).ok();
            }
            Ok(f64::from(packets) / started.elapsed().as_secs_f64())
        })
    }
}

fn flow(lab: &Lab) -> Result<UdpSocket> {
    let target: SocketAddr = format!("{HOST_IP}:10053").parse()?;
    lab.outside().within(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(target)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        Ok(socket)
    })
}

/// Runs something on the first core alone.
pub(crate) fn pinned<T: Send>(what: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let mut cpus = CpuSet::new();
            cpus.set(0)?;
            sched_setaffinity(Pid::from_raw(0), &cpus)?;
            what()
        });
        worker
            .join()
            .map_err(|_| anyhow::anyhow!("the sender panicked"))?
    })
}

/// Answers datagrams that begin with `e`, and takes all others.
struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    fn start(netns: &Netns) -> Result<Self> {
        let socket = netns.within(|| Ok(UdpSocket::bind("0.0.0.0:53")?))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 128];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer)
                    && buffer[0] == b'e'
                {
                    socket.send_to(&buffer[..length], from).ok();
                }
            }
        });
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
