//! Links and addresses of a namespace, dumped and watched over rtnetlink.

mod listen;
mod message;
mod watch;

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use anyhow::{Context as _, Result, bail};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::AddressMessage,
    link::{LinkAttribute, LinkExtentMask, LinkMessage},
    nsid::{NsidAttribute, NsidMessage},
};
use rtnetlink::{
    packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    sys::{Socket, SocketAddr},
};

use super::{
    inside,
    netlink::{DUMP_INTERRUPTED, End, TRIES},
    netns::NetnsHandle,
};
use crate::model::Link;

pub use listen::LinkListener;
pub(crate) use message::{address as decode_address, link as decode};
pub use watch::{Change, LinkWatch, Notice};

/// All links of a namespace with their addresses.
pub fn dump(netns: &NetnsHandle) -> Result<Vec<Link>> {
    netns.run(dump_here)?
}

/// All links of the namespace that the calling thread works in, with their addresses.
///
/// Blocking: meant for a thread of its own, such as those of [`NetnsHandle::run`].
pub fn dump_here() -> Result<Vec<Link>> {
    let mut socket = RouteSocket::open()?;
    let mut request = LinkMessage::default();
    // Statistics are two thirds of the answer and nobody reads them here.
    request
        .attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let mut links = socket
        .list(
            &RouteNetlinkMessage::GetLink(request),
            |message| match message {
                RouteNetlinkMessage::NewLink(message) => message::link(&message),
                _ => None,
            },
        )
        .context("listing links")?;
    let addresses = socket
        .list(
            &RouteNetlinkMessage::GetAddress(AddressMessage::default()),
            |message| match message {
                RouteNetlinkMessage::NewAddress(message) => message::address(&message),
                _ => None,
            },
        )
        .context("listing addresses")?;
    for (ifindex, prefix) in addresses {
        if let Some(link) = links.iter_mut().find(|link| link.ifindex == ifindex) {
            link.addresses.push(prefix);
        }
    }
    Ok(links)
}

/// A blocking rtnetlink socket of one namespace: the one its creating thread was in.
#[derive(Debug)]
pub struct RouteSocket {
    socket: Socket,
    sequence: u32,
}

impl RouteSocket {
    /// Opens a socket in the namespace that the calling thread works in.
    pub fn open() -> Result<Self> {
        let mut socket = inside::route_socket().context("opening a netlink socket")?;
        socket.bind_auto().context("binding a netlink socket")?;
        socket
            .connect(&SocketAddr::new(0, 0))
            .context("connecting a netlink socket")?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// The id that this socket's namespace gave to another; none while nothing wires the two.
    ///
    /// `RTM_GETNSID` with `NETNSA_FD` (4.0+, net/core/net_namespace.c). Ids are given out when a link whose peer is
    /// in the other namespace is listed: list the links first.
    pub fn nsid_of(&mut self, netns: BorrowedFd<'_>) -> Result<Option<i32>> {
        let fd = u32::try_from(netns.as_raw_fd()).context("a negative descriptor")?;
        let mut request = NsidMessage::default();
        request.attributes.push(NsidAttribute::Fd(fd));
        let mut id = None;
        self.exchange(
            RouteNetlinkMessage::GetNsId(request),
            NLM_F_REQUEST,
            |message| {
                if let RouteNetlinkMessage::NewNsId(message) = message {
                    id = message::nsid(&message);
                }
            },
        )
        .context("asking for a namespace's id")?;
        Ok(id)
    }

    /// A whole table, and what `pick` makes of its entries. One that changed while it was listed lacks entries, or has them twice: it is
    /// listed again, a few times, and then taken as it is.
    fn list<T>(
        &mut self,
        request: &RouteNetlinkMessage,
        mut pick: impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>> {
        let mut picked = Vec::new();
        for _ in 0..TRIES {
            picked.clear();
            let flags = NLM_F_REQUEST | NLM_F_DUMP;
            let end = self.exchange(request.clone(), flags, |message| {
                picked.extend(pick(message));
            })?;
            if end == End::Whole {
                break;
            }
        }
        Ok(picked)
    }

    fn exchange(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
        mut take: impl FnMut(RouteNetlinkMessage),
    ) -> Result<End> {
        self.sequence += 1;
        let mut message = NetlinkMessage::from(request);
        message.header.flags = flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answer = Answer {
            sequence: self.sequence,
            is_dump: flags & NLM_F_DUMP != 0,
            end: End::Whole,
        };
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            if answer.read(&datagram, &mut take)? {
                return Ok(answer.end);
            }
        }
    }
}

/// An answer that is being read.
struct Answer {
    sequence: u32,
    is_dump: bool,
    end: End,
}

impl Answer {
    /// Hands on what a datagram holds; true when the answer is complete.
    fn read(
        &mut self,
        datagram: &[u8],
        take: &mut impl FnMut(RouteNetlinkMessage),
    ) -> Result<bool> {
        for reply in Messages::new(datagram) {
            let Ok(reply) = reply else { continue };
            if reply.header.sequence_number != self.sequence {
                continue;
            }
            if reply.header.flags & DUMP_INTERRUPTED != 0 {
                self.end = End::Interrupted;
            }
            match reply.payload {
                NetlinkPayload::InnerMessage(inner) => {
                    take(inner);
                    if !self.is_dump {
                        return Ok(true);
                    }
                }
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(error) => match error.code {
                    None => return Ok(true),
                    Some(_) => return Err(error.to_io().into()),
                },
                NetlinkPayload::Overrun(_) => bail!("the kernel's answer did not fit"),
                _ => {}
            }
        }
        Ok(false)
    }
}

/// Splits a datagram into messages; one that cannot be parsed is an error of its own, and the rest still come.
struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl Iterator for Messages<'_> {
    type Item = io::Result<NetlinkMessage<RouteNetlinkMessage>>;

