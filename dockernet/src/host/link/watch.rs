//! Notices of changed links and addresses, as they happen.

use std::{
    io::{self, IoSliceMut},
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use rtnetlink::{packet_core::NetlinkPayload, sys::Socket};
use tokio::io::{Interest, unix::AsyncFd};

use super::{Messages, message};
use crate::{
    host::{inside, netns::NetnsHandle},
    model::Link,
};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A link is new or changed. Its addresses are not in it.
    Link(Link),
    /// A link is gone.
    LinkGone(u32),
    /// A link has this address.
    Address(u32, IpNet),
    /// A link lost this address.
    AddressGone(u32, IpNet),
    /// The namespace gave this id to another one, which is wired to it.
    Wired(i32),
    /// The namespace with this id is gone.
    Unwired(i32),
    /// Notices were lost: dump again.
    Lost,
}

/// A change and where it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Another namespace, by the id that the watched one gave it; none for the watched one itself.
    pub nsid: Option<i32>,
    /// What changed.
    pub change: Change,
}

/// Watches a namespace, and those wired to it by veth.
#[derive(Debug)]
pub struct LinkWatch {
    socket: AsyncFd<Socket>,
    buffer: Vec<u8>,
}

pub(super) const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV6_IFADDR: u32 = 9;
const RTNLGRP_NSID: u32 = 28;
/// `NETLINK_LISTEN_ALL_NSID` as the type of a control message (include/uapi/linux/netlink.h).
const LISTEN_ALL_NSID: libc::c_int = 8;
/// Room for a burst of containers; the default overruns at about a hundred notices.
const RECEIVE_BUFFER: usize = 1 << 20;

impl LinkWatch {
    /// Starts to watch. Needs a tokio runtime.
    ///
    /// Namespaces wired to this one are heard too (`NETLINK_LISTEN_ALL_NSID`, 4.2+), if we may.
    pub fn open(netns: &NetnsHandle) -> Result<Self> {
        let socket = netns.run(|| -> io::Result<Socket> {
            let mut socket = inside::route_socket()?;
            socket.bind_auto()?;
            socket.set_non_blocking(true)?;
            // More than the limit of net.core.rmem_max is refused silently: notices may then be lost, which is told.
            force_receive_buffer(&socket);
            for group in [
                RTNLGRP_LINK,
                RTNLGRP_IPV4_IFADDR,
                RTNLGRP_IPV6_IFADDR,
                RTNLGRP_NSID,
            ] {
                socket.add_membership(group)?;
            }
            if let Err(error) = socket.set_listen_all_namespaces(true) {
                log::debug!("changes inside containers are not heard: {error}");
            }
            Ok(socket)
        })?;
        let socket = socket.context("opening a netlink socket for link notices")?;
        // SAFETY: the socket owns its descriptor and gives out the same one until it is dropped.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }
            .map_err(io::Error::from)
            .context("waiting for link notices")?;
        Ok(Self {
            socket,
            buffer: vec![0; 64 << 10],
        })
    }

    /// Waits for notices; returns all of one datagram, at least one.
    ///
    /// Safe to cancel: what was not returned comes next time.
    pub async fn next(&mut self) -> Result<Vec<Notice>> {
        loop {
            let mut ready = self
                .socket
                .readable()
                .await
                .context("waiting for link notices")?;
            let buffer = &mut self.buffer;
            match ready.try_io(|socket| receive(socket.get_ref(), buffer)) {
                Ok(Ok(notices)) if notices.is_empty() => {}
                Ok(Ok(notices)) => return Ok(notices),
                Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    return Ok(vec![Notice {
                        nsid: None,
                        change: Change::Lost,
                    }]);
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error).context("reading link notices"),
                Err(_would_block) => {}
            }
        }
    }
}

pub(super) fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<Vec<Notice>> {
    let mut control = nix::cmsg_space!(libc::c_int);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )
    .map_err(io::Error::from)?;
    let nsid = message.cmsgs().ok().and_then(|mut messages| {
        messages.find_map(|message| match message {
            ControlMessageOwned::Unknown(unknown)
                if unknown.cmsg_header.cmsg_level == libc::SOL_NETLINK
                    && unknown.cmsg_header.cmsg_type == LISTEN_ALL_NSID =>
            {
                let bytes = unknown.data_bytes.get(..4)?.try_into().ok()?;
                Some(i32::from_ne_bytes(bytes)).filter(|id| *id >= 0)
            }
            _ => None,
        })
    });
    let length = message.bytes;
    Ok(Messages::new(buffer.get(..length).unwrap_or_default())
        .filter_map(Result::ok)
        .filter_map(|message| match message.payload {
            NetlinkPayload::InnerMessage(inner) => change(&inner),
            _ => None,
        })
        .map(|change| Notice { nsid, change })
        .collect())
}

fn change(message: &RouteNetlinkMessage) -> Option<Change> {
    match message {
        RouteNetlinkMessage::NewLink(message) => message::link(message).map(Change::Link),
        RouteNetlinkMessage::DelLink(message) => {
            message::link(message).map(|link| Change::LinkGone(link.ifindex))
        }
        RouteNetlinkMessage::NewAddress(message) => {
            message::address(message).map(|(index, prefix)| Change::Address(index, prefix))
        }
        RouteNetlinkMessage::DelAddress(message) => {
            message::address(message).map(|(index, prefix)| Change::AddressGone(index, prefix))
        }
        RouteNetlinkMessage::NewNsId(message) => message::nsid(message).map(Change::Wired),
        RouteNetlinkMessage::DelNsId(message) => message::nsid(message).map(Change::Unwired),
        _ => None,
    }
}

/// `SO_RCVBUFFORCE` (CAP_NET_ADMIN), which `net.core.rmem_max` does not limit.
pub(super) fn force_receive_buffer(socket: &Socket) {
    let size = libc::c_int::try_from(RECEIVE_BUFFER).unwrap_or(libc::c_int::MAX);
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: the socket is open, and `size` is as long as `length` says.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const size).cast(),
            length,
        )
    };
    if status != 0 {
        let _ = socket.set_rx_buf_sz(size);
    }
}
