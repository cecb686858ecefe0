//! What makes the engine build its network again: which engine it is decides.

use super::Verdict;
use crate::{
    inventory::EngineStatus,
    model::{Fix, Impact},
};

/// For Docker, as systemd's unit of its packages is called.
const RESTART: &str = "systemctl restart docker";
/// For Podman: its containers' networks, rules included.
const RELOAD: &str = "podman network reload --all";

impl Verdict {
    /// Adds the command that makes Docker build bridges, rules and routes again. Another engine's takes its place at the end ([`suit`]).
    pub(crate) fn restart_engine(self) -> Self {
        self.run(RESTART, "host", None, Impact::RestartsContainers)
    }
}

/// Puts what is right for this engine where a restart of Docker stands: Podman has no daemon, and that of a user is his own.
pub(crate) fn suit(fixes: &mut [Fix], engine: &EngineStatus) {
    let EngineStatus::Up {
        podman, rootless, ..
    } = engine
    else {
        return;
    };
    for fix in fixes {
        if !matches!(fix, Fix::Command { run, .. } if run == RESTART) {
            continue;
        }
        if *rootless {
            let how = if *podman {
                RELOAD
            } else {
                "systemctl --user restart docker"
            };
            *fix = Fix::Advice {
                advice: format!("as the user whose engine it is: {how}"),
            };
        } else if *podman {
            *fix = Fix::Command {
                run: RELOAD.into(),
                netns: "host".into(),
                persist: None,
                set_by: None,
                impact: Impact::Interrupts,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixes(podman: bool, rootless: bool) -> Vec<Fix> {
        let mut verdict = Verdict::confirmed("bridge-down", "gone").restart_engine();
        let engine = EngineStatus::Up {
            version: "28.5.2".into(),
            podman,
            rootless,
        };
        suit(&mut verdict.cause.fix, &engine);
        verdict.cause.fix
    }

    #[test]
    fn docker_is_not_restarted_where_there_is_none() {
        let text = |podman, rootless| format!("{:?}", fixes(podman, rootless));
        assert!(text(false, false).contains(RESTART));
        assert!(text(true, false).contains("podman network reload"));
        assert!(text(false, true).contains("systemctl --user"));
        for one in [text(true, false), text(false, true), text(true, true)] {
            assert!(!one.contains(RESTART), "{one}");
        }
    }
}
