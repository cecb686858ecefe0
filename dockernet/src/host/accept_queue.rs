//! TCP listeners with the fill and the length of their accept queues.
//!
//! `sock_diag` (net/ipv4/inet_diag.c): for a listener `idiag_rqueue` is `sk_ack_backlog`, `idiag_wqueue` is
//! `sk_max_ack_backlog` (`tcp_diag_get_info`), what `ss -ltn` shows as Recv-Q and Send-Q.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result};
use nix::sys::{
    socket::{MsgFlags, recv, send, setsockopt, sockopt::ReceiveTimeout},
    time::TimeVal,
};

use super::{
    inside::{self, Kind},
    kernel_code,
    netns::NetnsHandle,
};

/// `SOCK_DIAG_BY_FAMILY` (include/uapi/linux/sock_diag.h).
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// `NLMSG_ERROR`, `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `1 << TCP_LISTEN`.
const LISTENERS: u32 = 1 << 10;
/// Length of the header of a netlink message.
const HEADER: usize = 16;
/// Length of `struct inet_diag_msg`.
const ANSWER: usize = 72;

/// A listener's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptQueue {
    /// Where it listens.
    pub local: SocketAddr,
    /// Connections that wait to be accepted.
    pub waiting: u32,
    /// How many may wait.
    pub limit: u32,
}

impl AcceptQueue {
    /// True where the kernel drops the next one (`sk_acceptq_is_full`, include/net/sock.h: more than the limit).
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.waiting > self.limit
    }
}

/// The queues of all listeners of a namespace; none where the kernel has no `tcp_diag` loaded: asking would load it.
///
/// # Errors
/// The namespace cannot be entered, or netlink does not answer.
pub fn accept_queues(netns: &NetnsHandle) -> Result<Option<Vec<AcceptQueue>>> {
    if !kernel_code::present("tcp_diag", "tcp_diag_dump") {
        return Ok(None);
    }
    netns
        .run(|| -> io::Result<Vec<AcceptQueue>> {
            let mut all = Vec::new();
            for family in [libc::AF_INET, libc::AF_INET6] {
                dump(u8::try_from(family).unwrap_or_default(), &mut all)?;
            }
            Ok(all)
        })?
        .map(Some)
        .with_context(|| {
            format!(
                "reading the accept queues of network namespace {}",
                netns.inum()
            )
        })
}

fn dump(family: u8, all: &mut Vec<AcceptQueue>) -> io::Result<()> {
    let socket = inside::socket(Kind::Diagnosis)?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(2, 0))?;
    send(socket.as_raw_fd(), &request(family), MsgFlags::empty())?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other?,
        };
        if decode(buffer.get(..length).unwrap_or_default(), all)? {
            return Ok(());
        }
    }
}

/// A netlink header and a `struct inet_diag_req_v2` without conditions but the state.
fn request(family: u8) -> Vec<u8> {
    const LENGTH: usize = HEADER + 56;
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.extend(u32::try_from(LENGTH).unwrap_or_default().to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    bytes.extend(1_u32.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([
        family,
        u8::try_from(libc::IPPROTO_TCP).unwrap_or_default(),
        0,
        0,
    ]);
    bytes.extend(LISTENERS.to_ne_bytes());
    bytes.resize(LENGTH, 0);
    bytes
}

/// Takes what one datagram holds; true at the end of the answer.
fn decode(mut bytes: &[u8], all: &mut Vec<AcceptQueue>) -> io::Result<bool> {
    while let (Some(length), Some(kind)) = (word(bytes, 0), half(bytes, 4)) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(message) = bytes
            .get(..length)
            .filter(|message| message.len() >= HEADER)
        else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        match kind {
            DONE => return Ok(true),
            ERROR => {
                let code = word(message, HEADER).unwrap_or_default().cast_signed();
                return match code {
                    0 => Ok(true),
                    // A family that this kernel does not have.
                    code if -code == libc::ENOENT => Ok(true),
                    code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
                };
            }
            BY_FAMILY => all.extend(queue(message.get(HEADER..).unwrap_or_default())),
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// `struct inet_diag_msg` (include/uapi/linux/inet_diag.h).
fn queue(message: &[u8]) -> Option<AcceptQueue> {
    if message.len() < ANSWER {
        return None;
    }
    let port = u16::from_be_bytes([message[4], message[5]]);
    let address: IpAddr = match i32::from(message[0]) {
        libc::AF_INET => {
            let octets: [u8; 4] = message.get(8..12)?.try_into().ok()?;
            Ipv4Addr::from(octets).into()
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = message.get(8..24)?.try_into().ok()?;
            Ipv6Addr::from(octets).into()
        }
        _ => return None,
    };
    Some(AcceptQueue {
        local: SocketAddr::new(address, port),
        waiting: word(message, 56)?,
        limit: word(message, 60)?,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let half = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(half.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_real_listener_with_its_backlog() {
        let netns = NetnsHandle::current().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let _waits = std::net::TcpStream::connect(local).unwrap();
        // Kernels without tcp_diag, and sandboxes where other namespaces cannot be entered, say nothing.
        let Ok(Some(all)) = accept_queues(&netns) else {
            return;
        };
        let own = all.iter().find(|queue| queue.local == local).unwrap();
        assert_eq!(own.waiting, 1);
        assert!(own.limit >= 1 && !own.is_full());
    }

    #[test]
    fn cut_and_hostile_answers_are_no_panic() {
        let mut whole = Vec::new();
        whole.extend(u32::try_from(HEADER + ANSWER).unwrap().to_ne_bytes());
        whole.extend(BY_FAMILY.to_ne_bytes());
        whole.resize(HEADER + ANSWER, 2);
        for end in 0..whole.len() {
            let mut all = Vec::new();
            let _ = decode(&whole[..end], &mut all);
            assert!(all.is_empty());
        }
        let mut all = Vec::new();
        assert!(!decode(&whole, &mut all).unwrap());
        assert_eq!(all.len(), 1);
        assert!(decode(&[0xff; 64], &mut all).is_err());
        assert!(decode(&[0; 64], &mut all).is_err());
    }
}
