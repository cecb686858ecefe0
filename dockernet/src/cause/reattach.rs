//! A container's interface made anew.

use super::Verdict;
use crate::model::{Container, Impact};

impl Verdict {
    /// Adds the command that makes the engine give a container its interfaces, addresses and routes again.
    pub(crate) fn reattach(self, container: &Container) -> Self {
        self.run(command(container), "host", None, Impact::RestartsContainers)
    }
}

/// Taken off a network and put on again it would lose the addresses and aliases that it was given there.
pub(super) fn command(container: &Container) -> String {
    format!("docker restart {}", container.name)
}
