//! The map as JSON consumers see it. Absent means `null`, never a missing key.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

/// Who is plugged in where.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", rename = "map")]
pub struct Map {
    /// Version of this layout.
    pub schema: u32,
    /// The engine's version, while it answers.
    pub docker: Option<String>,
    /// Where the engine was asked, without user name and password.
    pub docker_host: String,
    /// What could not be learnt, a sentence each.
    pub degraded: Vec<String>,
    /// Networks of the engine.
    pub networks: Vec<Net>,
    /// Network namespaces with their interfaces, the host's first.
    pub namespaces: Vec<Namespace>,
    /// Containers that are in no namespace: those that do not run.
    pub not_running: Vec<Member>,
}

/// A network of the engine.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Net {
    /// Name.
    pub name: String,
    /// Full id.
    pub id: String,
    /// Driver.
    pub driver: String,
    /// Bridge device on the host.
    pub bridge: Option<String>,
    /// macvlan or ipvlan parent on the host.
    pub parent: Option<String>,
    /// Without a way out.
    pub internal: bool,
    /// Subnets.
    pub subnets: Vec<Range>,
    /// Names of the containers that are attached and run.
    pub containers: Vec<String>,
    /// What does not fit.
    pub problems: Vec<Problem>,
}

/// A subnet.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Range {
    /// Prefix.
    #[cfg_attr(test, schemars(with = "String"))]
    pub prefix: IpNet,
    /// Gateway.
    pub gateway: Option<IpAddr>,
}

/// Whose namespace it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "NamespaceOwner"))]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The host's.
    Host,
    /// A container's.
    Container,
    /// One with a name in /run/netns.
    Named,
    /// One of the engine's own.
    Sandbox,
    /// A process's.
    Process,
}

/// A network namespace.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Namespace {
    /// Inode number.
    pub inum: u32,
    /// Whose it is.
    pub owner: Kind,
    /// `host`, the first container's name, the `ip netns` name or the process.
    pub name: String,
    /// Containers in it, the one that made it first.
    pub containers: Vec<Member>,
    /// Interfaces other than loopback.
    pub interfaces: Vec<Interface>,
    /// What does not fit and is no interface's.
    pub problems: Vec<Problem>,
}

/// A container.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Member {
    /// Full id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Image.
    pub image: Option<String>,
    /// Compose project.
    pub project: Option<String>,
    /// Compose service.
    pub service: Option<String>,
    /// `running`, `paused` or `stopped`.
    pub state: &'static str,
    /// `networks`, `host`, `none` or `container`.
    pub mode: &'static str,
    /// Names of the networks it is attached to.
    pub networks: Vec<String>,
    /// Published ports: `0.0.0.0:10001->80/tcp`.
    pub published: Vec<String>,
}

/// An interface, its other end and what both are plugged into.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Interface {
    /// The device.
    #[serde(flatten)]
    pub device: Device,
    /// Network of the engine that it belongs to.
    pub network: Option<String>,
    /// Gateway that the engine gave the container on that network.
    pub gateway: Option<IpAddr>,
    /// The other end of a veth pair.
    pub peer: Option<End>,
    /// What a macvlan, ipvlan or VLAN sits on.
    pub parent: Option<End>,
    /// The bridge that it is a port of, in its own namespace.
    pub port: Option<Port>,
    /// What does not fit.
    pub problems: Vec<Problem>,
}

/// A network device.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Device {
    /// Name.
    pub name: String,
    /// Index in its namespace.
    pub ifindex: u32,
    /// `veth`, `bridge`, `macvlan` …; `device` for a physical one.
    pub kind: String,
    /// MAC address.
    pub mac: Option<String>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Set up by the administrator.
    pub up: bool,
    /// Has carrier.
    pub carrier: bool,
    /// Addresses.
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub addresses: Vec<IpNet>,
}

/// A device in a namespace that may be another.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct End {
    /// Inode number of its namespace.
    pub netns: u32,
    /// Name of its namespace.
    pub owner: String,
    /// The device.
    #[serde(flatten)]
    pub device: Device,
    /// The bridge that it is a port of.
    pub port: Option<Port>,
}

/// A place in a bridge.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Port {
    /// The bridge.
    pub bridge: Device,
    /// What the spanning tree lets the port do: `forwarding`, `blocking` …
    pub state: Option<String>,
    /// Sends frames back by the port that they came in by.
    pub hairpin: Option<bool>,
    /// Exchanges nothing with other isolated ports.
    pub isolated: Option<bool>,
}

/// Something that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Problem {
    /// What kind, for scripts.
    pub id: &'static str,
    /// In words.
    pub text: String,
}

impl Interface {
    /// The bridge at the end of the cable, with the namespace that it is in (`None`: the interface's own).
    #[must_use]
    pub fn bridge(&self) -> Option<(Option<u32>, &Port)> {
        match (&self.port, &self.peer) {
            (Some(port), _) => Some((None, port)),
            (None, Some(peer)) => Some((Some(peer.netns), peer.port.as_ref()?)),
            (None, None) => None,
        }
    }
}
