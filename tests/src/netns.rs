//! Network namespaces: made, entered, removed.

use std::{
    fs::File,
    os::fd::AsRawFd as _,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};

use crate::exec::Cmd;

/// A place in the lab that traffic starts from, or that a command runs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The namespace that plays the Docker host.
    Host,
    /// The rest of the world.
    Outside,
    /// A container, by name.
    Container(String),
}

impl std::str::FromStr for Place {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "host" => Ok(Self::Host),
            "outside" => Ok(Self::Outside),
            _ => text
                .strip_prefix("container:")
                .map(|name| Self::Container(name.to_owned()))
                .ok_or_else(|| {
                    anyhow!("`{text}` is no place: use host, outside or container:NAME")
                }),
        }
    }
}

/// A namespace file that can be entered.
#[derive(Clone, Debug)]
pub struct Netns {
    path: PathBuf,
    /// Keeps a namespace without a name.
    _file: Option<Arc<File>>,
}

impl Netns {
    /// A file such as `/run/netns/NAME` or `/proc/PID/ns/net`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            _file: None,
        }
    }

    /// A namespace without a name, with its loopback up: it goes when the last copy of this value does, after a crash too.
    ///
    /// # Errors
    /// Not root.
    pub fn unnamed() -> Result<Self> {
        let file = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace (root?)")?;
            File::open("/proc/thread-self/ns/net").context("opening a new network namespace")
        })
        .join()
        .map_err(|_| anyhow!("making a network namespace panicked"))??;
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let netns = Self {
            path: path.into(),
            _file: Some(Arc::new(file)),
        };
        netns
            .command("ip")
            .args(["link", "set", "lo", "up"])
            .run()?;
        Ok(netns)
    }

    /// Makes a named namespace with its loopback up.
    pub(crate) fn create(name: &str) -> Result<Self> {
        Cmd::new("ip").args(["netns", "add", name]).run()?;
        let netns = Self::at(Path::new("/run/netns").join(name));
        netns
            .command("ip")
            .args(["link", "set", "lo", "up"])
            .run()?;
        Ok(netns)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Inode number, as the tool prints it in `netns.inum`.
    ///
    /// # Errors
    /// The namespace is gone.
    pub fn inum(&self) -> Result<u64> {
        std::fs::metadata(&self.path)
            .map(|meta| meta.ino())
            .with_context(|| format!("looking at namespace {}", self.path.display()))
    }

    /// A command in it.
    #[must_use]
    pub fn command(&self, program: &str) -> Cmd {
        Cmd::new(program).in_netns(&self.path)
    }

    /// Runs `job` on a thread of its own inside the namespace. Sockets that it returns stay in that namespace.
    ///
    /// # Errors
    /// The namespace cannot be entered, or `job` fails or panics.
    pub fn within<T: Send>(&self, job: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let file = File::open(&self.path)
            .with_context(|| format!("opening namespace {}", self.path.display()))?;
        thread::scope(|scope| {
            scope
                .spawn(move || {
                    setns(file, CloneFlags::CLONE_NEWNET).with_context(|| {
                        format!("entering namespace {} (root?)", self.path.display())
                    })?;
                    job()
                })
                .join()
                .map_err(|_| anyhow!("a job in namespace {} panicked", self.path.display()))?
        })
    }

    /// Sets a sysctl; the key is written with slashes. Returns the value it had.
    ///
    /// # Errors
    /// The key does not exist or refuses the value.
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<String> {
        let file = sysctl_file(key);
        self.within(|| {
            let old = read_trimmed(&file)?;
            std::fs::write(&file, value)
                .with_context(|| format!("writing {value} to {}", file.display()))?;
            Ok(old)
        })
    }

    /// Reads a sysctl.
    ///
    /// # Errors
    /// The key does not exist.
    pub fn sysctl(&self, key: &str) -> Result<String> {
        let file = sysctl_file(key);
        self.within(|| read_trimmed(&file))
    }
}

/// `/proc/sys` shows the namespace of the task that opens the file, so this works from [`Netns::within`].
fn sysctl_file(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key)
}

fn read_trimmed(file: &Path) -> Result<String> {
    std::fs::read_to_string(file)
        .map(|text| text.trim().to_owned())
        .with_context(|| format!("reading {}", file.display()))
}
