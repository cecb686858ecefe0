//! `config.v2.json` and `hostconfig.json`, as Docker writes them for every container (since 1.10).

use std::{
    collections::HashMap,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde::Deserialize;

use crate::{
    host::{
        docker::{Binding, Inspect, Place},
        helper, regular,
    },
    model::{Container, Link, LinkKind, Network, Subnet},
};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct File {
    #[serde(rename = "ID")]
    id: Option<String>,
    name: Option<String>,
    state: Option<FileState>,
    config: Option<FileConfig>,
    network_settings: Option<FileNetworks>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct FileState {
    running: Option<bool>,
    paused: Option<bool>,
    pid: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct FileConfig {
    image: Option<String>,
    labels: Option<HashMap<String, String>>,
    exposed_ports: Option<HashMap<String, serde::de::IgnoredAny>>,
}

type Ports = HashMap<String, Option<Vec<Binding>>>;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct FileNetworks {
    networks: Option<HashMap<String, Option<Place>>>,
    ports: Option<Ports>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostFile {
    network_mode: Option<String>,
    port_bindings: Option<Ports>,
    dns: Option<Vec<String>>,
    sysctls: Option<HashMap<String, String>>,
}

/// The container that a folder describes (`<data-root>/containers/<id>`); none if it does not.
///
/// Its state is what the engine wrote last, which may be long ago: look at the process before believing it.
#[must_use]
pub fn read_container(folder: &Path) -> Option<Container> {
    let config = content(&folder.join("config.v2.json")).ok()?;
    let host = content(&folder.join("hostconfig.json")).unwrap_or_default();
    parse(&config, &host)
}

/// All containers below a data-root.
#[must_use]
pub fn read_containers(data_root: &Path) -> Vec<Container> {
    let folders: Vec<PathBuf> = match fs::read_dir(data_root.join("containers")) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(error) if is_forbidden(&error) => helper::engine_folder(data_root).unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    folders
        .iter()
        .filter_map(|folder| read_container(folder))
        .collect()
}

/// Much longer than such a file is.
const LONGEST: u64 = 16 << 20;

/// Files of an engine that is not root's are the helper's to open, if there is one.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    let file = match regular::file(path, true) {
        Err(error) if is_forbidden(&error) => helper::engine_file(path)?,
        other => other?,
    };
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn is_forbidden(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && helper::is_there()
}

pub(crate) fn parse(config: &[u8], host: &[u8]) -> Option<Container> {
    let file: File = serde_json::from_slice(config).ok()?;
    let host: HostFile = serde_json::from_slice(host).unwrap_or_default();
    let state = file.state.unwrap_or_default();
    let config = file.config.unwrap_or_default();
    let settings = file.network_settings.unwrap_or_default();
    let inspect = Inspect {
        id: file.id.filter(|id| !id.is_empty())?,
        name: file.name,
        image: config.image,
        labels: config.labels.unwrap_or_default(),
        running: state.running.unwrap_or_default(),
        paused: state.paused.unwrap_or_default(),
        pid: state.pid,
        network_mode: host.network_mode,
        networks: settings
            .networks
            .into_iter()
            .flatten()
            .map(|(name, place)| (name, place.unwrap_or_default()))
            .collect(),
        ports: flatten(settings.ports),
        port_bindings: flatten(host.port_bindings),
        exposed: config
            .exposed_ports
            .into_iter()
            .flatten()
            .map(|(port, _)| port)
            .collect(),
        dns: host.dns.unwrap_or_default(),
        sysctls: host.sysctls.unwrap_or_default(),
    };
    Some(inspect.into_container())
}

fn flatten(ports: Option<Ports>) -> HashMap<String, Vec<Binding>> {
    ports
        .into_iter()
        .flatten()
        .map(|(port, bindings)| (port, bindings.unwrap_or_default()))
        .collect()
}

/// The networks that containers tell of, without the engine: its own list is in a database that it keeps locked.
///
/// Subnets come from the containers' addresses, bridges from the host's links. Options are not known and take
/// their defaults.
#[must_use]
pub fn networks(containers: &[&Container], host_links: &[Link]) -> Vec<Network> {
    let mut found: HashMap<&str, Network> = HashMap::new();
    for attachment in containers
        .iter()
        .flat_map(|container| &container.attachments)
        .filter(|attachment| !attachment.network_id.is_empty())
    {
        let network = found
            .entry(attachment.network_id.as_str())
            .or_insert_with(|| {
                let bridge = bridge_of(&attachment.network, &attachment.network_id, host_links);
                Network {
                    id: attachment.network_id.clone(),
                    name: attachment.network.clone(),
                    driver: bridge
                        .as_ref()
                        .map(|_| "bridge".to_owned())
                        .unwrap_or_default(),
                    bridge,
                    parent: None,
                    subnets: Vec::new(),
                    internal: false,
                    icc: true,
                    masquerade: true,
                    gateway_mode: None,
                    options: Vec::new(),
                }
            });
        for prefix in attachment.ipv4.iter().chain(&attachment.ipv6) {
            let subnet = prefix.trunc();
            let known = network.subnets.iter().any(|known| known.prefix == subnet);
            if !known && subnet.prefix_len() < subnet.max_prefix_len() {
                network.subnets.push(Subnet {
                    prefix: subnet,
                    gateway: attachment.gateway.filter(|addr| subnet.contains(addr)),
                });
            }
        }
    }
    let mut networks: Vec<Network> = found.into_values().collect();
    for network in &mut networks {
        adopt_bridge(network, host_links);
    }
    networks.sort_by(|left, right| left.name.cmp(&right.name));
    networks
}

fn bridge_of(name: &str, id: &str, host_links: &[Link]) -> Option<String> {
    let wanted = if name == "bridge" {
        "docker0".to_owned()
    } else {
        format!("br-{}", id.get(..12)?)
    };
    host_links
        .iter()
        .any(|link| link.name == wanted)
        .then_some(wanted)
}

/// A bridge with a name of its own (`com.docker.network.bridge.name`) is the one that holds the gateway.
fn adopt_bridge(network: &mut Network, host_links: &[Link]) {
    if network.bridge.is_some() {
        return;
    }
    let holds = |link: &&Link| {
        link.kind == LinkKind::Bridge
            && link.addresses.iter().any(|address: &IpNet| {
                network
                    .subnets
                    .iter()
                    .any(|subnet| subnet.gateway == Some(address.addr()))
            })
    };
    if let Some(link) = host_links.iter().find(holds) {
        network.bridge = Some(link.name.clone());
        network.driver = "bridge".to_owned();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::model::{NetworkMode, State};

    const CONFIG: &str = r#"{"State":{"Running":true,"Paused":false,"Pid":4242},"ID":"2df2a7aa8382","Name":"/web",
        "Config":{"Image":"nginx:1","Labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"web"},
        "ExposedPorts":{"80/tcp":{}}},
        "NetworkSettings":{"Networks":{"bridge":{"NetworkID":"aaaaaaaaaaaabbbb","Gateway":"172.17.0.1",
        "IPAddress":"172.17.0.2","IPPrefixLen":16,"GlobalIPv6Address":"","MacAddress":"02:42:AC:11:00:02"},"gone":null},
        "Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"10001"}],"443/tcp":null}}}"#;
    const HOST: &str = r#"{"NetworkMode":"default","PortBindings":{"80/tcp":[{"HostIp":"","HostPort":""}]},
        "Dns":["192.0.2.53"],"Sysctls":{"net.ipv4.ip_forward":"0"}}"#;

    #[test]
    fn a_container() {
        let container = parse(CONFIG.as_bytes(), HOST.as_bytes()).unwrap();
        assert_eq!(container.name, "web");
        assert_eq!(container.image.as_deref(), Some("nginx:1"));
        assert_eq!(container.project.as_deref(), Some("shop"));
        assert_eq!(container.service.as_deref(), Some("web"));
        assert_eq!(container.state, State::Running);
        assert_eq!(container.pid, Some(4242));
        assert_eq!(container.mode, NetworkMode::Networks);
        assert_eq!(container.published.len(), 1);
        assert_eq!(
            container.published.first().unwrap().to_string(),
            "0.0.0.0:10001->80/tcp"
        );
        assert_eq!(
            container.exposed,
            [(80, "tcp".to_owned()), (443, "tcp".to_owned())]
        );
        assert_eq!(
            container.dns,
            ["192.0.2.53".parse::<std::net::IpAddr>().unwrap()]
        );
        let attachment = container.attachments.first().unwrap();
        assert_eq!(attachment.ipv4, Some("172.17.0.2/16".parse().unwrap()));
        assert_eq!(attachment.ipv6, None);
        assert_eq!(attachment.mac.as_deref(), Some("02:42:ac:11:00:02"));
        let networks = networks(&[&container], &[]);
        let network = networks
            .iter()
            .find(|network| network.name == "bridge")
            .unwrap();
        assert_eq!(
            network.subnets.first().unwrap().prefix,
            "172.17.0.0/16".parse().unwrap()
        );
    }

    #[test]
    fn broken_files() {
        assert!(parse(b"", b"").is_none());
        assert!(parse(b"{}", b"").is_none());
        assert!(parse(&CONFIG.as_bytes()[..100], b"").is_none());
        let container = parse(CONFIG.as_bytes(), b"{").unwrap();
        assert_eq!(container.name, "web");
        let minimal = parse(
            br#"{"ID":"0123456789abcdef","Config":null,"State":null}"#,
            b"",
        )
        .unwrap();
        assert_eq!(minimal.name, "0123456789ab");
        assert_eq!(minimal.state, State::Stopped);
    }
}
