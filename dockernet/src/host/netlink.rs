//! One bounded, blocking question over netlink (rtnetlink above all), asked in the network namespace that the calling thread works in.
//!
//! `rtnetlink` is made for an event loop; a question from a [`super::netns::NetnsHandle::run`] thread needs a socket
//! and two calls, so only its message types are used here.

use std::{
    fmt, io,
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkExtentMask, LinkMessage},
};
use nix::{
    poll::PollTimeout,
    sys::{
        socket::{MsgFlags, recv, send, setsockopt, sockopt::ReceiveTimeout},
        time::TimeVal,
    },
};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage, NetlinkPayload,
};

use super::inside::{self, Kind};

/// A whole answer is given up on after this long: the kernel answers at once or not at all.
const LIMIT: Duration = Duration::from_secs(3);
/// The kernel fills at most 32 KiB per datagram of a dump (net/netlink/af_netlink.c, `netlink_dump`).
const DATAGRAM: usize = 64 * 1024;
/// A dump that raced with a change is asked for again this often, then taken as it is.
pub(super) const TRIES: usize = 3;
/// `NLM_F_DUMP_INTR`: the table changed while it was read (include/uapi/linux/netlink.h).
pub(super) const DUMP_INTERRUPTED: u16 = 0x10;

/// Why a question has no answer.
#[derive(Debug)]
pub(crate) enum NetlinkError {
    /// The kernel answered with this errno.
    Refused(i32),
    /// The question or its answer did not get through.
    Transport(io::Error),
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(errno) => {
                let error = io::Error::from_raw_os_error(*errno);
                write!(f, "the kernel refused a netlink request: {error}")
            }
            Self::Transport(error) => write!(f, "no answer to a netlink request: {error}"),
        }
    }
}

impl std::error::Error for NetlinkError {}

impl From<nix::errno::Errno> for NetlinkError {
    fn from(errno: nix::errno::Errno) -> Self {
        Self::Transport(errno.into())
    }
}

/// Asks for one object.
pub(crate) fn get(
    message: RouteNetlinkMessage,
) -> Result<Option<RouteNetlinkMessage>, NetlinkError> {
    let mut found = None;
    ask(message, 0, &mut |message| found = Some(message))?;
    Ok(found)
}

/// Asks for a whole table, and keeps what `pick` makes of it: a full BGP table need not fit into memory.
pub(crate) fn dump<T>(
    message: RouteNetlinkMessage,
    mut pick: impl FnMut(RouteNetlinkMessage) -> Option<T>,
) -> Result<Vec<T>, NetlinkError> {
    let mut picked = Vec::new();
    for _ in 0..TRIES {
        picked.clear();
        if ask(message.clone(), NLM_F_DUMP, &mut |m| picked.extend(pick(m)))? == End::Whole {
            break;
        }
    }
    Ok(picked)
}

/// Every link of the namespace that the calling thread works in, without statistics.
pub(crate) fn links<T>(
    mut pick: impl FnMut(LinkMessage) -> Option<T>,
) -> Result<Vec<T>, NetlinkError> {
    let mut request = LinkMessage::default();
    let mask = vec![LinkExtentMask::SkipStats];
    request.attributes.push(LinkAttribute::ExtMask(mask));
    dump(
        RouteNetlinkMessage::GetLink(request),
        |message| match message {
            RouteNetlinkMessage::NewLink(link) => pick(link),
            _ => None,
        },
    )
}

/// Asks for a change, and waits until it is made. `flags` beside `NLM_F_REQUEST` and `NLM_F_ACK`.
pub(crate) fn change(message: RouteNetlinkMessage, flags: libc::c_int) -> Result<(), NetlinkError> {
    let flags = u16::try_from(flags).unwrap_or(0) | NLM_F_ACK;
    ask(message, flags, &mut |_| {}).map(drop)
}

/// For poll(2), until something is due; none: for ever. Longer than it has to be, never shorter.
pub(crate) fn poll_timeout(rest: Option<Duration>) -> PollTimeout {
    rest.map_or(PollTimeout::NONE, |rest| {
        PollTimeout::try_from(rest.as_millis() + 1).unwrap_or(PollTimeout::MAX)
    })
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is complete.
    Whole,
    /// It is complete, but the table changed meanwhile.
    Interrupted,
}

