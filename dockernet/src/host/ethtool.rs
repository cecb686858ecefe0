//! Questions to a device's driver (include/uapi/linux/ethtool.h).

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use super::inside::{self, Kind};

/// `SIOCETHTOOL` (include/uapi/linux/sockios.h).
const SIOCETHTOOL: u32 = 0x8946;

/// The fields of a command's struct.
pub(super) fn words(all: &[u32]) -> Vec<u8> {
    all.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// A field of an answer.
pub(super) fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

/// A socket to ask a device's driver by.
pub(super) struct Ethtool {
    socket: OwnedFd,
    name: [libc::c_char; libc::IFNAMSIZ],
}

impl Ethtool {
    /// Opens one in the network namespace that the calling thread works in.
    ///
    /// # Errors
    /// No socket is to be had, or the name is longer than a device's can be.
    pub(super) fn open(device: &str) -> io::Result<Self> {
        let bytes = device.as_bytes();
        let mut name = [0; libc::IFNAMSIZ];
        if bytes.len() >= name.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{device}` is longer than an interface's name can be"),
            ));
        }
        for (to, from) in name.iter_mut().zip(bytes) {
            // Signed on x86_64, unsigned on aarch64.
            *to = libc::c_char::from_ne_bytes([*from]);
        }
        let socket = inside::socket(Kind::Device)?;
        Ok(Self { socket, name })
    }

    /// `data` is the command's struct with room for all that the command may answer: the kernel does not ask how much there is.
    ///
    /// # Errors
    /// There is no such device, or its driver does not know the command.
    pub(super) fn ask(&self, data: &mut [u8]) -> io::Result<()> {
        let mut request = libc::ifreq {
            ifr_name: self.name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru {
                ifru_data: data.as_mut_ptr().cast(),
            },
        };
        // SAFETY: the request holds a name that ends in a zero, and a pointer to the struct that the command fills in, which the
        // callers make large enough.
        let status = unsafe {
            libc::ioctl(
                self.socket.as_raw_fd(),
                SIOCETHTOOL.into(),
                &raw mut request,
            )
        };
        if status < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}
