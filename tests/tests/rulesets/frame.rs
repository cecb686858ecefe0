//! Packets as they are on the wire.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context, Result, ensure};
use dockernet_tests::{Netns, traffic::checksum};

use crate::world::macs;

/// What an IP packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    Udp {
        sport: u16,
        dport: u16,
    },
    Tcp {
        sport: u16,
        dport: u16,
        flags: u8,
    },
    /// ICMP or ICMPv6; for echoes the identifier.
    Icmp {
        kind: u8,
        code: u8,
        id: u16,
    },
    /// An ICMP or ICMPv6 error about another packet.
    Error {
        kind: u8,
        code: u8,
        about: Box<Packet>,
    },
    /// ESP: a protocol without ports.
    Esp {
        spi: u32,
    },
}

/// How a frame is addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cast {
    Host,
    Broadcast,
    Multicast,
}

/// A packet that comes to the router by one of its devices, or, without one, is its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) device: Option<usize>,
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) ttl: u8,
    pub(crate) cast: Cast,
    /// For the router's own.
    pub(crate) mark: u32,
    pub(crate) payload: Payload,
}

impl Packet {
    pub(crate) fn v6(&self) -> bool {
        self.dst.is_ipv6()
    }

    pub(crate) fn proto(&self) -> u8 {
        match (&self.payload, self.v6()) {
            (Payload::Udp { .. }, _) => 17,
            (Payload::Tcp { .. }, _) => 6,
            (Payload::Icmp { .. } | Payload::Error { .. }, false) => 1,
            (Payload::Icmp { .. } | Payload::Error { .. }, true) => 58,
            (Payload::Esp { .. }, _) => 50,
        }
    }

    pub(crate) fn ports(&self) -> Option<(u16, u16)> {
        match self.payload {
            Payload::Udp { sport, dport } | Payload::Tcp { sport, dport, .. } => {
                Some((sport, dport))
            }
            _ => None,
        }
    }

    /// From the IP header on.
    pub(crate) fn ip(&self) -> Vec<u8> {
        let mut body = self.body();
        let sum_at = match self.payload {
            Payload::Udp { .. } => Some(6),
            Payload::Tcp { .. } => Some(16),
            Payload::Icmp { .. } | Payload::Error { .. } => Some(2),
            Payload::Esp { .. } => None,
        };
        if let Some(at) = sum_at {
            let mut summed = Vec::new();
            if self.proto() != 1 {
                summed = self.pseudo(body.len());
            }
            summed.extend(&body);
            let sum = match checksum(&summed) {
                0 if self.proto() == 17 => 0xffff,
                sum => sum,
            };
            body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        let mut packet = self.header(body.len());
        packet.extend(body);
        packet
    }

    /// With the Ethernet header.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let (own, far) = macs(self.device.unwrap_or(0));
        let to = match self.cast {
            Cast::Host => own,
            Cast::Broadcast => [0xff; 6],
            Cast::Multicast => [1, 0, 0x5e, 0, 0, 1],
        };
        let ethertype: u16 = if self.v6() { 0x86dd } else { 0x0800 };
        let mut frame = [to, far].concat();
        frame.extend(ethertype.to_be_bytes());
        frame.extend(self.ip());
        frame
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        match &self.payload {
            Payload::Udp { sport, dport } => {
                for number in [*sport, *dport, 12, 0] {
                    body.extend(number.to_be_bytes());
                }
                body.extend(b"rule");
            }
            Payload::Tcp {
                sport,
                dport,
                flags,
            } => {
                body.extend(sport.to_be_bytes());
                body.extend(dport.to_be_bytes());
                // Numbers fit one connection whose sides begin at 1000 each.
                let began = u32::from(flags & 0x02 == 0);
                let acknowledges = if flags & 0x10 == 0 { 0 } else { 1001_u32 };
                body.extend((1000 + began).to_be_bytes());
                body.extend(acknowledges.to_be_bytes());
                body.extend([0x50, *flags, 0x20, 0, 0, 0, 0, 0]);
            }
            Payload::Icmp { kind, code, id } => {
                body.extend([*kind, *code, 0, 0]);
                body.extend(id.to_be_bytes());
                body.extend([0, 1]);
                body.extend(b"rule");
            }
            Payload::Error { kind, code, about } => {
                body.extend([*kind, *code, 0, 0, 0, 0, 0, 0]);
                body.extend(about.ip());
            }
            Payload::Esp { spi } => {
                body.extend(spi.to_be_bytes());
                body.extend([0, 0, 0, 1]);
                body.extend([7; 16]);
            }
        }
        body
    }