fn ask(
    message: RouteNetlinkMessage,
    flags: u16,
    each: &mut dyn FnMut(RouteNetlinkMessage),
) -> Result<End, NetlinkError> {
    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST | flags;
    request.header.sequence_number = 1;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    let mut end = End::Whole;
    talk(&bytes, &mut |datagram| {
        decode(datagram, flags & NLM_F_DUMP != 0, &mut end, each)
    })?;
    Ok(end)
}

/// Sends a request and hands each datagram of the answer to `decode` until that says it is complete.
fn talk(
    request: &[u8],
    decode: &mut dyn FnMut(&[u8]) -> Result<bool, NetlinkError>,
) -> Result<(), NetlinkError> {
    let socket = inside::socket(Kind::Route).map_err(NetlinkError::Transport)?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(1, 0))?;
    // An unbound socket is bound by its first send, and its default peer is the kernel.
    send(socket.as_raw_fd(), request, MsgFlags::empty())?;

    let mut buffer = vec![0; DATAGRAM];
    let deadline = Instant::now() + LIMIT;
    loop {
        let length = match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other?,
        };
        let datagram = buffer.get(..length).ok_or_else(|| {
            NetlinkError::Transport(io::Error::other("a netlink datagram was too long"))
        })?;
        if decode(datagram)? {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(NetlinkError::Transport(io::ErrorKind::TimedOut.into()));
        }
    }
}

/// Hands on what one datagram holds; true when the answer is complete.
fn decode(
    mut datagram: &[u8],
    is_dump: bool,
    end: &mut End,
    each: &mut dyn FnMut(RouteNetlinkMessage),
) -> Result<bool, NetlinkError> {
    while !datagram.is_empty() {
        let Ok(frame) = NetlinkBuffer::new_checked(datagram) else {
            return Err(NetlinkError::Transport(io::ErrorKind::InvalidData.into()));
        };
        let length = usize::try_from(frame.length()).unwrap_or(usize::MAX);
        if frame.flags() & DUMP_INTERRUPTED != 0 {
            *end = End::Interrupted;
        }
        match NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram) {
            Ok(message) => match message.payload {
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(error) => match error.code {
                    Some(code) => return Err(NetlinkError::Refused(code.get().saturating_neg())),
                    None => return Ok(true),
                },
                NetlinkPayload::InnerMessage(inner) => {
                    each(inner);
                    if !is_dump {
                        return Ok(true);
                    }
                }
                _ => {}
            },
            // One object that the decoder does not know must not hide the others.
            Err(error) => {
                log::debug!("a netlink message was skipped: {error}");
                if !is_dump {
                    return Err(NetlinkError::Transport(io::ErrorKind::InvalidData.into()));
                }
            }
        }
        // Messages are padded to four bytes.
        let next = length.next_multiple_of(4);
        datagram = datagram.get(next..).unwrap_or_default();
    }
    Ok(false)
}

/// Name of an interface of the namespace that the calling thread works in; `if7` where it is gone.
pub(crate) fn interface_name(index: u32) -> String {
    inside::device_name(index).unwrap_or_else(|_| format!("if{index}"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn hostile_datagrams_are_errors_not_panics() {
        for bytes in [&[0_u8; 3][..], &[0xff; 16], &[0; 16], &[1; 64]] {
            let mut count = 0;
            let _ = decode(bytes, true, &mut End::Whole, &mut |_| count += 1);
            assert_eq!(count, 0);
        }
    }

    #[test]
    fn a_refusal_keeps_its_errno() {
        let mut bytes = Vec::new();
        bytes.extend(36_u32.to_ne_bytes());
        bytes.extend(2_u16.to_ne_bytes()); // NLMSG_ERROR
        bytes.extend([0; 10]);
        bytes.extend((-113_i32).to_ne_bytes());
        bytes.resize(36, 0);
        let error = decode(&bytes, false, &mut End::Whole, &mut |_| {}).unwrap_err();
        assert!(matches!(error, NetlinkError::Refused(113)), "{error}");
    }
}
