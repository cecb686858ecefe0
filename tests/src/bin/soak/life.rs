//! What goes on beside the faults: connections that are answered, and what everybody has to wait for.

use std::{
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Result;
use dockernet_tests::{
    Cmd, HOST_IP, INTERNET_IP, Lab, Netns, Place,
    traffic::{Probe, Proto},
};

/// Between two rounds of traffic.
const PAUSE: Duration = Duration::from_millis(700);
/// An answer may take this long on a busy machine.
const PATIENCE: Duration = Duration::from_secs(6);

/// What the threads share.
pub(crate) struct Life {
    /// All is to end.
    pub(crate) stop: AtomicBool,
    /// Traffic rests while somebody else holds it: what is told while a fault is there belongs to that.
    pub(crate) traffic: Mutex<()>,
    /// Containers come and go only while nobody else holds it.
    pub(crate) containers: Mutex<()>,
    /// `docker`, for this lab's engine.
    pub(crate) docker: Cmd,
    /// Containers that came and went.
    pub(crate) churned: AtomicU64,
    answered: AtomicU64,
    complaints: Mutex<Vec<String>>,
    pub(crate) outside: Netns,
    steady: Netns,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) churned: u64,
    pub(crate) answered: u64,
    pub(crate) complaints: Vec<String>,
}

impl Life {
    pub(crate) fn new(lab: &Lab) -> Result<Self> {
        Ok(Self {
            stop: AtomicBool::new(false),
            traffic: Mutex::new(()),
            containers: Mutex::new(()),
            docker: lab.docker_cmd(Vec::<&str>::new()),
            churned: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            complaints: Mutex::new(Vec::new()),
            outside: lab.outside().clone(),
            steady: lab.netns(&Place::Container("steady".into()))?,
        })
    }

    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sleeps, but not beyond the end.
    pub(crate) fn sleep(&self, time: Duration) {
        let step = Duration::from_millis(100);
        let mut left = time;
        while !left.is_zero() && !self.is_over() {
            thread::sleep(left.min(step));
            left = left.saturating_sub(step);
        }
    }

    pub(crate) fn complain(&self, text: String) {
        dockernet_tests::progress(&text);
        lock(&self.complaints).push(text);
    }

    /// An exchange that has to be answered. Call it while `traffic` is held.
    pub(crate) fn exchange(&self, proto: Proto, from: &Netns, to: SocketAddr) {
        let mut probe = Probe::new(proto, to);
        probe.timeout = PATIENCE;
        match probe.send(from) {
            Ok(outcome) if outcome.fits("ok") => {
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(outcome) => self.complain(format!("{proto:?} to {to} in peace: {outcome}")),
            Err(error) => self.complain(format!("{proto:?} to {to}: {error:#}")),
        }
    }

    /// Connections in and out, and names, until the end.
    pub(crate) fn talk(&self) {
        let address = |host: &str, port| -> Option<SocketAddr> {
            Some(SocketAddr::new(host.parse().ok()?, port))
        };
        let ways = [
            (Proto::Tcp, &self.outside, address(HOST_IP, 17001)),
            (Proto::Tcp, &self.steady, address(INTERNET_IP, 80)),
            (Proto::Udp, &self.steady, address(INTERNET_IP, 7)),
            (Proto::Dns, &self.steady, address(INTERNET_IP, 53)),
            (Proto::Ping, &self.steady, address(INTERNET_IP, 0)),
        ];
        while !self.is_over() {
            for (proto, from, to) in &ways {
                let _traffic = lock(&self.traffic);
                if let Some(to) = to {
                    self.exchange(*proto, from, *to);
                }
            }
            self.sleep(PAUSE);
        }
    }

    pub(crate) fn told(&self) -> Told {
        Told {
            churned: self.churned.load(Ordering::Relaxed),
            answered: self.answered.load(Ordering::Relaxed),
            complaints: lock(&self.complaints).clone(),
        }
    }
}

/// A thread that panicked has been noticed otherwise.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
