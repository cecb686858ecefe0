//! What can be asked, and how it is written.

use std::{os::fd::OwnedFd, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::host::inside::Kind;

/// A question. Those that are about a namespace come with its descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    /// Nothing: whether it answers.
    Alive,
    /// Every process with the inode number of its network namespace. Data: `Vec<(i32, u32)>`.
    Processes,
    /// The inode number of a process' network namespace. Data: `u32`.
    NetnsOf { pid: i32 },
    /// A network namespace, by the file that it has. A descriptor.
    Netns { path: PathBuf },
    /// A socket in a namespace. A descriptor.
    Socket { kind: Kind },
    /// A file of a namespace, below /proc/thread-self/net or /proc/sys/net, to read. A descriptor.
    File { path: String },
    /// One of [`IN_ROOT`], as a process sees it. Data: `String`.
    InRoot { pid: u32, file: String },
    /// A file that an engine keeps of a container ([`ENGINE_FILES`]), to read. A descriptor.
    EngineFile { path: PathBuf },
    /// The containers of an engine: folders in its `containers`. Data: `Vec<PathBuf>`.
    EngineFolder { data_root: PathBuf },
    /// What a program that lists rules prints in a namespace; one of [`LISTINGS`]. Data: `Result<Option<String>, String>`.
    Listing {
        program: String,
        arguments: Vec<String>,
    },
    /// What is attached to a device of a namespace. Data: `Vec<Attached>`.
    OnDevice { device: String },
    /// What is attached to the cgroup of a process. Data: `Vec<Attached>`.
    OnProcess { pid: u32 },
    /// Whether a process holds the socket of that inode number. Data: `bool`.
    OwnsSocket { pid: u32, inode: u64 },
    /// The kernel's BPF statistics, on for as long as the descriptor is open.
    Statistics,
}

/// A question is no longer than this.
pub(super) const MOST: usize = 8192;

/// An answer's first byte: it came with a descriptor; data follows, as JSON; why there is no answer follows, as JSON.
pub(super) const DESCRIPTOR: u8 = b'd';
pub(super) const DATA: u8 = b'j';
pub(super) const REFUSAL: u8 = b'n';

/// What a question is answered with.
pub(super) enum Answer {
    Descriptor(OwnedFd),
    /// As JSON.
    Data(Vec<u8>),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refusal {
    /// The system's number, where it is one of its errors.
    pub(super) errno: Option<i32>,
    pub(super) why: String,
}

/// What is read of a process' root.
pub(super) const IN_ROOT: &[&str] = &["etc/hosts", "etc/hostname", "etc/resolv.conf"];

/// What is read of an engine's folder of a container.
pub(super) const ENGINE_FILES: &[&str] = &["config.v2.json", "hostconfig.json"];

/// Programs that list rules, with the arguments that they may have.
pub(super) const LISTINGS: &[(&str, &[&str])] = &[
    ("nft", &["-j", "list", "ruleset"]),
    ("nft", &["-a", "list", "ruleset"]),
    ("iptables-save", &["-c"]),
    ("iptables-nft-save", &["-c"]),
    ("iptables-legacy-save", &["-c"]),
    ("ip6tables-save", &["-c"]),
    ("ip6tables-nft-save", &["-c"]),
    ("ip6tables-legacy-save", &["-c"]),
    ("ebtables-legacy", &["-t", "filter", "-L", "--Lc"]),
    ("ebtables-legacy", &["-t", "nat", "-L", "--Lc"]),
];
