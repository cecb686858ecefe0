//! What is opened in a network namespace: directly, where the calling thread is in it; else by the process that may enter it
//! ([`super::helper`]).
//!
//! A socket knows its namespace, and so does an open file below /proc/net or /proc/sys/net: both stay what they are when they are
//! handed to another process. So everything that [`super::netns::NetnsHandle::run`] calls opens them here.

use std::{
    cell::RefCell,
    ffi::CStr,
    fs::File,
    io::{self, Read as _},
    os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType};
use rtnetlink::sys::Socket as RouteSocket;
use serde::{Deserialize, Serialize};

use super::{helper, netns::NetnsHandle};

/// The kinds of sockets that are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// rtnetlink.
    Route,
    /// ctnetlink and nf_tables.
    Netfilter,
    /// Sockets of others.
    Diagnosis,
    /// Any: for questions to a device's driver, and its name.
    Device,
    /// Any, where not even a protocol is needed.
    Any,
}

thread_local! {
    /// The namespace that the thread works in without being there.
    static INSIDE: RefCell<Option<Inside>> = const { RefCell::new(None) };
}

struct Inside {
    netns: NetnsHandle,
    /// For names of devices, which are asked for one by one.
    devices: Option<OwnedFd>,
}

/// Does `work` as if in that namespace; without one, where the thread really is.
pub(super) fn scope<T>(netns: Option<&NetnsHandle>, work: impl FnOnce() -> T) -> T {
    /// Puts back what was, whatever happens.
    struct Back(Option<Inside>);
    impl Drop for Back {
        fn drop(&mut self) {
            INSIDE.set(self.0.take());
        }
    }
    let inside = netns.map(|netns| Inside {
        netns: netns.clone(),
        devices: None,
    });
    let _back = Back(INSIDE.replace(inside));
    work()
}

/// The namespace that the thread works in without being there.
pub(super) fn current() -> Option<NetnsHandle> {
    INSIDE.with_borrow(|inside| inside.as_ref().map(|inside| inside.netns.clone()))
}

/// A socket in the namespace that the calling thread works in.
///
/// # Errors
/// There is none to be had.
pub(crate) fn socket(kind: Kind) -> io::Result<OwnedFd> {
    match current() {
        Some(netns) => helper::socket(&netns, kind),
        None => socket_here(kind),
    }
}

/// A socket in the namespace that the calling thread is in.
#[expect(clippy::disallowed_methods, reason = "here it is meant")]
pub(super) fn socket_here(kind: Kind) -> io::Result<OwnedFd> {
    use SockProtocol as Protocol;
    let (family, way, protocol) = match kind {
        Kind::Route => (
            AddressFamily::Netlink,
            SockType::Raw,
            Protocol::NetlinkRoute,
        ),
        Kind::Netfilter => (
            AddressFamily::Netlink,
            SockType::Raw,
            Protocol::NetlinkNetFilter,
        ),
        Kind::Diagnosis => (
            AddressFamily::Netlink,
            SockType::Raw,
            Protocol::NetlinkSockDiag,
        ),
        Kind::Device => {
            let made = nix::sys::socket::socket(
                AddressFamily::Inet,
                SockType::Datagram,
                SockFlag::SOCK_CLOEXEC,
                None,
            );
            return made.map_err(io::Error::from);
        }
        Kind::Any => return Ok(std::os::unix::net::UnixDatagram::unbound()?.into()),
    };
    nix::sys::socket::socket(family, way, SockFlag::SOCK_CLOEXEC, protocol).map_err(io::Error::from)
}

/// The same as [`socket`] for rtnetlink, as its crate wants it.
pub(crate) fn route_socket() -> io::Result<RouteSocket> {
    let socket = socket(Kind::Route)?;
    // SAFETY: the descriptor is a netlink socket, and owned by nobody else from here on.
    Ok(unsafe { RouteSocket::from_raw_fd(socket.into_raw_fd()) })
}

/// Opens a file below /proc/thread-self/net or /proc/sys/net, by its whole path.
///
/// # Errors
/// There is no such file, or it may not be read.
pub(crate) fn open(path: &str) -> io::Result<File> {
    match current() {
        Some(netns) => helper::file(&netns, path),
        None => File::open(path),
    }
}

/// The content of such a file.
///
/// # Errors
/// There is no such file, it may not be read, or it is no text.
pub(crate) fn read(path: &str) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Index of the device of that name.
///
/// # Errors
/// There is none.
pub(crate) fn device_index(name: &str) -> io::Result<u32> {
    let mut request = empty();
    let bytes = name.as_bytes();
    if bytes.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        // Signed on x86_64, unsigned on aarch64.
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    ask(libc::SIOCGIFINDEX, &mut request)?;
    // SAFETY: the kernel has filled in this member for this request.
    let index = unsafe { request.ifr_ifru.ifru_ifindex };
    u32::try_from(index).map_err(io::Error::other)
}

/// Name of the device of that index.
///
/// # Errors
/// There is none.
pub(crate) fn device_name(index: u32) -> io::Result<String> {
    let mut request = empty();
    request.ifr_ifru.ifru_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    ask(libc::SIOCGIFNAME, &mut request)?;
    let bytes = request.ifr_name.map(|byte| byte.to_ne_bytes()[0]);
    let name = CStr::from_bytes_until_nul(&bytes).map_err(io::Error::other)?;
    Ok(name.to_string_lossy().into_owned())
}

fn empty() -> libc::ifreq {
    libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_ifindex: 0 },
    }
}

/// Asks by the socket that is kept for it, or by one of its own.
fn ask(request: libc::c_ulong, argument: &mut libc::ifreq) -> io::Result<()> {
    let mut ask = |socket: &OwnedFd| {
        // SAFETY: the socket is open, and both requests read and write one `struct ifreq` (net/core/dev_ioctl.c).
        match unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut *argument) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    INSIDE.with_borrow_mut(|inside| match inside {
        Some(Inside { netns, devices }) => {
            let socket = match devices.take() {
                Some(socket) => socket,
                None => helper::socket(netns, Kind::Device)?,
            };
            ask(devices.insert(socket))
        }
        None => ask(&socket_here(Kind::Device)?),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn devices_have_names_and_numbers() {
        let index = device_index("lo").unwrap();
        assert_eq!(device_name(index).unwrap(), "lo");
        assert!(device_index("no-such-device").is_err());
        assert!(device_index("a-name-that-is-too-long").is_err());
        assert!(device_name(u32::MAX).is_err());
    }
}
