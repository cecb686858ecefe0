//! What an engine tells about a container, by its interface or in its files: both have the same shape.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;
use serde::Deserialize;

use crate::{
    model::{Attachment, Container, NetworkMode, Published, State},
    text::start_of,
};

/// A container's description. Every field may be missing.
#[derive(Clone, Debug, Default)]
pub struct Inspect {
    /// Full id.
    pub id: String,
    /// Name, perhaps with a leading slash.
    pub name: Option<String>,
    /// Image as it was named.
    pub image: Option<String>,
    /// Labels.
    pub labels: HashMap<String, String>,
    /// Running (paused ones too).
    pub running: bool,
    /// Paused.
    pub paused: bool,
    /// Init process; 0 for none.
    pub pid: Option<i64>,
    /// `HostConfig.NetworkMode`.
    pub network_mode: Option<String>,
    /// `NetworkSettings.Networks`.
    pub networks: HashMap<String, Place>,
    /// `NetworkSettings.Ports`: what is bound now.
    pub ports: HashMap<String, Vec<Binding>>,
    /// `HostConfig.PortBindings`: what shall be bound.
    pub port_bindings: HashMap<String, Vec<Binding>>,
    /// `Config.ExposedPorts`.
    pub exposed: Vec<String>,
    /// `HostConfig.Dns`.
    pub dns: Vec<String>,
    /// `HostConfig.Sysctls`.
    pub sysctls: HashMap<String, String>,
}

/// A container's place in a network.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Place {
    /// Network id.
    #[serde(rename = "NetworkID")]
    pub network_id: Option<String>,
    /// IPv4 gateway.
    pub gateway: Option<String>,
    /// IPv4 address.
    #[serde(rename = "IPAddress")]
    pub ip_address: Option<String>,
    /// IPv4 prefix length.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: Option<i64>,
    /// IPv6 address.
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: Option<String>,
    /// IPv6 prefix length.
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: Option<i64>,
    /// MAC address.
    pub mac_address: Option<String>,
}

/// A port of the host.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Binding {
    /// Address; empty for any.
    pub host_ip: Option<String>,
    /// Port; empty where the engine is to choose.
    pub host_port: Option<String>,
}

/// What an image says, as far as it is kept. It brings labels of any length, and each drop that is remembered names its ends.
#[must_use]
pub fn cut(name: &str) -> String {
    const LONGEST: usize = 255;
    start_of(name, LONGEST).to_owned()
}

impl Inspect {
    /// The container it describes.
    #[must_use]
    pub fn into_container(self) -> Container {
        let label = |names: &[&str]| {
            let label = names.iter().find_map(|name| self.labels.get(*name));
            label.map(|label| cut(label))
        };
        let mode = mode(self.network_mode.as_deref());
        let pid = self
            .pid
            .and_then(|pid| i32::try_from(pid).ok())
            .filter(|pid| *pid > 0);
        let state = match (self.running, self.paused) {
            (true, true) => State::Paused,
            (true, false) => State::Running,
            (false, _) => State::Stopped,
        };
        let mut exposed: Vec<(u16, String)> = self
            .exposed
            .iter()
            .chain(self.ports.keys())
            .filter_map(|port| port_and_protocol(port))
            .collect();
        exposed.sort();
        exposed.dedup();
        let bound = published(&self.ports);
        let mut attachments: Vec<Attachment> = match mode {
            // The engine lists a place in a network called `host` or `none`, which has nothing in it.
            NetworkMode::Host | NetworkMode::Container(_) => Vec::new(),
            NetworkMode::None | NetworkMode::Networks => self
                .networks
                .iter()
                .filter(|(name, _)| *name != "none")
                .map(|(name, place)| place.attachment(name))
                .collect(),
        };
        attachments.sort_by(|left, right| left.network.cmp(&right.network));
        let mut sysctls: Vec<(String, String)> = self.sysctls.clone().into_iter().collect();
        sysctls.sort();
        Container {
            name: match self
                .name
                .as_deref()
                .map(|name| name.trim_start_matches('/'))
            {
                Some(name) if !name.is_empty() => name.to_owned(),
                _ => self.id.chars().take(12).collect(),
            },
            project: label(&[
                "com.docker.compose.project",
                "com.docker.stack.namespace",
                "io.podman.compose.project",
            ]),
            service: label(&[
                "com.docker.compose.service",
                "com.docker.swarm.service.name",
            ]),
            image: self
                .image
                .filter(|image| !image.is_empty())
                .map(|image| cut(&image)),
            state,
            pid: if state == State::Stopped { None } else { pid },
            mode,
            netns: None,
            attachments,
            published: if bound.is_empty() {
                published(&self.port_bindings)
            } else {
                bound
            },
            exposed,
            dns: self.dns.iter().filter_map(|dns| dns.parse().ok()).collect(),
            sysctls,
            ended: None,
            id: self.id,
        }
    }
}

impl Place {
    fn attachment(&self, name: &str) -> Attachment {
        Attachment {
            network: name.to_owned(),
            network_id: self.network_id.clone().unwrap_or_default(),
            ipv4: prefix(self.ip_address.as_deref(), self.ip_prefix_len),
            ipv6: prefix(
                self.global_ipv6_address.as_deref(),
                self.global_ipv6_prefix_len,
            ),
            gateway: self.gateway.as_deref().and_then(|addr| addr.parse().ok()),
            mac: self
                .mac_address
                .as_deref()
                .filter(|mac| !mac.is_empty())
                .map(str::to_ascii_lowercase),
        }
    }
}

fn mode(text: Option<&str>) -> NetworkMode {
    match text {
        Some("host") => NetworkMode::Host,
        Some("none") => NetworkMode::None,
        Some(text) => match text.strip_prefix("container:") {
            Some(id) => NetworkMode::Container(id.to_owned()),
            None => NetworkMode::Networks,
        },
        None => NetworkMode::Networks,
    }
}

fn prefix(addr: Option<&str>, length: Option<i64>) -> Option<IpNet> {
    let addr: IpAddr = addr?.parse().ok()?;
    let longest = if addr.is_ipv4() { 32 } else { 128 };
    let length = length
        .and_then(|length| u8::try_from(length).ok())
        .filter(|length| (1..=longest).contains(length))
        .unwrap_or(longest);
    IpNet::new(addr, length).ok()
}

/// `80/tcp`; without a protocol it is TCP.
fn port_and_protocol(text: &str) -> Option<(u16, String)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    Some((port.parse().ok()?, protocol.to_ascii_lowercase()))
}

fn published(ports: &HashMap<String, Vec<Binding>>) -> Vec<Published> {
    let mut list: Vec<Published> = ports
        .iter()
        .filter_map(|(port, bindings)| Some((port_and_protocol(port)?, bindings)))
        .flat_map(|((container_port, protocol), bindings)| {
            bindings.iter().filter_map(move |binding| {
                let host_ip = match binding.host_ip.as_deref() {
                    None | Some("") => IpAddr::from([0, 0, 0, 0]),
                    Some(addr) => addr.parse().ok()?,
                };
                let host_port = binding.host_port.as_deref()?.parse().ok()?;
                (host_port != 0).then(|| Published {
                    host_ip,
                    host_port,
                    container_port,
                    protocol: protocol.clone(),
                })
            })
        })
        .collect();
    list.sort_by(|left, right| {
        (
            left.container_port,
            &left.protocol,
            left.host_ip,
            left.host_port,
        )
            .cmp(&(
                right.container_port,
                &right.protocol,
                right.host_ip,
                right.host_port,
            ))
    });
    list.dedup();
    list
}
