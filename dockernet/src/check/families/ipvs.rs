//! Virtual services with nobody behind them: the host's own, and those of Swarm's ingress.

use std::{io, path::Path};

use crate::{
    cause::ipvs::no_server,
    check::{Finding, Grade, Sight, Subject},
    host::netns::NetnsHandle,
};

/// Where the engine keeps the namespace of Swarm's ingress (libnetwork's `ingress_sbox`).
const INGRESS: &str = "/run/docker/netns/ingress_sbox";

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = services(sight, &sight.host.handle, &sight.host.enter);
    match sight.state.open(Path::new(INGRESS)) {
        Ok(ingress) => found.extend(services(
            sight,
            &ingress,
            &format!("nsenter --net={INGRESS} "),
        )),
        // No Swarm here.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => sight.unread(
            Subject::engine(),
            "the virtual services of Swarm's ingress",
            &anyhow::Error::new(error).context(INGRESS),
        ),
    }
    found
}

fn services(sight: &Sight<'_>, netns: &NetnsHandle, enter: &str) -> Vec<Finding> {
    let services = match sight.state.ipvs(netns) {
        Ok(services) => services,
        Err(error) => {
            sight.unread(Subject::host(), "IPVS' virtual services", &error);
            return Vec::new();
        }
    };
    services
        .iter()
        .filter(|service| service.ready == 0)
        .map(|service| {
            let verdict = no_server(service, &format!("{enter}ipvsadm -L -n"));
            // kube-proxy keeps the services of what is scaled to nothing, on a device of its own.
            let by_kube = enter.is_empty() && sight.host.link("kube-ipvs0").is_some();
            let grade = if by_kube { Grade::Note } else { Grade::Broken };
            Finding::new(grade, Subject::host(), verdict)
        })
        .collect()
}
