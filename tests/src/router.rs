//! A router that advertises itself (RFC 4861), as access networks and clouds have.

use std::net::{Ipv6Addr, SocketAddrV6};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::exec::Cmd;

/// What advertises by one device.
pub(crate) struct Router {
    socket: Socket,
    to: SocketAddrV6,
    message: Vec<u8>,
}

impl Router {
    /// By a device of the calling thread's network namespace.
    ///
    /// # Errors
    /// There is no such device.
    pub(crate) fn open(device: &str) -> Result<Self> {
        const TYPE: u8 = 134;
        let index =
            nix::net::if_::if_nametoindex(device).with_context(|| format!("finding {device}"))?;
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        // Anything less comes from beyond a router, and is refused.
        socket.set_multicast_hops_v6(255)?;
        socket.set_multicast_if_v6(index)?;
        let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        // A default route for half an hour; the kernel fills the checksum in.
        let mut message = vec![TYPE, 0, 0, 0, 64, 0];
        message.extend(1800_u16.to_be_bytes());
        message.resize(16, 0);
        // Source link-layer address.
        message.extend([1, 1]);
        message.extend(mac(device)?);
        Ok(Self {
            socket,
            to: SocketAddrV6::new(all_nodes, 0, 0, index),
            message,
        })
    }

    /// Advertises once.
    pub(crate) fn advertise(&self) {
        self.socket.send_to(&self.message, &self.to.into()).ok();
    }
}

fn mac(device: &str) -> Result<[u8; 6]> {
    let text = Cmd::new("ip")
        .args(["-br", "link", "show", "dev", device])
        .run()?;
    let bytes: Option<Vec<u8>> = text
        .split_whitespace()
        .find(|word| word.len() == 17 && word.matches(':').count() == 5)
        .and_then(|word| {
            word.split(':')
                .map(|part| u8::from_str_radix(part, 16).ok())
                .collect()
        });
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .with_context(|| format!("{device} has no MAC address: {text}"))
}
