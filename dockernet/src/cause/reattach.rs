//! A container's interface made anew.

use super::Verdict;
use crate::model::{Container, Impact};

impl Verdict {
    /// Adds the command that makes the engine give a container its interface, addresses and routes in a network again.
    pub(crate) fn reattach(self, container: &Container, network: &str) -> Self {
        let (run, impact) = command(container, network);
        self.run(run, "host", None, impact)
    }
}

/// The command, and what it does to what works now.
pub(super) fn command(container: &Container, network: &str) -> (String, Impact) {
    of(&container.name, container.service.is_some(), network)
}

/// Taken off the network and put on again; what Compose has made would lose its service's name by that, and is restarted.
fn of(name: &str, by_compose: bool, network: &str) -> (String, Impact) {
    if by_compose {
        return (format!("docker restart {name}"), Impact::RestartsContainers);
    }
    (
        format!(
            "docker network disconnect {network} {name} && docker network connect {network} {name}"
        ),
        Impact::Interrupts,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compose_has_made_keeps_its_services_name() {
        let plain = of("web", false, "lan").0;
        assert!(
            plain.starts_with("docker network disconnect lan web && "),
            "{plain}"
        );
        assert_eq!(of("web", true, "lan").0, "docker restart web");
    }
}
