//! Switching a veth pair to the list receive path, which real network cards use and a plain veth never shows.

use std::net::UdpSocket;

use anyhow::{Context, Result, bail};
use nix::libc::{self, c_char, c_ulong};

use crate::{lab::Lab, netns::Netns};

/// `SIOCETHTOOL` and its oldest commands (include/uapi/linux/sockios.h, ethtool.h).
const SIOCETHTOOL: c_ulong = 0x8946;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_SGRO: u32 = 0x2c;

#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

impl Lab {
    /// Makes packets from outside reach the host's IP layer in lists (`ip_list_rcv`, `nf_hook_slow_list`), as they do
    /// from a network card with GRO; or one by one again.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn list_path(&self, on: bool) -> Result<()> {
        // veth hands packets to NAPI only if the receiver does GRO and the sender no TSO (drivers/net/veth.c,
        // veth_skb_is_eligible_for_gro; 5.13+).
        set(self.outside(), ETHTOOL_STSO, !on)?;
        set(self.host(), ETHTOOL_SGRO, on)
    }
}

fn set(netns: &Netns, command: u32, on: bool) -> Result<()> {
    let socket = netns.within(|| Ok(UdpSocket::bind("0.0.0.0:0")?))?;
    let mut value = Value {
        command,
        data: on.into(),
    };
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"eth0") {
        *to = c_char::try_from(*from).context("an interface name is ASCII")?;
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(&mut value).cast();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: SIOCETHTOOL takes an ifreq whose data points to a struct that begins with its command; both live here.
    let result = unsafe { libc::ioctl(fd, SIOCETHTOOL, &mut request) };
    if result != 0 {
        bail!(
            "ethtool command {command:#x} on eth0: {}",
            std::io::Error::last_os_error()
        );
    }
    Ok(())
}
