//! Notices of links alone, for a thread that waits for nothing else.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
};

use anyhow::{Context as _, Result};
use rtnetlink::sys::Socket;

use super::watch::{Change, RTNLGRP_LINK, force_receive_buffer, receive};
use crate::host::inside;

/// Listens for links that come, change and go in one namespace.
#[derive(Debug)]
pub struct LinkListener {
    socket: Socket,
    buffer: Vec<u8>,
}

impl LinkListener {
    /// Listens in the calling thread's namespace.
    ///
    /// # Errors
    /// There is no netlink socket to be had.
    pub fn open_here() -> Result<Self> {
        let open = || -> io::Result<Socket> {
            let mut socket = inside::route_socket()?;
            socket.bind_auto()?;
            socket.set_non_blocking(true)?;
            force_receive_buffer(&socket);
            socket.add_membership(RTNLGRP_LINK)?;
            Ok(socket)
        };
        Ok(Self {
            socket: open().context("opening a netlink socket for link notices")?,
            buffer: vec![0; 64 << 10],
        })
    }

    /// Every change that has been told of by now; [`Change::Lost`] where some were not.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn read(&mut self) -> io::Result<Vec<Change>> {
        let mut changes = Vec::new();
        loop {
            match receive(&self.socket, &mut self.buffer) {
                Ok(notices) => changes.extend(notices.into_iter().map(|notice| notice.change)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changes),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    changes.push(Change::Lost);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for LinkListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open for as long as it is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }
}
