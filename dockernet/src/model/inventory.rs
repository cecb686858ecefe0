//! Containers, networks, namespaces and links as the inventory holds them.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Identifies a network namespace for its lifetime.
///
/// `SO_NETNS_COOKIE` (5.14+; `net->net_cookie`) is never reused; before that the inode number is all there is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct NetnsKey(pub u64);

/// State of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum State {
    /// Running.
    Running,
    /// Paused (frozen).
    Paused,
    /// Created, exited or dead.
    Stopped,
}

impl State {
    /// As every output writes it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// How a container got its network.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NetworkMode {
    /// Attached to networks of the engine.
    Networks,
    /// The host's namespace.
    Host,
    /// A namespace with nothing in it (perhaps wired by hand).
    None,
    /// Another container's namespace; its full id.
    Container(String),
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Full id.
    pub id: String,
    /// Name without the leading slash.
    pub name: String,
    /// Image as it was named at start.
    pub image: Option<String>,
    /// Compose project.
    pub project: Option<String>,
    /// Compose service.
    pub service: Option<String>,
    /// State.
    pub state: State,
    /// Init process.
    pub pid: Option<i32>,
    /// Network mode.
    pub mode: NetworkMode,
    /// Its namespace, once its process has been looked at.
    pub netns: Option<NetnsKey>,
    /// Networks it is attached to.
    pub attachments: Vec<Attachment>,
    /// Published ports.
    pub published: Vec<Published>,
    /// Exposed ports: port, protocol (`tcp`, `udp`, `sctp`).
    pub exposed: Vec<(u16, String)>,
    /// DNS servers given with `--dns`.
    pub dns: Vec<IpAddr>,
    /// Sysctls given with `--sysctl`.
    pub sysctls: Vec<(String, String)>,
    /// When it was seen to end; kept for a while as a tombstone.
    #[serde(with = "ended")]
    pub ended: Option<std::time::Instant>,
}

impl Container {
    /// Whether it is neither stopped nor gone.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.ended.is_none() && self.state != State::Stopped
    }
}

/// A container's place in a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Network name.
    pub network: String,
    /// Network id.
    pub network_id: String,
    /// Address and prefix as the engine gave it.
    pub ipv4: Option<IpNet>,
    /// Address and prefix as the engine gave it.
    pub ipv6: Option<IpNet>,
    /// IPv4 gateway.
    pub gateway: Option<IpAddr>,
    /// MAC address, lower case with colons.
    pub mac: Option<String>,
}

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Published {
    /// Address on the host; `0.0.0.0` or `::` for any.
    pub host_ip: IpAddr,
    /// Port on the host.
    pub host_port: u16,
    /// Port in the container.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

impl std::fmt::Display for Published {
    /// As the JSON contract shows it: `0.0.0.0:10001->80/tcp`, `[::]:10001->80/tcp`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}->{}/{}",
            std::net::SocketAddr::new(self.host_ip, self.host_port),
            self.container_port,
            self.protocol
        )
    }
}

/// A subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Prefix.
    pub prefix: IpNet,
    /// Gateway.
    pub gateway: Option<IpAddr>,
}

/// A network of the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Full id.
    pub id: String,
    /// Name.
    pub name: String,
    /// `bridge`, `macvlan`, `ipvlan`, `overlay`, `host`, `null` …
    pub driver: String,
    /// Bridge device, e.g. `docker0`, `br-1a2b3c4d5e6f` or the `com.docker.network.bridge.name` option.
    pub bridge: Option<String>,
    /// macvlan/ipvlan parent device.
    pub parent: Option<String>,
    /// Subnets.
    pub subnets: Vec<Subnet>,
    /// `--internal`.
    pub internal: bool,
    /// `com.docker.network.bridge.enable_icc`.
    pub icc: bool,
    /// `com.docker.network.bridge.enable_ip_masquerade`.
    pub masquerade: bool,
    /// `com.docker.network.bridge.gateway_mode_ipv4`, where given.
    pub gateway_mode: Option<String>,
    /// All driver options, as the engine tells them.
    pub options: Vec<(String, String)>,
}

