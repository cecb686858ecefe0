//! The connection tracking table of a network namespace, over ctnetlink: the whole of it, or one flow.

pub(crate) mod counters;
mod flow;
pub(crate) mod message;
pub(crate) mod timeouts;

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader},
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
    sync::OnceLock,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use dockernet_common::conntrack::RawTuple;
use nix::{
    errno::Errno,
    sys::{
        socket::{MsgFlags, recv, send, setsockopt, sockopt::ReceiveTimeout},
        time::TimeVal,
    },
};

use self::message::Answer;
pub use self::{
    counters::{Counters, counters},
    flow::{Flow, find, flows, flows_where},
};

use super::inside::{self, Kind};

/// A table that takes longer than this to read is taken as far as it came.
const LIMIT: Duration = Duration::from_secs(5);
/// The kernel fills at most 32 KiB per datagram of a dump (net/netlink/af_netlink.c, `netlink_dump`).
const DATAGRAM: usize = 64 * 1024;

/// An entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Before NAT.
    pub original: RawTuple,
    /// What the answer looks like.
    pub reply: RawTuple,
    /// `nf_conn.status`.
    pub status: u32,
    /// Seconds until it is forgotten, unless another packet comes.
    pub timeout: Option<u32>,
    /// `enum tcp_conntrack`, of TCP (include/uapi/linux/netfilter/nf_conntrack_tcp.h).
    pub tcp_state: Option<u8>,
    /// When it began, wall clock, ns since 1970; only with `net.netfilter.nf_conntrack_timestamp`.
    pub started_ns: Option<u64>,
}

/// Whether conntrack can be asked without loading a module: ctnetlink's is loaded, or is part of the kernel (and then has
/// no folder in /sys/module, but functions).
#[must_use]
pub fn is_loaded() -> bool {
    static BUILT_IN: OnceLock<bool> = OnceLock::new();
    Path::new("/sys/module/nf_conntrack_netlink").exists()
        || *BUILT_IN.get_or_init(|| {
            let symbols = File::open("/proc/kallsyms").map(BufReader::new);
            symbols.is_ok_and(|symbols| {
                symbols
                    .lines()
                    .map_while(Result::ok)
                    // A module's functions name it behind them.
                    .any(|line| line.ends_with(" ctnetlink_dump_table"))
            })
        })
}

/// A socket that asks about the namespace it was opened in.
#[derive(Debug)]
pub struct Table {
    socket: OwnedFd,
    sequence: u32,
}

impl Table {
    /// Opens one in the namespace that the calling thread works in.
    ///
    /// # Errors
    /// ctnetlink is not loaded (a question would load it), or there is no socket to be had.
    pub fn open_here() -> Result<Self> {
        if !is_loaded() {
            bail!("nf_conntrack_netlink is not loaded");
        }
        let open = || -> io::Result<OwnedFd> {
            let socket = inside::socket(Kind::Netfilter)?;
            setsockopt(&socket, ReceiveTimeout, &TimeVal::new(1, 0))?;
            Ok(socket)
        };
        Ok(Self {
            socket: open().context("opening a ctnetlink socket")?,
            sequence: 0,
        })
    }

    /// Entries of every family that `wanted` wants, at most `limit`. The flag: whether that is all of them.
    ///
    /// # Errors
    /// The kernel refuses or does not answer.
    pub fn dump(
        &mut self,
        limit: usize,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<(Vec<Entry>, bool)> {
        let sequence = self.next();
        self.ask(&message::dump(sequence))?;
        let mut entries = Vec::new();
        let deadline = Instant::now() + LIMIT;
        let mut buffer = vec![0; DATAGRAM];
        loop {
            for answer in self.answers(&mut buffer)? {
                match answer {
                    Answer::Entry(entry) if entries.len() >= limit && wanted(&entry) => {
                        return Ok((entries, false));
                    }
                    Answer::Entry(entry) => entries.extend(wanted(&entry).then_some(*entry)),
                    Answer::Refused(0) => {}
                    Answer::Refused(errno) => {
                        return Err(Errno::from_raw(errno)).context("reading the conntrack table");
                    }
                    Answer::Done => return Ok((entries, true)),
                }
            }
            if Instant::now() >= deadline {
                return Ok((entries, false));
            }
        }
    }

    /// The entry of a flow, by its tuple before NAT.
    ///
    /// # Errors
    /// The kernel refuses or does not answer.
    pub fn get(&mut self, original: &RawTuple) -> Result<Option<Entry>> {
        let sequence = self.next();
        let Some(question) = message::get(sequence, original) else {
            return Ok(None);
        };
        self.ask(&question)?;
        let mut buffer = vec![0; DATAGRAM];
        loop {
            // Datagrams with answers to earlier questions have none to this.
            match self.answers(&mut buffer)?.into_iter().next() {
                None => {}
                Some(Answer::Entry(entry)) => return Ok(Some(*entry)),
                Some(Answer::Done | Answer::Refused(libc::ENOENT)) => return Ok(None),
                Some(Answer::Refused(errno)) => {
                    return Err(Errno::from_raw(errno)).context("asking for a conntrack entry");
                }
            }
        }
    }

    fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn ask(&self, question: &[u8]) -> Result<()> {
        send(self.socket.as_raw_fd(), question, MsgFlags::empty())
            .context("asking about conntrack")?;
        Ok(())
    }

    /// The answers of one datagram to the last question.
    fn answers(&self, buffer: &mut [u8]) -> Result<Vec<Answer>> {
        let length = loop {
            match recv(self.socket.as_raw_fd(), buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                other => break other.context("waiting for conntrack's answer")?,
            }
        };
        let datagram = buffer.get(..length).unwrap_or_default();
        Ok(message::answers(datagram, self.sequence))
    }
}
