//! docker-proxy processes: which published port each serves, and which sockets are whose.

use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use super::netns::scan;

/// Between two looks at all processes.
const GAP: Duration = Duration::from_millis(200);

/// What a docker-proxy was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Where it listens.
    pub listens: SocketAddr,
    /// Where it connects to.
    pub container: SocketAddr,
}

/// The docker-proxy processes seen so far.
#[derive(Debug, Default)]
pub struct Proxies {
    known: HashMap<u32, Proxy>,
    looked: Option<Instant>,
}

impl Proxies {
    /// The proxy behind a connection from the host to a container: the process that sent its first packet, if that is one; else the
    /// one that owns the socket.
    pub fn behind(
        &mut self,
        sender: u32,
        protocol: &str,
        local: SocketAddr,
        container: SocketAddr,
    ) -> Option<(u32, Proxy)> {
        let fits = |proxy: &Proxy| proxy.protocol == protocol && proxy.container == container;
        // A process id may be another's by now, so its arguments are read each time.
        if let Some(proxy) = read(sender).filter(fits) {
            return Some((sender, proxy));
        }
        self.look();
        self.known
            .iter()
            .filter(|(_, proxy)| fits(proxy))
            .find(|(pid, _)| owns(**pid, protocol, local, container))
            .map(|(pid, proxy)| (*pid, proxy.clone()))
    }

    /// The proxy in a namespace (its inode number) that serves an address and port, and its process.
    pub fn listening(
        &mut self,
        netns_inum: u32,
        protocol: &str,
        at: SocketAddr,
    ) -> Option<(u32, Proxy)> {
        self.look();
        let serves = |proxy: &Proxy| {
            let listens = proxy.listens;
            let is_every = listens.ip().is_unspecified() && listens.is_ipv4() == at.is_ipv4();
            proxy.protocol == protocol
                && listens.port() == at.port()
                && (is_every || listens.ip() == at.ip())
        };
        self.known
            .iter()
            .filter(|(_, proxy)| serves(proxy))
            // Another engine's, in a namespace of its own, may serve the same.
            .find(|(pid, _)| netns_of(**pid) == Some(netns_inum))
            .map(|(pid, proxy)| (*pid, proxy.clone()))
    }

    fn look(&mut self) {
        if self.looked.is_some_and(|then| then.elapsed() < GAP) {
            return;
        }
        self.looked = Some(Instant::now());
        self.known = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|pid| Some((pid, read(pid)?)))
            .collect();
    }
}

/// Inode number of a process' network namespace.
fn netns_of(pid: u32) -> Option<u32> {
    scan::inum_of(i32::try_from(pid).ok()?).ok()
}

fn read(pid: u32) -> Option<Proxy> {
    if pid == 0 {
        return None;
    }
    parse(&fs::read(format!("/proc/{pid}/cmdline")).ok()?)
}

/// `docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 10001 -container-ip 172.17.0.2 -container-port 80 …`.
pub(crate) fn parse(cmdline: &[u8]) -> Option<Proxy> {
    let words: Vec<&str> = cmdline
        .split(|byte| *byte == 0)
        .map(|word| std::str::from_utf8(word).unwrap_or_default())
        .collect();
    let program = words.first()?.rsplit('/').next()?;
    if !program.ends_with("docker-proxy") {
        return None;
    }
    let value = |name: &str| {
        words.iter().enumerate().find_map(|(at, word)| {
            let flag = word.trim_start_matches('-');
            match flag.split_once('=') {
                Some((key, value)) => (key == name).then_some(value),
                None => (flag == name && word.starts_with('-'))
                    .then(|| words.get(at + 1).copied())
                    .flatten(),
            }
        })
    };
    let end = |address: &str, port: &str| {
        let address: IpAddr = value(address)?.parse().ok()?;
        Some(SocketAddr::new(address, value(port)?.parse().ok()?))
    };
    Some(Proxy {
        protocol: value("proto").unwrap_or("tcp").to_owned(),
        listens: end("host-ip", "host-port")?,
        container: end("container-ip", "container-port")?,
    })
}

/// Whether a process has a socket with these ends.
fn owns(pid: u32, protocol: &str, local: SocketAddr, remote: SocketAddr) -> bool {
    let family = if local.is_ipv6() { "6" } else { "" };
    let Ok(table) = fs::read_to_string(format!("/proc/{pid}/net/{protocol}{family}")) else {
        return false;
    };
    let ends = [hex(local), hex(remote)];
    let Some(inode) = table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        (words.get(1..3)? == ends).then(|| words.get(9).copied())?
    }) else {
        return false;
    };
    inode
        .parse()
        .is_ok_and(|inode| scan::owns_socket(pid, inode))
}

/// An end as /proc/net/tcp shows it: words of the address in host byte order.
fn hex(end: SocketAddr) -> String {
    let bytes = match end.ip() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let words: String = bytes
        .chunks_exact(4)
        .filter_map(|word| Some(u32::from_ne_bytes(word.try_into().ok()?)))
        .map(|word| format!("{word:08X}"))
        .collect();
    format!("{words}:{:04X}", end.port())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn arguments_of_docker_proxy() {
        let words = "/usr/bin/docker-proxy -proto tcp -host-ip :: -host-port 10001 -container-ip 172.17.0.2 -container-port 80";
        let cmdline = words.replace(' ', "\0");
        let proxy = parse(cmdline.as_bytes()).unwrap();
        assert_eq!(proxy.protocol, "tcp");
        assert_eq!(proxy.listens, "[::]:10001".parse().unwrap());
        assert_eq!(proxy.container, "172.17.0.2:80".parse().unwrap());
        assert_eq!(parse(b"/usr/bin/dockerd\0-host-ip\0::\0"), None);
        assert_eq!(parse(b"docker-proxy\0-host-ip\0"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn own_sockets_are_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let pid = std::process::id();
        assert!(owns(pid, "tcp", local, remote));
        assert!(!owns(pid, "tcp", local, local));
        assert!(!owns(pid, "udp", local, remote));
        assert!(!owns(1, "tcp", local, remote));
    }
}