    fn header(&self, length: usize) -> Vec<u8> {
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut header = vec![0x45, 0];
                header.extend((length + 20).to_be_bytes());
                header.extend([0, 1, 0x40, 0, self.ttl, self.proto(), 0, 0]);
                header.extend(src.octets());
                header.extend(dst.octets());
                let sum = checksum(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                header
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let mut header = vec![0x60, 0, 0, 0];
                header.extend(length.to_be_bytes());
                header.extend([self.proto(), self.ttl]);
                header.extend(src.octets());
                header.extend(dst.octets());
                header
            }
            _ => Vec::new(),
        }
    }

    fn pseudo(&self, length: usize) -> Vec<u8> {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let mut pseudo = Vec::new();
        for address in [self.src, self.dst] {
            match address {
                IpAddr::V4(v4) => pseudo.extend(v4.octets()),
                IpAddr::V6(v6) => pseudo.extend(v6.octets()),
            }
        }
        // IPv4 has one byte of zero, the protocol and two bytes of length: the sum is the same.
        pseudo.extend(length.to_be_bytes());
        pseudo.extend(u32::from(self.proto()).to_be_bytes());
        pseudo
    }
}

/// Sockets that frames and the router's own packets are sent by.
pub(crate) struct Sender {
    ends: Vec<OwnedFd>,
    own: [OwnedFd; 2],
}

impl Sender {
    pub(crate) fn open(router: &Netns, ends: &Netns, devices: usize) -> Result<Self> {
        let ends = ends.within(|| (0..devices).map(|n| wire(&format!("p{n}"))).collect())?;
        let own = router.within(|| {
            Ok([
                open(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW)?,
                open(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_RAW)?,
            ])
        })?;
        Ok(Self { ends, own })
    }

    pub(crate) fn send(&self, packet: &Packet) -> Result<()> {
        match packet.device {
            Some(device) => {
                let frame = packet.frame();
                // SAFETY: the buffer is as long as it is said to be.
                let sent = unsafe {
                    libc::send(
                        self.ends[device].as_raw_fd(),
                        frame.as_ptr().cast(),
                        frame.len(),
                        0,
                    )
                };
                ensure!(
                    sent > 0,
                    "sending {packet:?}: {}",
                    io::Error::last_os_error()
                );
                Ok(())
            }
            None => self.send_own(packet),
        }
    }

    fn send_own(&self, packet: &Packet) -> Result<()> {
        let socket = &self.own[usize::from(packet.v6())];
        let socket = socket2::SockRef::from(socket);
        socket.set_mark(packet.mark).context("setting a mark")?;
        let to = std::net::SocketAddr::new(packet.dst, 0);
        match socket.send_to(&packet.ip(), &to.into()) {
            // A rule on OUTPUT dropped it.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
            other => other
                .map(drop)
                .with_context(|| format!("sending {packet:?}")),
        }
    }
}

fn open(family: i32, kind: i32, protocol: i32) -> Result<OwnedFd> {
    // SAFETY: a plain system call; the descriptor is owned from here on.
    let socket = unsafe { libc::socket(family, kind, protocol) };
    ensure!(
        socket >= 0,
        "opening a raw socket: {}",
        io::Error::last_os_error()
    );
    // SAFETY: the kernel has just handed it out.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// A packet socket on one device, that receives nothing.
fn wire(device: &str) -> Result<OwnedFd> {
    let socket = open(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
    let index =
        nix::net::if_::if_nametoindex(device).with_context(|| format!("finding {device}"))?;
    // SAFETY: all of it is plain numbers.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET)?;
    address.sll_ifindex = i32::try_from(index)?;
    let length = u32::try_from(size_of::<libc::sockaddr_ll>())?;
    // SAFETY: the address is of the family's type, and as long as it is said to be.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    ensure!(
        bound == 0,
        "binding to {device}: {}",
        io::Error::last_os_error()
    );
    Ok(socket)
}
