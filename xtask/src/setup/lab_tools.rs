//! Programs the lab tests call.

use std::path::Path;

use anyhow::{Result, bail};

use super::apt;
use crate::process;

/// Program and the Debian package that has it.
const TOOLS: [(&str, &str); 12] = [
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("ebtables", "ebtables"),
    ("conntrack", "conntrack"),
    ("tcpdump", "tcpdump"),
    ("ip", "iproute2"),
    ("sysctl", "procps"),
    ("nsenter", "util-linux"),
    ("ethtool", "ethtool"),
    ("socat", "socat"),
    ("bpftool", "bpftool"),
    ("curl", "curl"),
];

/// Installs what is missing. Where apt is not, a sentence tells what is.
pub(crate) fn install() -> Result<()> {
    let mut missing: Vec<&str> = TOOLS
        .iter()
        .filter(|(program, _)| process::find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    // A busybox that needs no libraries: the lab makes its container image of it.
    if apt::is_here() && !apt::has("busybox-static") {
        missing.push("busybox-static");
    } else if process::find("busybox").is_none() {
        bail!("a static busybox is missing; the lab makes its container image of it");
    }
    missing.extend(firewall_managers());
    if missing.is_empty() {
        return Ok(());
    }
    apt::install(&missing, "the lab tests call them")
}

/// Tests run a real firewalld, on a message bus of its own, a real ufw and, in guests, IPVS. Where systemd runs, installing them would start them and
/// may change this machine's firewall: there it is left to who wants that, and the tests say that they did not run.
fn firewall_managers() -> Vec<&'static str> {
    if Path::new("/run/systemd/system").exists() || !apt::is_here() {
        return Vec::new();
    }
    [
        ("firewalld", "firewalld"),
        ("dbus-daemon", "dbus-daemon"),
        ("ufw", "ufw"),
        ("ipvsadm", "ipvsadm"),
    ]
    .into_iter()
    .filter(|(program, _)| process::find(program).is_none())
    .map(|(_, package)| package)
    .collect()
}
