//! The engine's answers → the model.

use std::collections::HashMap;

use bollard::models::{
    ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum, EndpointSettings,
    EventMessage, EventMessageTypeEnum, Network as ApiNetwork, PortBinding,
};

use super::{Action, Binding, Event, Inspect, Place, cut};
use crate::model::{Container, Network, Subnet};

pub(crate) fn inspected(answer: ContainerInspectResponse) -> Option<Container> {
    let state = answer.state.unwrap_or_default();
    let config = answer.config.unwrap_or_default();
    let host = answer.host_config.unwrap_or_default();
    let settings = answer.network_settings.unwrap_or_default();
    let inspect = Inspect {
        id: answer.id.filter(|id| !id.is_empty())?,
        name: answer.name,
        image: config.image,
        labels: config.labels.unwrap_or_default(),
        // In a crash loop's pauses the engine says both, and there is no process.
        running: state.running.unwrap_or_default() && !state.restarting.unwrap_or_default(),
        paused: state.paused.unwrap_or_default(),
        pid: state.pid,
        network_mode: host.network_mode,
        networks: places(settings.networks),
        ports: bindings(settings.ports),
        port_bindings: bindings(host.port_bindings),
        exposed: config.exposed_ports.unwrap_or_default(),
        dns: host.dns.unwrap_or_default(),
        sysctls: host.sysctls.unwrap_or_default(),
    };
    Some(inspect.into_container())
}

pub(crate) fn listed(summary: ContainerSummary) -> Option<Container> {
    let running = matches!(
        summary.state,
        Some(
            ContainerSummaryStateEnum::RUNNING
                | ContainerSummaryStateEnum::PAUSED
                | ContainerSummaryStateEnum::STOPPING
        )
    );
    let mut ports: HashMap<String, Vec<Binding>> = HashMap::new();
    for port in summary.ports.unwrap_or_default() {
        let protocol = port.typ.map(|typ| typ.to_string()).unwrap_or_default();
        let bound = ports
            .entry(format!("{}/{protocol}", port.private_port))
            .or_default();
        if let Some(host_port) = port.public_port {
            bound.push(Binding {
                host_ip: port.ip,
                host_port: Some(host_port.to_string()),
            });
        }
    }
    let inspect = Inspect {
        id: summary.id.filter(|id| !id.is_empty())?,
        // Links (`--link`) add names such as /other/alias: the container's own has one slash.
        name: summary.names.and_then(|names| {
            let own = names
                .iter()
                .find(|name| !name.trim_start_matches('/').contains('/'));
            own.or(names.first()).cloned()
        }),
        image: summary.image,
        labels: summary.labels.unwrap_or_default(),
        running,
        paused: summary.state == Some(ContainerSummaryStateEnum::PAUSED),
        pid: None,
        network_mode: summary.host_config.and_then(|config| config.network_mode),
        networks: places(
            summary
                .network_settings
                .and_then(|settings| settings.networks),
        ),
        ports,
        ..Inspect::default()
    };
    Some(inspect.into_container())
}

fn places(networks: Option<HashMap<String, EndpointSettings>>) -> HashMap<String, Place> {
    networks
        .into_iter()
        .flatten()
        .map(|(name, settings)| {
            let place = Place {
                network_id: settings.network_id,
                gateway: settings.gateway,
                ip_address: settings.ip_address,
                ip_prefix_len: settings.ip_prefix_len,
                global_ipv6_address: settings.global_ipv6_address,
                global_ipv6_prefix_len: settings.global_ipv6_prefix_len,
                mac_address: settings.mac_address,
            };
            (name, place)
        })
        .collect()
}

fn bindings(
    ports: Option<HashMap<String, Option<Vec<PortBinding>>>>,
) -> HashMap<String, Vec<Binding>> {
    ports
        .into_iter()
        .flatten()
        .map(|(port, bindings)| {
            let bindings = bindings
                .into_iter()
                .flatten()
                .map(|binding| Binding {
                    host_ip: binding.host_ip,
                    host_port: binding.host_port,
                })
                .collect();
            (port, bindings)
        })
        .collect()
}

pub(crate) fn network(answer: ApiNetwork) -> Option<Network> {
    let id = answer.id.filter(|id| !id.is_empty())?;
    let name = answer.name.unwrap_or_else(|| id.clone());
    let driver = answer.driver.unwrap_or_default();
    let mut options: Vec<(String, String)> =
        answer.options.unwrap_or_default().into_iter().collect();
    options.sort();
    let option = |key: &str| {
        options
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    };
    let flag = |key: &str| option(key).is_none_or(|value| value.parse().unwrap_or(true));
    let bridge = (driver == "bridge").then(|| match option("com.docker.network.bridge.name") {
        Some(bridge) => bridge.to_owned(),
        None if name == "bridge" => "docker0".to_owned(),
        None => format!("br-{}", id.chars().take(12).collect::<String>()),
    });
    let subnets = answer
        .ipam
        .and_then(|ipam| ipam.config)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|config| {
            Some(Subnet {
                prefix: config.subnet?.parse::<ipnet::IpNet>().ok()?.trunc(),
                // Some versions give the gateway with a prefix length.
                gateway: config
                    .gateway
                    .and_then(|addr| addr.split('/').next()?.parse().ok()),
            })
        })
        .collect();
    Some(Network {
        bridge,
        parent: option("parent")
            .or_else(|| option("com.docker.network.parent"))
            .map(str::to_owned),
        subnets,
        internal: answer.internal.unwrap_or_default(),
        icc: flag("com.docker.network.bridge.enable_icc"),
        masquerade: flag("com.docker.network.bridge.enable_ip_masquerade"),
        gateway_mode: option("com.docker.network.bridge.gateway_mode_ipv4").map(str::to_owned),
        id,
        name,
        driver,
        options,
    })
}

