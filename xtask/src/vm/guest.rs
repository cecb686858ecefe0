//! What a guest is made of: programs of this machine, Docker engines, kernel modules, a command.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{image::Image, kernel::Kernel, modules};
use crate::{process, setup};

/// The guest's first process.
const INIT: &str = include_str!("init.sh");

/// Programs of the tests, of Docker, and of a person who looks around. Busybox stands in for all others.
const PROGRAMS: [&str; 34] = [
    "bash",
    "bpftool",
    "capsh",
    "conntrack",
    "curl",
    "dash",
    "depmod",
    "ebtables",
    "ebtables-legacy",
    "ethtool",
    "ip",
    "ip6tables",
    "ip6tables-legacy",
    "ip6tables-legacy-save",
    "ip6tables-nft",
    "ip6tables-restore",
    "ip6tables-save",
    "iptables",
    "iptables-legacy",
    "iptables-legacy-save",
    "iptables-nft",
    "iptables-restore",
    "iptables-save",
    "kmod",
    "modprobe",
    "mount",
    "nft",
    "nsenter",
    "ps",
    "setpriv",
    "socat",
    "sysctl",
    "tc",
    "tcpdump",
];

/// Programs that the guest's shell does not miss when this machine has none.
const OPTIONAL: [&str; 8] = [
    "capsh", "ipvsadm", "script", "ss", "strace", "tar", "unshare", "umount",
];

/// Files that the programs read where they are.
const DATA: [&str; 6] = [
    "/etc/ethertypes",
    "/etc/iproute2",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/openssl.cnf",
    "/usr/share/iproute2",
];

/// A file that goes into the guest.
#[derive(Clone, Debug)]
pub(super) struct Extra {
    /// On this machine.
    pub(super) from: PathBuf,
    /// In the guest.
    pub(super) to: PathBuf,
}

/// What is run in the guest.
#[derive(Clone, Debug, Default)]
pub(super) struct Job {
    /// A shell script.
    pub(super) script: String,
    /// Variables that it sees.
    pub(super) environment: Vec<(String, String)>,
    /// Files beside the programs; programs among them bring their libraries.
    pub(super) files: Vec<Extra>,
    /// Folders that are at the same place in the guest.
    pub(super) folders: Vec<PathBuf>,
}

/// Makes the guest's file system for `kernel` and `job`.
///
/// # Errors
/// A program is missing here, or a file cannot be read.
pub(super) fn image(
    kernel: &Kernel,
    engines: &[setup::engines::Engine],
    job: &Job,
) -> Result<Image> {
    let mut image = Image::default();
    base(&mut image)?;
    modules::add(&mut image, kernel)?;
    for engine in engines {
        add_engine(&mut image, &engine.bin)?;
    }
    for bin in setup::engines::extra_path() {
        add_engine(&mut image, &bin)?;
    }
    for extra in &job.files {
        image.copy(&extra.from, &extra.to)?;
        image.libraries(&extra.from)?;
    }
    for folder in &job.folders {
        image.tree(folder)?;
    }
    image.text("/vm/command", &job.script, true);
    let variables = job
        .environment
        .iter()
        .map(|(name, value)| format!("export {name}={}\n", quoted(value)));
    image.text("/vm/environment", &variables.collect::<String>(), false);
    Ok(image)
}

fn base(image: &mut Image) -> Result<()> {
    for folder in ["/proc", "/sys", "/dev", "/run", "/tmp", "/root", "/var/lib"] {
        image.folder(folder);
    }
    // /bin, /lib and the like are links on most machines; then they are here too.
    for path in ["/bin", "/sbin", "/lib", "/lib64"] {
        if Path::new(path).exists() {
            image.same(Path::new(path))?;
        }
    }
    image.device("/dev/console", 5, 1);
    image.text("/init", INIT, true);
    let busybox = process::find("busybox").context("busybox is missing")?;
    image.copy(&busybox, Path::new("/usr/bin/busybox"))?;
    for name in PROGRAMS.iter().chain(&OPTIONAL) {
        let found = process::find(name);
        match found {
            Some(path) => image.program(&path)?,
            None if OPTIONAL.contains(name) => {}
            None => {
                return Err(anyhow::anyhow!(
                    "{name} is missing on this machine, and a guest needs it: cargo xtask setup --tests"
                ));
            }
        }
    }
    image.link(Path::new("/usr/bin/sh"), "dash");
    // iptables opens its extensions, and name lookups theirs, only when they run.
    for folder in ["/usr/lib/x86_64-linux-gnu/xtables", "/usr/lib64/xtables"] {
        if Path::new(folder).is_dir() {
            image.tree(Path::new(folder))?;
        }
    }
    for path in DATA.iter().map(Path::new).filter(|path| path.exists()) {
        if path.is_dir() {
            image.tree(path)?;
        } else {
            image.same(path)?;
        }
    }
    image.text(
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        false,
    );
    image.text("/etc/group", "root:x:0:\nnogroup:x:65534:\n", false);
    image.text("/etc/nsswitch.conf", "hosts: files dns\n", false);
    image.text("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n", false);
    Ok(())
}

/// The folder of an engine's programs, at the same place.
fn add_engine(image: &mut Image, bin: &Path) -> Result<()> {
    // Tools for other jobs, large ones: they only fill the guest's memory.
    const USELESS: [&str; 5] = [
        "ctr",
        "dnet",
        "ovrouter",
        "containerd-stress",
        "containerd-shim-runc-v1",
    ];
    let unpacked = setup::engines::is_unpacked(bin);
    let list = std::fs::read_dir(bin).with_context(|| format!("reading {}", bin.display()))?;
    for entry in list.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let of_docker = unpacked
            || ["docker", "containerd", "runc"]
                .iter()
                .any(|start| name.starts_with(start));
        if of_docker && !USELESS.contains(&name.as_ref()) && entry.path().is_file() {
            image.program(&entry.path())?;
        }
    }
    Ok(())
}

/// `text` as one word of a shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_words() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
