//! Frames as they are, past the network stack.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Result, ensure};

/// Sends frames by one device of the calling thread's namespace.
pub struct FrameSender {
    socket: OwnedFd,
    address: libc::sockaddr_ll,
}

impl FrameSender {
    /// Opens the socket.
    ///
    /// # Errors
    /// There is no such device, or no right to it (CAP_NET_RAW).
    pub fn open(device: &str) -> Result<Self> {
        // SAFETY: socket() takes no pointer.
        let socket =
            unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        ensure!(socket >= 0, io::Error::last_os_error());
        // SAFETY: the descriptor is new and owned by nobody else.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        // SAFETY: zeroes are a valid address.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET)?;
        address.sll_ifindex = i32::try_from(nix::net::if_::if_nametoindex(device)?)?;
        Ok(Self { socket, address })
    }

    /// Sends a frame, its Ethernet header included.
    ///
    /// # Errors
    /// The device refused it, or tc dropped it (ENOBUFS).
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: both pointers are to memory of the sizes given.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const self.address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}
