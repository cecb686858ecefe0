//! What about this host's engine is named, and not judged.

use super::{EngineStatus, Inventory};

impl Inventory {
    /// One sentence each: an engine without root, and Swarm's ingress.
    #[must_use]
    pub fn caveats(&self) -> Vec<String> {
        let mut all = Vec::new();
        if matches!(self.status, EngineStatus::Up { rootless: true, .. }) {
            all.push(
                "the engine runs without root: its networks are in a namespace of its own, and published ports come in by a \
                 proxy (rootless-engine); to see them: --netns /proc/PID/ns/net with the pid of its dockerd"
                    .into(),
            );
        }
        let mut networks = self.networks();
        if networks.any(|network| network.driver == "overlay" && network.name == "ingress") {
            all.push(
                "Swarm's ingress spreads published ports over the nodes (IPVS, swarm-ingress): whether its tasks answer is not seen"
                    .into(),
            );
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{inventory::Parts, model::Network};

    fn network(name: &str, driver: &str) -> Arc<Network> {
        Arc::new(Network {
            id: name.into(),
            name: name.into(),
            driver: driver.into(),
            bridge: None,
            parent: None,
            subnets: Vec::new(),
            internal: false,
            icc: true,
            masquerade: true,
            gateway_mode: None,
            options: Vec::new(),
        })
    }

    fn caveats(rootless: bool, networks: Vec<Arc<Network>>) -> Vec<String> {
        Inventory::new(Parts {
            status: EngineStatus::Up {
                version: "28".into(),
                podman: false,
                rootless,
            },
            networks,
            ..Parts::default()
        })
        .caveats()
    }

    #[test]
    fn swarm_and_rootless_engines_are_named() {
        let plain = vec![network("bridge", "bridge"), network("backend", "overlay")];
        assert_eq!(caveats(false, plain), Vec::<String>::new());
        let swarm = caveats(false, vec![network("ingress", "overlay")]);
        assert!(swarm.len() == 1 && swarm[0].contains("swarm-ingress"));
        let rootless = caveats(true, Vec::new());
        assert!(rootless.len() == 1 && rootless[0].contains("rootless-engine"));
    }
}
