//! The table of ours in the host's ruleset.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sys::{
        socket::{MsgFlags, recv, send, setsockopt, sockopt::ReceiveTimeout},
        time::TimeVal,
    },
};

use super::{
    encode::{Batch, OWNER},
    flow::Flow,
};
use crate::host::{
    firewall::OWN_TABLE,
    inside::{self, Kind},
    kernel_code,
    netns::NetnsHandle,
};

/// The table's name, in each of [`FAMILIES`].
pub(super) const NAME: &str = OWN_TABLE;
/// `NFPROTO_INET` and `NFPROTO_BRIDGE`, with nft's names.
const INET: u8 = 1;
const BRIDGE: u8 = 7;
const FAMILIES: [(u8, &str); 2] = [(INET, "inet"), (BRIDGE, "bridge")];

/// Writes and removes it. It belongs to the socket.
pub(super) struct Table {
    socket: OwnedFd,
    /// `NFT_TABLE_F_OWNER`, until a kernel refuses it.
    flags: u32,
    /// Families that it is in.
    present: Vec<u8>,
}

impl Table {
    pub(super) fn open(netns: &NetnsHandle) -> Result<Self> {
        Ok(Self {
            socket: netns
                .run(open)?
                .context("opening a netlink socket for nftables")?,
            flags: OWNER,
            present: Vec::new(),
        })
    }

    /// Makes the table trace these flows, in bridges too if some are `bridged`.
    pub(super) fn write(&mut self, flows: &[&Flow], bridged: bool) -> io::Result<()> {
        for (family, name) in FAMILIES {
            let wanted = !flows.is_empty() && (family == INET || bridged);
            if !wanted {
                self.remove(family)?;
                continue;
            }
            match self.replace(family, flows) {
                Err(error) if family == BRIDGE => {
                    log::info!("flows are not traced in the {name} family: {error}");
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn replace(&mut self, family: u8, flows: &[&Flow]) -> io::Result<()> {
        let result = self.talk(rules(family, self.flags, flows));
        let result = match result {
            // Before 5.12 a table has no owner.
            Err(error)
                if self.flags != 0
                    && matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL)) =>
            {
                let again = self.talk(rules(family, 0, flows));
                if again.is_ok() {
                    self.flags = 0;
                }
                again
            }
            other => other,
        };
        if result.is_ok() && !self.present.contains(&family) {
            self.present.push(family);
        }
        result
    }

    fn remove(&mut self, family: u8) -> io::Result<()> {
        if self.present.contains(&family) {
            delete(&self.socket, family)?;
            self.present.retain(|&known| known != family);
        }
        Ok(())
    }

    fn talk(&self, batch: Vec<u8>) -> io::Result<()> {
        talk(&self.socket, &batch)
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        for (family, name) in FAMILIES {
            if let Err(error) = self.remove(family) {
                log::warn!(
                    "the table {name} {NAME} was not removed: {error}; to remove it: nft delete table {name} {NAME}"
                );
            }
        }
    }
}

/// Removes tables that a run without owner flag left, and returns their families. One that belongs to a running
/// process cannot be removed, and need not be.
///
/// # Errors
/// The namespace cannot be entered, or the kernel refuses for another reason.
pub fn remove_leftovers(netns: &NetnsHandle) -> Result<Vec<&'static str>> {
    // Asking would load the module.
    if !kernel_code::present("nf_tables", "nft_do_chain") {
        return Ok(Vec::new());
    }
    let socket = netns
        .run(open)?
        .context("opening a netlink socket for nftables")?;
    let mut removed = Vec::new();
    for (family, name) in FAMILIES {
        match delete(&socket, family) {
            Ok(true) => removed.push(name),
            Ok(false) => {}
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("removing the table {name} {NAME}"));
            }
        }
    }
    Ok(removed)
}

/// Whether there was one.
fn delete(socket: &OwnedFd, family: u8) -> io::Result<bool> {
    let mut batch = Batch::new(family, NAME);
    batch.delete_table(true);
    match talk(socket, &batch.end()) {
        Ok(()) => Ok(true),
        // EOPNOTSUPP, EAFNOSUPPORT: a kernel without the family has no table in it.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT)
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// The table made anew in one transaction, whether there was one or not.
fn rules(family: u8, flags: u32, flows: &[&Flow]) -> Vec<u8> {
    let chains: &[(&str, u32)] = match family {
        BRIDGE => &[("prerouting", 0)],
        _ => &[("prerouting", 0), ("output", 3)],
    };
    let mut batch = Batch::new(family, NAME);
    batch.new_table(flags, false);
    batch.delete_table(false);
    batch.new_table(flags, true);
    for &(chain, hook) in chains {
        batch.new_chain(chain, hook);
        for flow in flows {
            batch.new_rule(chain, flow);
        }
    }
    batch.end()
}

fn open() -> io::Result<OwnedFd> {
    let socket = inside::socket(Kind::Netfilter)?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(1, 0))?;
    Ok(socket)
}

/// Sends a transaction and reads its answers: each refused message has one, and the one that asked for it.
fn talk(socket: &OwnedFd, batch: &[u8]) -> io::Result<()> {
    /// `NLMSG_ERROR`.
    const ERROR: u16 = 2;
    let fd = socket.as_raw_fd();
    send(fd, batch, MsgFlags::empty())?;
    let mut buffer = [0; 4096];
    let mut refused: Option<i32> = None;
    let mut flags = MsgFlags::empty();
    loop {
        let length = match recv(fd, &mut buffer, flags) {
            Ok(length) => length,
            Err(Errno::EINTR) => continue,
            // All answers are there when the send returns.
            Err(Errno::EAGAIN) if flags == MsgFlags::MSG_DONTWAIT => break,
            Err(error) => return Err(error.into()),
        };
        flags = MsgFlags::MSG_DONTWAIT;
        let datagram = buffer.get(..length).unwrap_or_default();
        for (kind, message) in crate::host::changes::messages(datagram) {
            let code = message.get(16..).and_then(|body| body.first_chunk::<4>());
            let code = code.map_or(0, |code| i32::from_ne_bytes(*code));
            if kind == ERROR && code != 0 {
                refused.get_or_insert(code.saturating_neg());
            }
        }
    }
    match refused {
        Some(code) => Err(io::Error::from_raw_os_error(code)),
        None => Ok(()),
    }
}
