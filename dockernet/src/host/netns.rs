//! Entering network namespaces, and telling them apart.

pub mod scan;

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    thread,
};

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use super::{helper, inside};
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
        let path = path.as_ref();
        Self::of(
            if helper::is_there() && !path.starts_with("/proc/thread-self") {
                helper::netns(path)?
            } else {
                Self::open_here(path)?
            },
        )
    }

    /// Opens the file, with what this process may do.
    pub(super) fn open_here(path: &Path) -> io::Result<File> {
        // To open what is no namespace might wait, or do something.
        let found = File::options()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(path)?;
        if !is_nsfs(&found) {
            return Err(no_netns());
        }
        let file = File::open(format!("/proc/thread-self/fd/{}", found.as_raw_fd()))?;
        is_netns(&file).then_some(file).ok_or_else(no_netns)
    }

    /// An open file as the namespace that it is.
    ///
    /// A file that is none is [`io::ErrorKind::InvalidInput`].
    pub(super) fn of(file: File) -> io::Result<Self> {
        if !is_netns(&file) {
            return Err(no_netns());
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

    /// A namespace of a recording: it has a number, and nothing can be looked at in it.
    pub fn recorded(inum: u32) -> io::Result<Self> {
        Ok(Self {
            file: Arc::new(File::open("/dev/null")?),
            inum,
        })
    }

    /// The namespace of the calling thread.
    pub fn current() -> io::Result<Self> {
        Self::open(HERE)
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

    /// Runs `work` inside the namespace: on this thread if it is there or a helper has to be asked, else on one of its own (a thread cannot
    /// be trusted to come back).
    ///
    /// What `work` opens by `inside` is that namespace's. Where a helper has to be asked, that is all; elsewhere
    /// `/proc/sys/net`, `/proc/thread-self/net`, sockets and child processes are, too.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        if self.is_here() {
            return self.contained(None, work);
        }
        if helper::is_there() {
            return self.contained(Some(self), work);
        }
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

    /// A panic of `work` is an error, as it is on a thread of its own.
    fn contained<T>(&self, inside: Option<&Self>, work: impl FnOnce() -> T) -> Result<T> {
        catch_unwind(AssertUnwindSafe(|| inside::scope(inside, work)))
            .map_err(|_| anyhow!("reading network namespace {} panicked", self.inum))
    }

    /// Visits many namespaces on one thread: opens each, enters it, runs `work`, and closes it again.
    ///
    /// Only one is open at a time: an open namespace outlives its container, and its veths with it.
    pub fn visit<I: Send, T: Send>(
        items: Vec<I>,
        path: impl Fn(&I) -> &Path + Send,
        mut work: impl FnMut(&I, &Self) -> Result<T> + Send,
    ) -> Result<Vec<(I, Result<T>)>> {
        if helper::is_there() {
            let visits = items.into_iter().map(|item| {
                let path = path(&item);
                let result = Self::open(path)
                    .with_context(|| format!("opening {}", path.display()))
                    .and_then(|netns| netns.contained(Some(&netns), || work(&item, &netns))?);
                (item, result)
            });
            return Ok(visits.collect());
        }
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

    /// Whether the calling thread is in it.
    fn is_here(&self) -> bool {
        fs::metadata(HERE).is_ok_and(|file| file.ino() == u64::from(self.inum))
    }

    /// Moves the calling thread for good: only for threads made for that. One that is there already needs no privilege.
    pub fn enter_for_good(&self) -> Result<()> {
        if self.is_here() {
            return Ok(());
        }
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

/// The calling thread's.
const HERE: &str = "/proc/thread-self/ns/net";

fn no_netns() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a network namespace")
}

fn is_nsfs(file: &File) -> bool {
    nix::sys::statfs::fstatfs(file)
        .is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::NSFS_MAGIC)
}

/// Whether the file is a network namespace (`NS_GET_NSTYPE`, 4.11+, fs/nsfs.c).
fn is_netns(file: &File) -> bool {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // Other files may take the number for something else, so it is asked of namespace files only.
    // SAFETY: the file is open; this request takes no argument and changes nothing.
    is_nsfs(file) && unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) } == libc::CLONE_NEWNET
}

/// `SO_NETNS_COOKIE` of the namespace that the calling thread works in (5.14+, net/core/sock.c).
pub fn cookie_here() -> io::Result<u64> {
    // Any socket knows its namespace; AF_UNIX needs neither an address nor a module.
    let socket = inside::socket(inside::Kind::Any)?;
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
