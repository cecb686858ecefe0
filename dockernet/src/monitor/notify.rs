//! sd_notify(3): datagrams to systemd.

use std::{
    env,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::{Duration, Instant},
};

/// The way to systemd; does nothing where there is none.
#[derive(Debug, Default)]
pub(super) struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// Half of systemd's patience.
    interval: Option<Duration>,
    last: Option<Instant>,
}

impl Notify {
    /// As the environment says.
    pub(super) fn from_environment() -> Self {
        let name = env::var("NOTIFY_SOCKET").ok();
        let to = name.as_deref().and_then(|name| {
            let address = match name.strip_prefix('@') {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(name),
            };
            match address.and_then(|address| {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                Ok((socket, address))
            }) {
                Ok(to) => Some(to),
                Err(error) => {
                    log::warn!("NOTIFY_SOCKET={name}: {error}; systemd is not told anything");
                    None
                }
            }
        });
        // Meant for another process, if it was inherited.
        let is_ours =
            env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let interval = env::var("WATCHDOG_USEC")
            .ok()
            .filter(|_| is_ours)
            .and_then(|text| text.parse().ok())
            .map(|micros: u64| Duration::from_micros(micros) / 2);
        Self {
            to,
            interval,
            last: None,
        }
    }

    /// Sends lines such as `READY=1`.
    pub(super) fn send(&self, lines: &str) {
        if let Some((socket, address)) = &self.to
            && let Err(error) = socket.send_to_addr(lines.as_bytes(), address)
        {
            log::debug!("telling systemd: {error}");
        }
    }

    /// Tells the watchdog that the ring is being drained, when it is time.
    pub(super) fn alive(&mut self, now: Instant) {
        let Some(interval) = self.interval else {
            return;
        };
        if self.last.is_none_or(|last| now - last >= interval) {
            self.last = Some(now);
            self.send("WATCHDOG=1");
        }
    }

    /// The configuration is being read again.
    pub(super) fn reloading(&self) {
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
            .unwrap_or(nix::sys::time::TimeSpec::new(0, 0));
        let micros = i128::from(now.tv_sec()) * 1_000_000 + i128::from(now.tv_nsec()) / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }
}
