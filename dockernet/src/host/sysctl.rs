//! Kernel settings of a network namespace, and which file set them.
//!
//! Keys are written with slashes: an interface's name may hold dots.

pub mod files;

use std::io;

use anyhow::{Context as _, Result, bail};

use super::{inside, netns::NetnsHandle};

/// Reads a setting such as `net/ipv4/conf/eth0/forwarding` in a namespace, without the newline.
///
/// `/proc/sys/net` shows the namespace of the thread that opens it (net/sysctl_net.c, `net_ctl_header_lookup`).
/// `None`: the kernel has no such setting there (no such interface, or the module is not loaded).
///
/// # Errors
/// The key is malformed, the namespace cannot be entered, or the file cannot be read.
pub fn read(netns: &NetnsHandle, key: &str) -> Result<Option<String>> {
    Ok(read_many(netns, &[key])?.pop().flatten())
}

/// Reads several settings at one entry of the namespace, in the order asked for.
pub fn read_many(netns: &NetnsHandle, keys: &[&str]) -> Result<Vec<Option<String>>> {
    for key in keys {
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !key.split('/').all(plain) {
            bail!("`{key}` is no sysctl key: write it with slashes, such as net/ipv4/ip_forward");
        }
    }
    netns.run(|| {
        keys.iter()
            .map(|key| match inside::read(&format!("/proc/sys/{key}")) {
                Ok(text) => Ok(Some(text.trim_end().to_owned())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error).with_context(|| format!("reading the sysctl {key}")),
            })
            .collect()
    })?
}

/// `net/ipv4/conf/IFACE/NAME`, or `net/ipv6/conf/…`.
#[must_use]
pub fn interface_key(ipv6: bool, interface: &str, name: &str) -> String {
    let family = if ipv6 { "ipv6" } else { "ipv4" };
    format!("net/{family}/conf/{interface}/{name}")
}

/// How evidence names a setting: dotted, as people search for it, unless its interface's name holds a dot.
#[must_use]
pub fn display_key(key: &str) -> String {
    if key.contains('.') {
        key.to_owned()
    } else {
        key.replace('/', ".")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn keys_stay_below_proc_sys() {
        let netns = NetnsHandle::current().unwrap();
        for key in ["", "/etc/passwd", "net/../../version", "net//ipv4", "./net"] {
            assert!(read(&netns, key).is_err(), "{key}");
        }
    }

    #[test]
    fn names_with_dots_keep_their_slashes() {
        let key = interface_key(false, "eth0", "forwarding");
        assert_eq!(display_key(&key), "net.ipv4.conf.eth0.forwarding");
        let key = interface_key(true, "eth0.100", "forwarding");
        assert_eq!(display_key(&key), "net/ipv6/conf/eth0.100/forwarding");
    }
}
