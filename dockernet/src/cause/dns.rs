//! A container's name server that cannot be reached.

use std::net::IpAddr;

use super::{Case, Verdict};
use crate::model::EndpointKind;

/// Row 78. The engine's embedded server asks from inside the container's namespace, so the question bears the
/// container's address.
pub(super) fn upstream_unreachable(case: &Case<'_>, underlying: &Verdict) -> Option<Verdict> {
    /// What stops one flow rather than all that the host forwards: those keep their own name.
    const SELECTIVE: &[&str] = &[
        "docker-user-drop",
        "forward-drop",
        "foreign-drop",
        "network-isolation",
        "no-route",
        "route-rejects",
        "container-firewall-drop",
        "host-input-drop",
    ];
    const DOMAIN: u16 = 53;
    let packet = case.packet()?;
    if packet.dst_port != Some(DOMAIN)
        || case.evidence.drop.source.kind != EndpointKind::Container
        || !SELECTIVE.contains(&underlying.cause.id.as_ref())
    {
        return None;
    }
    let name = &case.evidence.drop.source.container.as_ref()?.name;
    let container = case.inventory.container_named(name)?;
    let server = case
        .evidence
        .drop
        .ends()
        .destination
        .map(|(address, _)| address)?;
    if !is_upstream(case, container.pid, &container.dns, server) {
        return None;
    }
    let mut verdict = Verdict::when(
        underlying.cause.confidence == crate::model::Confidence::Confirmed,
        "dns-upstream-unreachable",
        format!(
            "{name} cannot reach its name server {server}: {}",
            underlying.cause.summary
        ),
    )
    .fact(format!("{server} is a name server of {name}"));
    verdict
        .cause
        .evidence
        .extend(underlying.cause.evidence.iter().cloned());
    verdict
        .cause
        .fix
        .extend(underlying.cause.fix.iter().cloned());
    verdict.rule.clone_from(&underlying.rule);
    Some(verdict.advise("or give the container another server: --dns ADDRESS, or \"dns\" in /etc/docker/daemon.json"))
}

fn is_upstream(case: &Case<'_>, pid: Option<i32>, given: &[IpAddr], server: IpAddr) -> bool {
    if given.contains(&server) {
        return true;
    }
    let own = pid
        .and_then(|pid| u32::try_from(pid).ok())
        .and_then(|pid| case.state.resolver(Some(pid)).ok());
    let host = case.state.resolver(None).unwrap_or_default();
    own.is_some_and(|own| {
        own.nameservers.contains(&server)
            || own
                .upstreams_or_host(&host)
                .iter()
                .any(|upstream| upstream.address == server)
    })
}
