//! From a sign to a cause: what the live state says of it, or nothing.

mod masquerade;
mod paused;
mod queues;
mod stale;
mod untranslated;
mod uplink;
mod way_out;

use std::{
    net::{IpAddr, SocketAddr},
    thread,
    time::Duration,
};

use anyhow::Result;

use super::signs::Sign;
use crate::{
    cause::{Verdict, suit},
    host::netns::NetnsHandle,
    inventory::Inventory,
    model::{Container, Endpoint, EndpointKind, NetnsInfo, NetnsKey},
};

/// Routes and rules are taken away and put back by the engine while it connects networks or restarts: what is missing is
/// still missing so much later.
const PASSING: Duration = Duration::from_millis(300);

/// What every judge needs.
pub(super) struct Case<'a> {
    /// Who is who.
    pub inventory: &'a Inventory,
    /// The namespace taken as the host.
    pub host: &'a NetnsHandle,
    /// Where the sign was seen.
    pub info: &'a NetnsInfo,
    /// How many events made it.
    pub events: u64,
    /// Since when, at most.
    pub since: Duration,
}

/// A failure that is going on.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Why.
    pub verdict: Verdict,
    /// Who begins.
    pub source: Endpoint,
    /// Who is not reached, or does not answer.
    pub destination: Endpoint,
    /// The published port that it is about.
    pub published: Option<String>,
    /// The device that it is about.
    pub device: Option<String>,
    /// How many events its line stands for.
    pub events: u64,
    /// It is the host's own, and no container's.
    pub is_hosts_own: bool,
}

/// What is behind a sign.
///
/// # Errors
/// What would tell cannot be read.
pub(super) fn judge(case: &Case<'_>, sign: Sign) -> Result<Vec<Found>> {
    let mut found = once(case, sign)?;
    let passes = matches!(sign, Sign::NoRoute | Sign::Unanswered | Sign::Served);
    if !found.is_empty() && passes {
        thread::sleep(PASSING);
        found = once(case, sign)?;
    }
    for found in &mut found {
        suit(&mut found.verdict.cause.fix, case.inventory.engine_status());
    }
    Ok(found)
}

fn once(case: &Case<'_>, sign: Sign) -> Result<Vec<Found>> {
    match sign {
        Sign::NoRoute => way_out::judge(case),
        Sign::AcceptQueue => queues::accept(case),
        Sign::SynQueue => queues::syn(case),
        Sign::Unanswered => masquerade::judge(case),
        Sign::Frozen => paused::judge(case),
        Sign::Served => untranslated::judge(case),
        Sign::Udp => stale::judge(case),
        Sign::Missed(index) => Ok(uplink::missed(case, index)),
        Sign::Xdp(index) => uplink::xdp(case, index),
    }
}

impl<'a> Case<'a> {
    /// The key of the namespace.
    fn key(&self) -> NetnsKey {
        self.info.key
    }

    /// The container that made the namespace; none for the host's.
    pub(super) fn container(&self) -> Option<&'a Container> {
        self.inventory
            .containers_in(self.info.key)
            .find(|container| container.ended.is_none())
    }

    /// A container as an end, on its first network.
    fn end(&self, container: &Container) -> Endpoint {
        Endpoint {
            kind: EndpointKind::Container,
            container: Some(self.inventory.container_ref(container)),
            network: container
                .attachments
                .first()
                .map(|attachment| attachment.network.clone()),
        }
    }

    /// What a socket of a container is published as, first of all for the IP version of its address.
    fn published(
        &self,
        container: &Container,
        protocol: &str,
        local: SocketAddr,
    ) -> Option<String> {
        let (id, port) = (&container.id, local.port());
        let all = self.inventory.published_to(id, protocol, port);
        // An IPv6 socket that takes IPv4 too has such addresses.
        let is_ipv4 = local.ip().to_canonical().is_ipv4();
        let mut alike = all.iter().filter(|one| one.host_ip.is_ipv4() == is_ipv4);
        // `::` may take both.
        let suits = match local.ip() {
            IpAddr::V6(six) if six.is_unspecified() => None,
            _ => alike.next(),
        };
        Some(suits.or(all.first())?.to_string())
    }

    /// A finding about somebody who comes to a container.
    fn to(&self, container: &Container, verdict: Verdict) -> Found {
        Found {
            verdict,
            source: Endpoint::default(),
            destination: self.end(container),
            published: None,
            device: None,
            events: self.events,
            is_hosts_own: false,
        }
    }

    /// A finding about a container that asks the outside.
    fn from(&self, container: &Container, verdict: Verdict) -> Found {
        Found {
            source: self.end(container),
            destination: Endpoint {
                kind: EndpointKind::External,
                ..Endpoint::default()
            },
            ..self.to(container, verdict)
        }
    }
}
