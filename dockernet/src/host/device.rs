//! What a network device does to packets in hardware, or leaves undone.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, bail};

use super::netns::NetnsHandle;

/// `ETHTOOL_GTXCSUM` (include/uapi/linux/ethtool.h): any kind of transmit checksum offload.
const GET_TX_CHECKSUM: u32 = 0x16;
/// `SIOCETHTOOL` (include/uapi/linux/sockios.h).
const SIOCETHTOOL: u32 = 0x8946;

#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// True where the device leaves it to the hardware to fill in transport checksums (`ethtool -k`: tx-checksumming).
///
/// # Errors
/// No such device in the namespace, or its driver does not say.
pub fn transmit_checksum_offload(netns: &NetnsHandle, device: &str) -> Result<bool> {
    let bytes = device.as_bytes();
    let mut name = [0; libc::IFNAMSIZ];
    if bytes.len() >= name.len() {
        bail!("`{device}` is longer than an interface's name can be");
    }
    for (to, from) in name.iter_mut().zip(bytes) {
        *to = from.cast_signed();
    }
    netns
        .run(|| ask(name))?
        .with_context(|| format!("asking {device} for its checksum offload"))
}

fn ask(name: [libc::c_char; libc::IFNAMSIZ]) -> io::Result<bool> {
    // SAFETY: socket() takes no pointer.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let mut value = EthtoolValue {
        command: GET_TX_CHECKSUM,
        data: 0,
    };
    let mut request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_data: (&raw mut value).cast(),
        },
    };
    // SAFETY: the request holds a name that ends in a zero, and a pointer to the struct that the command fills in.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL.into(), &raw mut request) };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value.data != 0)
}
