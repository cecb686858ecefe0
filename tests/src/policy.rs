//! What a test needs, and what to say when it is missing.

use std::{fmt, io::Write};

use crate::exec::Cmd;

/// Why a test cannot run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first thing that the lab needs and this machine does not have.
#[must_use]
pub fn missing_requirement() -> Option<Refusal> {
    if !nix::unistd::geteuid().is_root() {
        return Some(Refusal("the lab needs root".into()));
    }
    for (program, package) in [
        ("dockerd", "docker.io"),
        ("docker", "docker.io"),
        ("containerd", "containerd"),
        ("nsenter", "util-linux"),
        ("ip", "iproute2"),
        ("iptables", "iptables"),
        ("nft", "nftables"),
        ("tar", "tar"),
    ] {
        let found = Cmd::shell(format!("command -v {program}")).output();
        if !found.is_ok_and(|output| output.success()) {
            return Some(Refusal(format!(
                "{program} is not in PATH: `apt-get install {package}`"
            )));
        }
    }
    None
}

/// One line on standard error about a long step.
pub fn progress(text: &str) {
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr, "  {text}").ok();
}
