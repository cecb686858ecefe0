//! Sockets that wait for packets in a network namespace: TCP listeners and bound UDP sockets.
//!
//! From /proc/thread-self/net/{tcp,tcp6,udp,udp6}, which show the namespace of the reading thread
//! (Documentation/networking/proc_net_tcp.rst). The listen backlog is not in those files; its fill is.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::SplitAsciiWhitespace,
};

use anyhow::{Context as _, Result};
use dockernet_common::packet::{TCP, UDP};
use serde::{Deserialize, Serialize};

use super::{inside, netns::NetnsHandle};

/// `TCP_LISTEN` (include/net/tcp_states.h).
const LISTEN: u8 = 10;
/// No file is read further than this: some 400,000 sockets.
pub(super) const LIMIT: u64 = 64 << 20;

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// From an IP protocol number.
    #[must_use]
    pub fn from_number(protocol: u8) -> Option<Self> {
        match protocol {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }

    /// The IP protocol number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => TCP,
            Self::Udp => UDP,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A socket that waits for packets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Listener {
    /// TCP or UDP.
    pub transport: Transport,
    /// Where it waits.
    pub local: SocketAddr,
    /// Whom alone it takes packets from (a connected UDP socket).
    pub remote: Option<SocketAddr>,
    /// Inode number of the socket, as in /proc/PID/fd.
    pub inode: u64,
    /// User id of its owner.
    pub uid: u32,
    /// TCP: connections that wait to be accepted. UDP: bytes that wait to be read.
    pub receive_queue: u32,
    /// Datagrams dropped at this socket since it was made; 0 for TCP.
    pub drops: u64,
}

impl Listener {
    /// True where it takes packets to `address`.
    ///
    /// `[::]` takes IPv4 too, unless the socket is `IPV6_V6ONLY`, which /proc does not show.
    #[must_use]
    pub fn accepts(&self, address: IpAddr) -> bool {
        match (self.local.ip(), address) {
            (own, address) if own == address => true,
            (IpAddr::V4(own), IpAddr::V4(_)) => own.is_unspecified(),
            (IpAddr::V6(own), IpAddr::V6(_)) => own.is_unspecified(),
            (IpAddr::V6(own), IpAddr::V4(address)) => {
                own.is_unspecified() || own.to_ipv4_mapped() == Some(address)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
    }

    /// True where only the namespace itself can reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.local.ip() {
            IpAddr::V4(v4) => v4.is_loopback(),
            IpAddr::V6(v6) => {
                v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
            }
        }
    }
}

/// As evidence shows it: `tcp 127.0.0.1:80`.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.transport, self.local)
    }
}

/// The sockets of `all` that wait on a port.
#[must_use]
pub fn listening_on(all: &[Listener], transport: Transport, port: u16) -> Vec<&Listener> {
    all.iter()
        .filter(|listener| listener.transport == transport && listener.local.port() == port)
        .collect()
}

