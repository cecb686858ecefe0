//! The thread that listens.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use netlink_packet_route::RouteNetlinkMessage;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{MsgFlags, NetlinkAddr, bind, recv, setsockopt, sockopt::RcvBufForce},
};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};

use super::{Changes, firewall, netconf, rtnl::Known};
use crate::{
    host::{
        inside::{self, Kind},
        link,
        netlink::poll_timeout,
        netns::NetnsHandle,
    },
    model::Link,
};

/// `RTNLGRP_*` (include/uapi/linux/rtnetlink.h): link, addresses, routes and rules of both families, and settings.
const GROUPS: &[u32] = &[1, 5, 7, 8, 9, 11, 19, 24, 25];
/// `NFNLGRP_NFTABLES` (include/uapi/linux/netfilter/nfnetlink.h).
const NFTABLES: u32 = 7;
/// Room for a burst: a firewall's reload sends every rule.
const ROOM: usize = 1 << 20;
/// From lost notices to a new list of the links: a burst is over by then.
const PAUSE: Duration = Duration::from_millis(100);
/// From a list that failed to the next.
const LONG_PAUSE: Duration = Duration::from_secs(1);
/// Longer than any datagram of notices.
const DATAGRAM: usize = 64 << 10;

/// Starts to listen in a namespace, until the process ends.
///
/// # Errors
/// The sockets cannot be opened. Without nftables in the kernel its changes are not heard, and that is no error.
pub fn start(netns: &NetnsHandle) -> Result<Changes> {
    let (rtnl, nft) = netns
        .run(|| -> io::Result<_> {
            let rtnl = listen(Kind::Route, GROUPS)?;
            let nft = listen(Kind::Netfilter, &[NFTABLES])
                .inspect_err(|error| log::debug!("changes of the firewall are not heard: {error}"));
            Ok((rtnl, nft.ok()))
        })?
        .context("opening a netlink socket for changes of the configuration")?;
    let links = Links {
        known: Known::new(link::dump(netns)?),
        due: None,
    };
    let changes = Changes::default();
    let heard = changes.clone();
    let netns = netns.clone();
    thread::Builder::new()
        .name("changes".into())
        .spawn(move || {
            if let Err(error) = hear(&netns, &rtnl, nft.as_ref(), links, &heard) {
                log::warn!("changes of the host's configuration are no longer heard: {error}");
            }
        })
        .context("starting a thread")?;
    Ok(changes)
}

/// A socket that hears these groups in the namespace that the calling thread works in.
pub(crate) fn listen(kind: Kind, groups: &[u32]) -> io::Result<OwnedFd> {
    let socket = inside::socket(kind)?;
    if let Err(error) = setsockopt(&socket, RcvBufForce, &ROOM) {
        log::debug!("the buffer for changes stays small: {error}");
    }
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    for group in groups {
        join(&socket, *group)?;
    }
    Ok(socket)
}

fn join(socket: &OwnedFd, group: u32) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<u32>()).unwrap_or(4);
    // SAFETY: the socket is open, and `group` is as long as `length` says.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_ADD_MEMBERSHIP,
            (&raw const group).cast(),
            length,
        )
    };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The links as they were, and when they are to be listed anew.
struct Links {
    known: Known,
    due: Option<Instant>,
}

impl Links {
    /// Notices were lost: links may have gone or got another name.
    fn lost(&mut self, now: Instant) {
        self.due.get_or_insert(now + PAUSE);
    }

    /// Until the list that is due.
    fn timeout(&self, now: Instant) -> PollTimeout {
        poll_timeout(self.due.map(|due| due.saturating_duration_since(now)))
    }

    /// Lists them if it is time. What was changed in between is not told: when it happened is not known.
    fn renew(&mut self, now: Instant, dump: impl FnOnce() -> Result<Vec<Link>>) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        self.due = match dump() {
            Ok(links) => {
                self.known = Known::new(links);
                None
            }
            Err(error) => {
                log::debug!("listing the links after lost notices: {error:#}");
                Some(now + LONG_PAUSE)
            }
        };
    }
}