/// None for events that say nothing about networks.
pub(crate) fn event(message: EventMessage) -> Option<Event> {
    let actor = message.actor.unwrap_or_default();
    let attributes = actor.attributes.unwrap_or_default();
    let attribute = |name: &str| attributes.get(name).filter(|text| !text.is_empty());
    let label = |name: &str| attribute(name).map(|text| cut(text));
    let action = message.action?;
    let of_container = message.typ == Some(EventMessageTypeEnum::CONTAINER);
    let action = match (of_container, action.as_str()) {
        (true, "create") => Action::Create,
        // Podman says `died` and `remove` where Docker says `die` and `destroy`.
        (true, "start") => Action::Start,
        (true, "die" | "died") => Action::Die,
        (true, "pause") => Action::Pause,
        (true, "unpause") => Action::Unpause,
        (true, "rename") => Action::Rename,
        (true, "destroy" | "remove") => Action::Destroy,
        (false, "connect") => Action::Connect,
        (false, "disconnect") => Action::Disconnect,
        (false, "create" | "destroy" | "remove") => Action::Networks,
        _ => return None,
    };
    let time = message.time_nano.map_or_else(
        || message.time.unwrap_or_default().to_string(),
        |nano| format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000),
    );
    Some(Event {
        action,
        container: if of_container {
            actor.id
        } else {
            attribute("container").cloned()
        },
        // A network's event has the network's name there.
        name: attribute("name").cloned().filter(|_| of_container),
        image: label("image").filter(|_| of_container),
        project: label("com.docker.compose.project")
            .or_else(|| label("com.docker.stack.namespace")),
        service: label("com.docker.compose.service")
            .or_else(|| label("com.docker.swarm.service.name")),
        time,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::model::{NetworkMode, State};

    #[test]
    fn every_field_is_optional() {
        assert!(inspected(serde_json::from_str("{}").unwrap()).is_none());
        let container = inspected(serde_json::from_str(r#"{"Id":"0123456789abcdef"}"#).unwrap());
        assert_eq!(container.unwrap().name, "0123456789ab");
        assert!(listed(serde_json::from_str("{}").unwrap()).is_none());
        assert!(network(serde_json::from_str("{}").unwrap()).is_none());
        assert!(event(serde_json::from_str("{}").unwrap()).is_none());
    }

    #[test]
    fn a_summary() {
        let summary = r#"{"Id":"abc","Names":["/db/alias","/web"],"Image":"nginx:1","State":"paused",
            "Ports":[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":10001,"Type":"tcp"},{"PrivatePort":443,"Type":"tcp"}],
            "HostConfig":{"NetworkMode":"container:def"}}"#;
        let container = listed(serde_json::from_str(summary).unwrap()).unwrap();
        assert_eq!(container.name, "web");
        assert_eq!(container.state, State::Paused);
        assert_eq!(container.mode, NetworkMode::Container("def".into()));
        assert_eq!(container.published.len(), 1);
    }

    #[test]
    fn a_network() {
        let text = r#"{"Id":"1a2b3c4d5e6f7890","Name":"shop","Driver":"bridge","Internal":true,
            "IPAM":{"Config":[{"Subnet":"172.18.0.0/16","Gateway":"172.18.0.1"},{"Subnet":"nonsense"}]},
            "Options":{"com.docker.network.bridge.enable_icc":"false"}}"#;
        let network = network(serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!(network.bridge.as_deref(), Some("br-1a2b3c4d5e6f"));
        assert!(network.internal && !network.icc && network.masquerade);
        assert_eq!(network.subnets.len(), 1);
    }

    #[test]
    fn events() {
        let die = r#"{"Type":"container","Action":"die","Actor":{"ID":"abc","Attributes":{"name":"web","image":"n"}},
            "time":1700000000,"timeNano":1700000000000000005}"#;
        let event_of = |text: &str| event(serde_json::from_str(text).unwrap());
        let found = event_of(die).unwrap();
        assert_eq!(found.action, Action::Die);
        assert_eq!(found.container.as_deref(), Some("abc"));
        assert_eq!(found.name.as_deref(), Some("web"));
        assert_eq!(found.time, "1700000000.000000005");
        let connect = r#"{"Type":"network","Action":"connect","Actor":{"ID":"n","Attributes":
            {"container":"abc","name":"bridge"}}}"#;
        let found = event_of(connect).unwrap();
        assert_eq!(found.action, Action::Connect);
        assert_eq!(found.container.as_deref(), Some("abc"));
        assert_eq!(found.name, None);
        assert_eq!(
            event_of(r#"{"Type":"container","Action":"exec_die"}"#),
            None
        );
    }
}
