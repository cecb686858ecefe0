//! Name servers, as a process sees them and as Docker's embedded resolver forwards to them.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::rooted;

/// Where Docker's own resolver listens in a container on a user-defined network.
pub const EMBEDDED_RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));

/// A server that Docker's resolver forwards to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExtServer {
    /// Its address.
    pub address: IpAddr,
    /// dockerd asks it from the host's network namespace, else from the container's.
    pub from_host_netns: bool,
}

/// A resolv.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolv {
    /// `nameserver` lines.
    pub nameservers: Vec<IpAddr>,
    /// Servers behind Docker's own resolver, where its comment names them (newer engines do, 20.10 does not).
    pub ext_servers: Vec<ExtServer>,
    /// Search domains.
    pub search: Vec<String>,
    /// `options ndots:N`.
    pub ndots: Option<u32>,
    /// `options use-vc`: queries go over TCP.
    pub use_tcp: bool,
}

impl Resolv {
    /// Parses the text of a resolv.conf (resolv.conf(5)) with Docker's comments.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut resolv = Self::default();
        for line in text.lines() {
            let line = line.trim();
            if let Some(comment) = line.strip_prefix(['#', ';']) {
                if let Some((_, list)) = comment.split_once("ExtServers:") {
                    resolv.ext_servers.extend(ext_servers(list));
                }
                continue;
            }
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => resolv.nameservers.extend(words.next().and_then(address)),
                // The last `search` or `domain` line counts.
                Some("search" | "domain") => resolv.search = words.map(Into::into).collect(),
                Some("options") => {
                    for option in words {
                        if let Some(number) = option.strip_prefix("ndots:") {
                            resolv.ndots = number.parse().ok();
                        }
                        resolv.use_tcp |= option == "use-vc";
                    }
                }
                _ => {}
            }
        }
        resolv
    }

    /// True where Docker's own resolver answers.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.nameservers.contains(&EMBEDDED_RESOLVER)
    }

    /// The servers that queries end at: behind Docker's resolver its own, else the `nameserver` lines.
    ///
    /// Empty where an old engine's resolver does not say: it takes the host's, without loopback ones.
    #[must_use]
    pub fn upstreams(&self) -> Vec<ExtServer> {
        if self.is_embedded() {
            return self.ext_servers.clone();
        }
        let direct = self.nameservers.iter().map(|address| ExtServer {
            address: *address,
            from_host_netns: false,
        });
        direct.collect()
    }

    /// As [`Self::upstreams`]; where an old engine does not say, what libnetwork takes from the host's file.
    #[must_use]
    pub fn upstreams_or_host(&self, host: &Self) -> Vec<ExtServer> {
        let own = self.upstreams();
        if !own.is_empty() || !self.is_embedded() {
            return own;
        }
        let host = host
            .nameservers
            .iter()
            .filter(|address| !address.is_loopback());
        host.map(|address| ExtServer {
            address: *address,
            from_host_netns: false,
        })
        .collect()
    }
}

/// `[host(127.0.0.53) 1.1.1.1]`, with blanks or commas, with or without brackets.
fn ext_servers(list: &str) -> impl Iterator<Item = ExtServer> {
    list.split(|c: char| c.is_ascii_whitespace() || matches!(c, '[' | ']' | ','))
        .filter_map(|word| {
            let host = word
                .strip_prefix("host(")
                .and_then(|word| word.strip_suffix(')'));
            Some(ExtServer {
                address: address(host.unwrap_or(word))?,
                from_host_netns: host.is_some(),
            })
        })
}

/// An address, its zone (`fe80::1%eth0`) left out.
fn address(word: &str) -> Option<IpAddr> {
    let (address, _zone) = word.split_once('%').unwrap_or((word, ""));
    address.parse().ok()
}

/// What a process sees, through `/proc/PID/root`.
pub fn of_process(pid: u32) -> Result<Resolv> {
    let text = rooted::read_of(pid, "etc/resolv.conf")
        .with_context(|| format!("reading /proc/{pid}/root/etc/resolv.conf"))?;
    Ok(Resolv::parse(&text))
}

/// What the host sees.
pub fn of_host() -> Result<Resolv> {
    read(Path::new("/")).context("reading /etc/resolv.conf")
}

fn read(root: &Path) -> io::Result<Resolv> {
    Ok(Resolv::parse(&rooted::read(root, "etc/resolv.conf")?))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn servers(text: &str) -> Vec<(String, bool)> {
        let upstreams = Resolv::parse(text).upstreams();
        let pairs = upstreams.iter();
        pairs
            .map(|server| (server.address.to_string(), server.from_host_netns))
            .collect()
    }

    #[test]
    fn an_old_engine_does_not_name_its_upstreams() {
        let text = "search lan\nnameserver 127.0.0.11\noptions edns0 trust-ad ndots:0\n";
        let resolv = Resolv::parse(text);
        assert!(resolv.is_embedded());
        assert_eq!(resolv.ndots, Some(0));
        assert_eq!(resolv.search, ["lan"]);
        assert!(resolv.upstreams().is_empty());
        let host = Resolv::parse("nameserver 127.0.0.53\nnameserver 192.0.2.53\n");
        let upstreams = resolv.upstreams_or_host(&host);
        assert_eq!(upstreams.len(), 1);
        assert_eq!(upstreams[0].address.to_string(), "192.0.2.53");
    }

    #[test]
    fn newer_engines_name_them_in_a_comment() {
        let text = "\
# Generated by Docker Engine.
# This file can be edited; Docker Engine will not make further changes once it
# has been modified.

nameserver 127.0.0.11
options ndots:0

# Based on host file: '/etc/resolv.conf' (internal resolver)
# ExtServers: [host(127.0.0.53) 192.0.2.53 host(fe80::1%eth0)]
# Overrides: []
# Option ndots from: internal
";
        let expected = [
            ("127.0.0.53", true),
            ("192.0.2.53", false),
            ("fe80::1", true),
        ]
        .map(|(address, host)| (address.to_owned(), host));
        assert_eq!(servers(text), expected);
        let text = "nameserver 127.0.0.11\n# ExtServers: [192.0.2.1]\n# NOTE: DNS servers";
        assert_eq!(servers(text), [("192.0.2.1".to_owned(), false)]);
    }

    #[test]
    fn the_default_bridge_has_plain_servers() {
        let text = "nameserver 192.0.2.1\nnameserver bad\nnameserver\n;nameserver 192.0.2.9\nnameserver 2001:db8::1";
        let expected = ["192.0.2.1", "2001:db8::1"].map(|address| (address.to_owned(), false));
        assert_eq!(servers(text), expected);
    }

    #[test]
    fn links_never_lead_out_of_the_root() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let path = root.path().join("etc/resolv.conf");
        std::os::unix::fs::symlink("/etc/real", &path).unwrap();
        assert!(read(root.path()).is_err());
        std::fs::write(root.path().join("etc/real"), "nameserver 192.0.2.7").unwrap();
        let resolv = read(root.path()).unwrap();
        assert_eq!(resolv.nameservers[0].to_string(), "192.0.2.7");
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read(root.path()).is_err());
    }
}