/// TCP listeners and bound UDP sockets of a namespace.
pub fn listeners(netns: &NetnsHandle) -> Result<Vec<Listener>> {
    netns
        .run(|| {
            let mut all = Vec::new();
            for (name, transport) in [
                ("tcp", Transport::Tcp),
                ("tcp6", Transport::Tcp),
                ("udp", Transport::Udp),
                ("udp6", Transport::Udp),
            ] {
                match inside::open(&format!("/proc/thread-self/net/{name}")) {
                    Ok(file) => read(BufReader::new(file.take(LIMIT)), transport, &mut all)?,
                    // A kernel without IPv6 has no such file.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(all)
        })?
        .with_context(|| format!("reading the sockets of network namespace {}", netns.inum()))
}

fn read(mut source: impl BufRead, transport: Transport, all: &mut Vec<Listener>) -> io::Result<()> {
    let mut line = String::new();
    while source.read_line(&mut line)? > 0 {
        if let Some((listener, state)) = parse(&line, transport) {
            // The kernel lists TCP's listeners first (net/ipv4/tcp_ipv4.c, tcp_get_idx): what follows may be long.
            if transport == Transport::Tcp && state != LISTEN {
                break;
            }
            all.push(listener);
        }
        line.clear();
    }
    Ok(())
}

/// One line; `None` for the heading and for what is not understood.
pub(crate) fn parse(line: &str, transport: Transport) -> Option<(Listener, u8)> {
    let mut words = line.split_ascii_whitespace();
    words.next()?.strip_suffix(':')?;
    let local = socket_address(words.next()?)?;
    let remote = socket_address(words.next()?)?;
    let state = u8::from_str_radix(words.next()?, 16).ok()?;
    let (_, receive) = words.next()?.split_once(':')?;
    let receive_queue = u32::from_str_radix(receive, 16).ok()?;
    // tr:tm->when and retrnsmt
    let uid = words.nth(2)?.parse().ok()?;
    // timeout
    let inode = words.nth(1)?.parse().ok()?;
    let drops = match transport {
        Transport::Tcp => 0,
        Transport::Udp => drops(words)?,
    };
    let listener = Listener {
        transport,
        local,
        remote: (remote.port() != 0).then_some(remote),
        inode,
        uid,
        receive_queue,
        drops,
    };
    Some((listener, state))
}

/// The last column of a UDP line, after the references and the address of the socket.
fn drops(mut words: SplitAsciiWhitespace<'_>) -> Option<u64> {
    words.nth(2)?.parse().ok()
}

/// `0100007F:1F90`: each 32-bit word of the address is printed as a number of the machine's byte order.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |index: usize| {
        let digits = address.get(index * 8..index * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut octets = [0; 16];
            for (index, part) in octets.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(index)?);
            }
            Ipv6Addr::from(octets).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0050 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 40123 1 0000000000000000 100 0 0 10 0
   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 40124 1 0000000000000000 100 0 0 10 0
   2: 0100007F:0050 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 40125 1 0000000000000000 20 4 30 10 -1
";
    const TCP6: &str = "\
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 40126 1 0000000000000000 100 0 0 10 0
   1: 0000000000000000FFFF00000100007F:0017 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 40127 1 0000000000000000 100 0 0 10 0
";
    const UDP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  131: 00000000:0035 00000000:0000 07 00000000:00034080 00:00000000 00000000   101        0 50001 2 0000000000000000 77
  132: 020011AC:0035 030011AC:9C40 01 00000000:00000000 00:00000000 00000000   101        0 50002 2 0000000000000000 0
";

    fn all() -> Vec<Listener> {
        let mut all = Vec::new();
        read(TCP.as_bytes(), Transport::Tcp, &mut all).unwrap();
        read(TCP6.as_bytes(), Transport::Tcp, &mut all).unwrap();
        read(UDP.as_bytes(), Transport::Udp, &mut all).unwrap();
        all
    }

    #[test]
    fn listeners_are_read_and_connections_are_not() {
        let all = all();
        let text: Vec<String> = all.iter().map(ToString::to_string).collect();
        let expected = [
            "tcp 127.0.0.1:80",
            "tcp 0.0.0.0:8080",
            "tcp [::]:22",
            "tcp [::ffff:127.0.0.1]:23",
            "udp 0.0.0.0:53",
            "udp 172.17.0.2:53",
        ];
        assert_eq!(text, expected);
        assert_eq!((all[0].receive_queue, all[0].inode), (3, 40123));
        assert_eq!((all[4].receive_queue, all[4].drops), (0x34080, 77));
        assert_eq!((all[1].uid, all[4].uid), (1000, 101));
        let remote = all[5].remote.unwrap();
        assert_eq!(remote.to_string(), "172.17.0.3:40000");
        assert_eq!(listening_on(&all, Transport::Udp, 53).len(), 2);
        assert!(listening_on(&all, Transport::Tcp, 53).is_empty());
    }

    #[test]
    fn any_address_takes_all_of_its_family_and_v6_takes_v4() {
        let all = all();
        let v4: IpAddr = "172.17.0.2".parse().unwrap();
        let v6: IpAddr = "2001:db8::2".parse().unwrap();
        let accepts: Vec<_> = all.iter().map(|l| (l.accepts(v4), l.accepts(v6))).collect();
        let expected = [
            (false, false),
            (true, false),
            (true, true),
            (false, false),
            (true, false),
            (true, false),
        ];
        assert_eq!(accepts, expected);
        assert!(all[0].is_loopback() && all[3].is_loopback() && !all[1].is_loopback());
    }

    #[test]
    fn lines_cut_short_are_skipped() {
        for text in [TCP, TCP6, UDP] {
            for end in 0..text.len() {
                let mut all = Vec::new();
                read(&text.as_bytes()[..end], Transport::Udp, &mut all).unwrap();
            }
        }
        assert_eq!(socket_address("0100007:50"), None);
        assert_eq!(socket_address("zz00007F:0050"), None);
    }
}