impl Network {
    /// Whether what it publishes in IPv4 is translated: not routed, nor cut off.
    #[must_use]
    pub fn is_nat(&self) -> bool {
        let mode = self.gateway_mode.as_deref();
        mode.is_none_or(|mode| mode.starts_with("nat"))
    }

    /// Whether Docker gives its bridge no address of an IP version.
    #[must_use]
    pub fn is_without_address(&self, ipv6: bool) -> bool {
        if ipv6 {
            return self.option("com.docker.network.bridge.gateway_mode_ipv6") == Some("isolated");
        }
        self.gateway_mode.as_deref() == Some("isolated")
            || self.option("com.docker.network.bridge.inhibit_ipv4") == Some("true")
    }

    /// What it was made with, by the option's whole name.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        let mut options = self.options.iter();
        let (_, value) = options.find(|(key, _)| key == name)?;
        Some(value)
    }
}

/// Kind of a link, as far as causes care.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LinkKind {
    /// veth.
    Veth,
    /// Bridge.
    Bridge,
    /// Loopback.
    Loopback,
    /// macvlan, ipvlan, vxlan, tun …: as rtnetlink names it; empty for a physical device.
    Other(String),
}

impl LinkKind {
    /// Whether it is a device of the machine's own, or a virtual machine's.
    #[must_use]
    pub fn is_physical(&self) -> bool {
        matches!(self, Self::Other(kind) if kind.is_empty())
    }

    /// Whether it is the tunnel of an overlay network.
    #[must_use]
    pub fn is_vxlan(&self) -> bool {
        matches!(self, Self::Other(kind) if kind == "vxlan")
    }
}

impl LinkKind {
    /// As every output writes it; empty for a physical device.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Veth => "veth",
            Self::Bridge => "bridge",
            Self::Loopback => "loopback",
            Self::Other(name) => name,
        }
    }
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Index.
    pub ifindex: u32,
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: LinkKind,
    /// Bridge (or bond …) that it is a port of.
    pub master: Option<u32>,
    /// `IFLA_LINK`: for a veth its peer's index, for macvlan the parent's.
    pub peer_ifindex: Option<u32>,
    /// `IFLA_LINK_NETNSID`: the peer is in another namespace (its id as seen from here).
    pub peer_netnsid: Option<i32>,
    /// MAC address, lower case with colons.
    pub mac: Option<String>,
    /// MTU in bytes.
    pub mtu: u32,
    /// `IFF_UP`.
    pub up: bool,
    /// `IFF_LOWER_UP`: carrier.
    pub carrier: bool,
    /// Addresses with prefix.
    pub addresses: Vec<IpNet>,
}

/// Who owns a network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Owner {
    /// The namespace taken as the host.
    Host,
    /// Containers, by full id: the one that made it first.
    Containers(Vec<String>),
    /// `ip netns` name (a file in /run/netns).
    Named(String),
    /// A sandbox of the engine without a container of its own (ingress_sbox, lb_…).
    EngineSandbox(String),
    /// A process.
    Process {
        /// Its pid.
        pid: i32,
        /// Its name (`comm`).
        comm: String,
    },
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetnsInfo {
    /// Key.
    pub key: NetnsKey,
    /// Inode number.
    pub inum: u32,
    /// Owner.
    pub owner: Owner,
    /// A file that opens it, e.g. `/proc/1234/ns/net` or `/run/netns/blue`.
    pub path: std::path::PathBuf,
    /// Whether it is in scope without `--scope all`: host, container, engine sandbox, or wired by veth to a
    /// bridge of the host.
    pub near: bool,
    /// Its links.
    pub links: Vec<Link>,
}

/// In a recording: how many milliseconds ago it ended.
mod ended {
    use std::time::{Duration, Instant};

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(
        ended: &Option<Instant>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let ago = ended.map(|ended| ended.elapsed().as_millis());
        ago.map(|ago| u64::try_from(ago).unwrap_or(u64::MAX))
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Instant>, D::Error> {
        let ago = Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis);
        Ok(ago.map(|ago| {
            let now = Instant::now();
            now.checked_sub(ago).unwrap_or(now)
        }))
    }
}