    fn next(&mut self) -> Option<Self::Item> {
        const HEADER: usize = 16;
        let length: [u8; 4] = self.rest.get(..4)?.try_into().ok()?;
        let length = usize::try_from(u32::from_ne_bytes(length)).ok()?;
        if length < HEADER || length > self.rest.len() {
            return None;
        }
        let (message, rest) = self.rest.split_at(length);
        // Messages start at multiples of four bytes.
        let padding = (length.next_multiple_of(4) - length).min(rest.len());
        self.rest = rest.get(padding..).unwrap_or_default();
        Some(NetlinkMessage::deserialize(message).map_err(io::Error::other))
    }
}

/// The family of messages that describe the whole link, not one protocol's view of it.
fn is_whole(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use rtnetlink::packet_core::NetlinkHeader;

    use super::*;

    fn message(flags: u16, payload: NetlinkPayload<RouteNetlinkMessage>) -> Vec<u8> {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = 7;
        let mut message = NetlinkMessage::new(header, payload);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    #[test]
    fn a_table_that_changed_while_it_was_listed_is_known() {
        let link = |flags| {
            let link = RouteNetlinkMessage::NewLink(LinkMessage::default());
            message(flags, NetlinkPayload::InnerMessage(link))
        };
        let done = |flags| message(flags, NetlinkPayload::Done(Default::default()));
        for (datagrams, end) in [
            ([link(0), done(0)], End::Whole),
            ([link(DUMP_INTERRUPTED), done(0)], End::Interrupted),
            ([link(0), done(DUMP_INTERRUPTED)], End::Interrupted),
        ] {
            let mut answer = Answer {
                sequence: 7,
                is_dump: true,
                end: End::Whole,
            };
            let mut links = 0;
            let mut take = |_| links += 1;
            assert!(!answer.read(&datagrams[0], &mut take).unwrap());
            assert!(answer.read(&datagrams[1], &mut take).unwrap());
            assert_eq!((links, answer.end), (1, end));
        }
    }

    #[test]
    fn this_machine_has_a_loopback() {
        let links = dump_here().unwrap();
        assert!(links.iter().any(|link| link.name == "lo"), "{links:?}");
    }
}
