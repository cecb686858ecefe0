//! What this process may do.

use std::{collections::HashSet, sync::OnceLock};

use anyhow::{Context as _, Result, bail};
use caps::{CapSet, Capability};

/// What tracing needs, and what for.
const NEEDED: &[(Capability, &str)] = &[
    (Capability::CAP_BPF, "programs and maps"),
    (Capability::CAP_PERFMON, "reading kernel memory"),
    (Capability::CAP_SYS_ADMIN, "entering network namespaces"),
    (Capability::CAP_NET_ADMIN, "firewall rules and links"),
    (Capability::CAP_SYS_PTRACE, "container namespaces"),
    (Capability::CAP_SYSLOG, "kernel symbols"),
];

/// Who keeps what, once everything is attached. The rest of what is needed is for loading programs and reading symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// A service with a helper for namespaces.
    Service,
    /// That helper.
    Helper,
    /// A service that could not start a helper: it does all itself.
    Alone,
}

/// What a service needs itself, and what for.
const OF_SERVICE: &[(Capability, &str)] = &[
    (Capability::CAP_BPF, "reading and writing the maps"),
    (
        Capability::CAP_NET_ADMIN,
        "asking for firewall rules and conntrack entries; with `nat`, watching new interfaces",
    ),
];

/// What its helper needs, and what for.
const OF_HELPER: &[(Capability, &str)] = &[
    (
        Capability::CAP_NET_ADMIN,
        "sockets that ask for conntrack entries; programs that list firewall rules",
    ),
    (
        Capability::CAP_NET_RAW,
        "reading iptables-legacy's rules, which needs a raw socket",
    ),
    (
        Capability::CAP_SYS_ADMIN,
        "entering the network namespaces of new containers; programs of others at their devices; the kernel's BPF statistics",
    ),
    (
        Capability::CAP_SYS_PTRACE,
        "looking at the processes of new containers",
    ),
    (
        Capability::CAP_DAC_READ_SEARCH,
        "reading the files of an engine that is not root's while it is down",
    ),
];

/// What this process is to become, once each of its threads has done what needs more. Unset: it keeps what it has.
static PLAN: OnceLock<Process> = OnceLock::new();

/// Says at the start what [`give_up`] shall leave.
pub fn plan(process: Process) {
    // Said twice, the first one counts.
    let _ = PLAN.set(process);
}

/// The same as [`reduce`], if there is a plan. A service works with more than it needs rather than not at all.
pub fn give_up() {
    let Some(process) = PLAN.get() else {
        return;
    };
    if let Err(error) = reduce(*process) {
        log::warn!("privileges that are no longer needed stay: {error:#}");
    }
}

/// Gives up, for the calling thread and those that it starts, everything that the process does not need any more, for good: what is
/// executed later gets no more either.
///
/// # Errors
/// The kernel refuses, which it does not.
pub fn reduce(process: Process) -> Result<()> {
    let lists: &[_] = match process {
        Process::Service => &[OF_SERVICE],
        Process::Helper => &[OF_HELPER],
        Process::Alone => &[OF_SERVICE, OF_HELPER],
    };
    let kept: HashSet<Capability> = lists
        .iter()
        .flat_map(|list| list.iter())
        .map(|(capability, _)| *capability)
        .collect();
    let held = caps::read(None, CapSet::Permitted).context("reading this thread's capabilities")?;
    // Without CAP_SETPCAP (as a unit may have it) the bounding set stays as whoever started us made it.
    if held.contains(&Capability::CAP_SETPCAP) {
        for capability in caps::all().difference(&kept) {
            // Capabilities that an older kernel does not have are refused.
            if let Err(error) = caps::drop(None, CapSet::Bounding, *capability) {
                log::debug!("giving up {capability}: {error}");
            }
        }
    }
    let mut left: HashSet<Capability> = held.intersection(&kept).copied().collect();
    // Which includes it, where whoever started us gave no CAP_BPF.
    if kept.contains(&Capability::CAP_BPF)
        && !left.contains(&Capability::CAP_BPF)
        && held.contains(&Capability::CAP_SYS_ADMIN)
    {
        left.insert(Capability::CAP_SYS_ADMIN);
    }
    caps::clear(None, CapSet::Ambient).context("giving up ambient capabilities")?;
    caps::set(None, CapSet::Inheritable, &HashSet::new())
        .context("giving up inheritable capabilities")?;
    caps::set(None, CapSet::Effective, &left).context("giving up capabilities")?;
    caps::set(None, CapSet::Permitted, &left).context("giving up capabilities")?;
    nix::sys::prctl::set_no_new_privs().context("giving up new privileges")
}

