//! Networks in routed mode.

use std::net::SocketAddr;

use super::{Case, Verdict};
use crate::model::Network;

/// Row 28: on a network in routed mode a published port is opened on the container's own address only.
pub(super) fn host_port(case: &Case<'_>, protocol: &str, port: u16) -> Option<Verdict> {
    let ipv6 = case.is_ipv6();
    case.inventory
        .published_on(protocol, port)
        .filter(|(container, _)| container.runs())
        .find_map(|(container, published)| {
            let (attachment, network) = container.attachments.iter().find_map(|attachment| {
                let network = case.inventory.network(&attachment.network)?;
                is_routed(network, ipv6).then_some((attachment, network))
            })?;
            let name = &container.name;
            let inside = published.container_port;
            let address = if ipv6 { attachment.ipv6 } else { attachment.ipv4 };
            let own = address.map_or_else(|| name.clone(), |net| SocketAddr::new(net.addr(), inside).to_string());
            Some(
                Verdict::confirmed(
                    "routed-mode-host-port",
                    format!("{name} is on {}, a network in routed mode: its port {inside} is not to be had at the host's address", network.name),
                )
                .fact(format!("{} has gateway_mode_{} = routed", network.name, if ipv6 { "ipv6" } else { "ipv4" }))
                .fact(format!("no {protocol} socket on port {port} of the host, and no rule that translates it"))
                .advise(format!(
                    "ask for {own}, and let other machines route {} by this host; or recreate {} with gateway_mode nat",
                    address.map_or_else(|| "its subnet".to_owned(), |net| net.trunc().to_string()),
                    network.name
                )),
            )
        })
}

fn is_routed(network: &Network, ipv6: bool) -> bool {
    if ipv6 {
        let mut options = network.options.iter();
        return options.any(|(key, value)| key.ends_with("gateway_mode_ipv6") && value == "routed");
    }
    network.gateway_mode.as_deref() == Some("routed")
}