fn hear(
    netns: &NetnsHandle,
    rtnl: &OwnedFd,
    nft: Option<&OwnedFd>,
    mut links: Links,
    changes: &Changes,
) -> io::Result<()> {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let mut fds: Vec<PollFd<'_>> = [Some(rtnl), nft]
            .into_iter()
            .flatten()
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        match poll(&mut fds, links.timeout(Instant::now())) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        for socket in [Some(rtnl), nft].into_iter().flatten() {
            loop {
                match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                    Ok(length) => {
                        for (kind, message) in messages(buffer.get(..length).unwrap_or_default()) {
                            take(kind, message, &mut links.known, changes);
                        }
                    }
                    Err(Errno::EINTR) => {}
                    // A burst was too much for the buffer: what was in it is not told.
                    Err(Errno::ENOBUFS) => {
                        log::debug!("some changes went unheard");
                        changes.hear(true);
                        if std::ptr::eq(socket, rtnl) {
                            links.lost(Instant::now());
                        }
                    }
                    Err(Errno::EAGAIN) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        // After the notices that wait: they tell of what was before it.
        links.renew(Instant::now(), || link::dump(netns));
    }
}

/// Bytes of a netlink header.
const HEADER: usize = 16;

/// The messages of a datagram: each one's type, and itself with its header.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*datagram.first_chunk()?);
        let length = usize::try_from(length)
            .ok()
            .filter(|&length| length >= HEADER)?;
        let message = datagram.get(..length)?;
        let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
        Some((kind, message))
    })
}

fn take(kind: u16, message: &[u8], known: &mut Known, changes: &Changes) {
    let body = message.get(HEADER..).unwrap_or_default();
    // Of nftables' the transaction's end alone, and none of our own.
    let is_of_rules = firewall::is_foreign_generation(kind, message);
    if is_of_rules || kind >> 8 == 0 {
        changes.hear(is_of_rules);
    }
    match kind {
        netconf::NEW => {
            if let Some((subject, what)) = netconf::change(body, |index| known.name(index)) {
                changes.push(subject, what);
            }
        }
        firewall::NEW_GENERATION => {
            if let Some((subject, what)) = firewall::change(body) {
                changes.push(subject, what);
            }
        }
        // Anything else of nftables: its transaction's end is told as well.
        _ if kind >> 8 != 0 => {}
        _ => {
            if let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message)
                && let NetlinkPayload::InnerMessage(inner) = message.payload
            {
                for (subject, what) in known.changes(&inner) {
                    changes.push(subject, what);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, reason = "tests")]

    use super::{super::rtnl, *};

    #[test]
    fn after_lost_notices_the_links_are_those_of_a_new_list() {
        let link = |ifindex: u32, name: &str| Link {
            ifindex,
            ..rtnl::tests::link(name)
        };
        let mut links = Links {
            known: Known::new(vec![link(7, "veth7"), link(8, "veth8")]),
            due: None,
        };
        let now = Instant::now();
        assert_eq!(links.timeout(now), PollTimeout::NONE);
        links.renew(now, || panic!("nothing was lost"));
        links.lost(now);
        // The first of a burst decides.
        links.lost(now + PAUSE / 2);
        assert_eq!(links.timeout(now), PollTimeout::from(101_u8));
        links.renew(now + PAUSE / 2, || panic!("too early"));
        links.renew(now + PAUSE, || Err(anyhow::anyhow!("no buffer")));
        assert_eq!(links.known.name(8).as_deref(), Some("veth8"));
        let later = now + PAUSE + LONG_PAUSE;
        links.renew(later, || Ok(vec![link(7, "eth7")]));
        assert_eq!(links.known.name(7).as_deref(), Some("eth7"));
        assert_eq!(links.known.name(8), None);
        assert_eq!(links.timeout(later), PollTimeout::NONE);
    }

    #[test]
    fn hostile_datagrams_hold_nothing() {
        for bytes in [&[0_u8; 3][..], &[0xff; 16], &[0; 16], &[1; 64]] {
            assert_eq!(messages(bytes).count(), 0);
        }
    }
}
