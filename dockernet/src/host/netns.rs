//! Entering network namespaces, and telling them apart.

pub mod scan;

use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
    thread,
};

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use crate::model::NetnsKey;

/// An open network namespace: it lives at least as long as this handle.
#[derive(Clone, Debug)]
pub struct NetnsHandle {
    file: Arc<File>,
    inum: u32,
}

impl NetnsHandle {
    /// Opens a namespace file such as `/proc/1234/ns/net` or `/run/netns/blue`.
    ///
    /// A file that is no network namespace is [`io::ErrorKind::InvalidInput`].
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let file = File::open(path)?;
        if !is_netns(&file) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a network namespace",
            ));
        }
        let inum = u32::try_from(file.metadata()?.ino()).map_err(io::Error::other)?;
        Ok(Self {
            file: Arc::new(file),
            inum,
        })
    }

    /// Any file as a namespace, for tests that make up what is in it.
    #[cfg(test)]
    pub(crate) fn pretend(path: impl AsRef<Path>) -> io::Result<Self> {
        let file = File::open(path)?;
        let inum = u32::try_from(file.metadata()?.ino()).map_err(io::Error::other)?;
        Ok(Self {
            file: Arc::new(file),
            inum,
        })
    }

    /// The namespace of the calling thread.
    pub fn current() -> io::Result<Self> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// Inode number, as `readlink /proc/PID/ns/net` shows it.
    #[must_use]
    pub fn inum(&self) -> u32 {
        self.inum
    }

    /// Borrowed descriptor.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Runs `work` inside the namespace, on a thread of its own (a thread cannot be trusted to come back).
    ///
    /// `/proc/sys/net`, `/proc/thread-self/net`, sockets and child processes of `work` see that namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            thread::Builder::new()
                .name("netns".into())
                .spawn_scoped(scope, || {
                    self.enter_for_good()?;
                    Ok(work())
                })
                .context("starting a thread for a network namespace")?
                .join()
                .map_err(|_| anyhow!("the thread in network namespace {} panicked", self.inum))?
        })
    }

    /// Visits many namespaces on one thread: opens each, enters it, runs `work`, and closes it again.
    ///
    /// Only one is open at a time: an open namespace outlives its container, and its veths with it.
    pub fn visit<I: Send, T: Send>(
        items: Vec<I>,
        path: impl Fn(&I) -> &Path + Send,
        mut work: impl FnMut(&I, &Self) -> Result<T> + Send,
    ) -> Result<Vec<(I, Result<T>)>> {
        thread::scope(|scope| {
            thread::Builder::new()
                .name("netns".into())
                .spawn_scoped(scope, move || {
                    items
                        .into_iter()
                        .map(|item| {
                            let result = Self::enter(path(&item))
                                .and_then(|namespace| work(&item, &namespace));
                            (item, result)
                        })
                        .collect()
                })
                .context("starting a thread for network namespaces")?
                .join()
                .map_err(|_| anyhow!("the thread that visits network namespaces panicked"))
        })
    }

    /// Moves the calling thread for good: only for threads made for that.
    pub fn enter_for_good(&self) -> Result<()> {
        setns(self.as_fd(), CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("entering network namespace {}", self.inum))
    }

    /// Opens a namespace and moves the calling thread there for good: only for threads made for that.
    fn enter(path: &Path) -> Result<Self> {
        let namespace = Self::open(path).with_context(|| format!("opening {}", path.display()))?;
        namespace
            .enter_for_good()
            .with_context(|| path.display().to_string())?;
        Ok(namespace)
    }

    /// Its key: the cookie where the kernel has one (5.14+), else the inode number.
    pub fn key(&self) -> Result<NetnsKey> {
        let cookie = self.run(cookie_here)?;
        Ok(NetnsKey(cookie.unwrap_or_else(|_| u64::from(self.inum))))
    }
}

/// Whether the file is a network namespace (`NS_GET_NSTYPE`, 4.11+, fs/nsfs.c).
fn is_netns(file: &File) -> bool {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    let nsfs = nix::sys::statfs::fstatfs(file)
        .is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::NSFS_MAGIC);
    // Other files may take the number for something else, so it is asked of namespace files only.
    // SAFETY: the file is open; this request takes no argument and changes nothing.
    nsfs && unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) } == libc::CLONE_NEWNET
}

/// `SO_NETNS_COOKIE` of the calling thread's namespace (5.14+, net/core/sock.c).
pub fn cookie_here() -> io::Result<u64> {
    // Any socket knows its namespace; AF_UNIX needs neither an address nor a module.
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?;
    // SAFETY: `socket` is open, and the buffer is as long as `length` says.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if status == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn only_network_namespaces_open() {
        assert!(NetnsHandle::open("/proc/thread-self/ns/net").is_ok());
        for path in ["/proc/thread-self/ns/uts", "/proc/self/status"] {
            let error = NetnsHandle::open(path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}");
        }
        let missing = NetnsHandle::open("/nonexistent").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