/// Leaves the calling thread, which is about to become another program, no more than what listing a firewall's rules takes, of those
/// capabilities that it has: CAP_NET_ADMIN, CAP_NET_RAW, and CAP_DAC_READ_SEARCH for the names of iptables-legacy's tables, which belong to the
/// user that a namespace's root is (net/netfilter/x_tables.c, `xt_proto_init`). System calls and no memory, as between fork and exec nothing
/// else may be. Where the kernel refuses, it stays as it was.
///
/// Nothing where new privileges were not given up: root's program would get all of them again, and lose its parent-death signal by it
/// (kernel/cred.c, `commit_creds`).
pub(crate) fn reduce_to_listing() {
    /// `_LINUX_CAPABILITY_VERSION_3` (include/uapi/linux/capability.h).
    const VERSION: u32 = 0x2008_0522;
    const LISTING: u32 = 1 << 2 | 1 << 12 | 1 << 13;
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    let none = Data {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    };
    let mut data = [none; 2];
    // SAFETY: both are as the kernel expects them of this version: a header and two sets of three words.
    unsafe {
        if libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1
            || libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) != 0
        {
            return;
        }
        let kept = data[0].permitted & LISTING;
        data = [
            Data {
                effective: kept,
                permitted: kept,
                inheritable: 0,
            },
            none,
        ];
        libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr());
    }
}

/// The capabilities that are missing, each with what it is for.
#[must_use]
pub fn missing() -> Vec<String> {
    let have = caps::read(None, CapSet::Effective).unwrap_or_default();
    // CAP_BPF and CAP_PERFMON were split from it in 5.8, and it still includes them (kernel/bpf/syscall.c).
    let admin = have.contains(&Capability::CAP_SYS_ADMIN);
    let included = [Capability::CAP_BPF, Capability::CAP_PERFMON];
    NEEDED
        .iter()
        .filter(|(capability, _)| {
            let held = have.contains(capability) || admin && included.contains(capability);
            !held
        })
        .map(|(capability, what)| format!("{capability} ({what})"))
        .collect()
}

/// One sentence about everything that is missing.
pub fn check() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let who = if nix::unistd::geteuid().is_root() {
        "root, but not with all privileges"
    } else {
        "not root"
    };
    let list = match missing.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    };
    let hint = if nix::unistd::geteuid().is_root() {
        "give the container or service these capabilities (docker run --privileged --pid=host --network=host)"
    } else {
        "try sudo"
    };
    bail!("{who}: lacks {list}; {hint}");
}

/// `/sys/kernel/security/lockdown`'s mode, where the kernel has it: `none`, `integrity` or `confidentiality`.
#[must_use]
pub fn lockdown() -> Option<String> {
    let text = std::fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

/// `kernel.kptr_restrict`: 2 hides kernel addresses from everybody.
#[must_use]
pub fn kptr_restrict() -> Option<u8> {
    std::fs::read_to_string("/proc/sys/kernel/kptr_restrict")
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_program_that_lists_rules_keeps_what_that_takes() {
        let listing = HashSet::from([
            Capability::CAP_NET_ADMIN,
            Capability::CAP_NET_RAW,
            Capability::CAP_DAC_READ_SEARCH,
        ]);
        // Capabilities are a thread's, and so is this.
        let (before, after) = std::thread::spawn(|| {
            let held = || caps::read(None, CapSet::Permitted).unwrap();
            let before = held();
            reduce_to_listing();
            assert_eq!(held(), before);
            nix::sys::prctl::set_no_new_privs().unwrap();
            reduce_to_listing();
            assert_eq!(caps::read(None, CapSet::Effective).unwrap(), held());
            (before, held())
        })
        .join()
        .unwrap();
        assert_eq!(after, before.intersection(&listing).copied().collect());
    }
}
