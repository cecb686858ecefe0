//! Published ports.

use std::net::IpAddr;

use super::Inventory;
use crate::model::{Container, Published, State};

impl Inventory {
    /// The published port behind `host_ip:host_port`. An exact address beats a wildcard, a running container one that
    /// is stopped. `protocol` is `tcp`, `udp` or `sctp`.
    #[must_use]
    pub fn published(
        &self,
        protocol: &str,
        host_ip: IpAddr,
        host_port: u16,
    ) -> Option<(&Container, &Published)> {
        let host_ip = host_ip.to_canonical();
        self.published_on(protocol, host_port)
            .filter(|(_, published)| matches(published.host_ip, host_ip))
            .min_by_key(|(container, published)| {
                (
                    container.state == State::Stopped,
                    published.host_ip != host_ip,
                )
            })
    }

    /// Everything published on a port, whatever the address (e.g. only on 127.0.0.1).
    pub fn published_on(
        &self,
        protocol: &str,
        host_port: u16,
    ) -> impl Iterator<Item = (&Container, &Published)> {
        self.published
            .get(&(protocol.to_owned(), host_port))
            .into_iter()
            .flatten()
            .filter_map(|(id, place)| {
                let container = self.containers.get(id)?;
                Some((container.as_ref(), container.published.get(*place)?))
            })
    }

    /// What a container publishes of one of its ports.
    #[must_use]
    pub fn published_to(
        &self,
        container: &str,
        protocol: &str,
        container_port: u16,
    ) -> Vec<&Published> {
        self.container(container)
            .map_or_else(Vec::new, |container| {
                container
                    .published
                    .iter()
                    .filter(|published| {
                        published.container_port == container_port && published.protocol == protocol
                    })
                    .collect()
            })
    }
}

/// `::` serves IPv4 too only where the engine says so with a `0.0.0.0` entry of its own; Docker always does.
fn matches(bound: IpAddr, asked: IpAddr) -> bool {
    bound == asked || (bound.is_unspecified() && bound.is_ipv4() == asked.is_ipv4())
}
