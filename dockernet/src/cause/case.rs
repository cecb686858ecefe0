//! What a cause's test may ask.

use std::{net::IpAddr, rc::Rc};

use dockernet_common::record::{Settings, UNREAD};

use super::{Addresses, FirewallCache, Verdict};
use crate::{
    evidence::Evidence,
    host::{
        firewall::{Firewall, Traced},
        netns::NetnsHandle,
        state::HostState,
        sysctl,
    },
    inventory::Inventory,
    model::{Container, Impact, Link, NetnsKey, NetnsOwner, Packet},
};

/// One drop, and everything that can be asked about it.
pub struct Case<'a> {
    /// The drop.
    pub evidence: &'a Evidence,
    /// Who is who.
    pub inventory: &'a Inventory,
    /// Live state.
    pub state: &'a dyn HostState,
    /// Rulesets.
    pub firewalls: &'a FirewallCache,
    /// The namespace taken as the host.
    pub host: &'a NetnsHandle,
    /// The rule that the kernel named for this flow (`--trace-rules`).
    pub traced: Option<&'a Traced>,
}

impl<'a> Case<'a> {
    pub(super) fn settings(&self) -> &Settings {
        &self.evidence.record.settings
    }

    pub(super) fn packet(&self) -> Option<&'a Packet> {
        self.evidence.drop.packet.as_ref()
    }

    pub(super) fn src(&self) -> Option<IpAddr> {
        self.packet()?.src
    }

    pub(super) fn dst(&self) -> Option<IpAddr> {
        self.packet()?.dst
    }

    /// IP protocol number, where the packet's name for it is one of those that policy rules and filters ask for.
    pub(super) fn protocol(&self) -> Option<u8> {
        match self.packet()?.protocol.as_ref() {
            "icmp" => Some(1),
            "igmp" => Some(2),
            "tcp" => Some(6),
            "udp" => Some(17),
            "icmpv6" => Some(58),
            "sctp" => Some(132),
            number => number.parse().ok(),
        }
    }

    pub(super) fn is_ipv6(&self) -> bool {
        self.evidence.record.ethertype == 0x86dd
    }

    pub(super) fn device(&self) -> &'a str {
        self.evidence.drop.device.as_deref().unwrap_or("")
    }

    /// The interface that the packet came in by; the device it is on if that is the same or not known.
    pub(super) fn ingress(&self) -> &'a str {
        self.evidence
            .drop
            .ingress_device
            .as_deref()
            .unwrap_or_else(|| self.device())
    }

    pub(super) fn in_host(&self) -> bool {
        self.evidence.drop.netns.owner == NetnsOwner::Host
    }

    pub(super) fn in_container(&self) -> bool {
        self.evidence.drop.netns.owner == NetnsOwner::Container
    }

    /// The container in whose namespace the packet died.
    pub(super) fn container_here(&self) -> Option<&'a Container> {
        self.inventory.containers_in(self.evidence.netns).next()
    }

    /// The container that the engine gave this address to, whether its interface has it or not.
    pub(super) fn assigned_to(&self, address: IpAddr) -> Option<&'a Container> {
        self.inventory.containers().find(|container| {
            container.ended.is_none()
                && container.attachments.iter().any(|attachment| {
                    [attachment.ipv4, attachment.ipv6]
                        .into_iter()
                        .flatten()
                        .any(|given| given.addr() == address)
                })
        })
    }

    /// The namespace that the packet died in, opened.
    pub(super) fn netns(&self) -> Option<NetnsHandle> {
        if self.in_host() {
            return Some(self.host.clone());
        }
        self.open(self.evidence.netns)
    }

    /// A namespace, opened. It must still be the one it was: files in /proc are reused.
    pub(super) fn open(&self, key: NetnsKey) -> Option<NetnsHandle> {
        let info = self.inventory.netns(key)?;
        let handle = self.state.open(&info.path).ok()?;
        (handle.inum() == info.inum).then_some(handle)
    }

    /// Rules of the namespace that the packet died in: as they were read before it died, and now.
    pub(super) fn firewall(&self) -> Option<(Option<Rc<Firewall>>, Rc<Firewall>)> {
        let dropped = self.evidence.drop.time;
        Some(
            self.firewalls
                .get(self.evidence.netns, &self.netns()?, self.state, dropped),
        )
    }

    /// The addresses of the namespace in which the packet died, by interface.
    pub(super) fn addresses(&self) -> Option<Addresses> {
        let links = &self.inventory.netns(self.evidence.netns)?.links;
        let own = |link: &Link| (link.name.clone(), link.addresses.clone());
        Some(Addresses(links.iter().map(own).collect()))
    }

    /// The host's rules now.
    pub(super) fn host_firewall(&self) -> Rc<Firewall> {
        let dropped = self.evidence.drop.time;
        let key = self.inventory.host_key();
        self.firewalls.get(key, self.host, self.state, dropped).1
    }

    /// Where a fix is to be run: `host`, a container's name, or what the namespace is called.
    pub(super) fn place(&self) -> String {
        if self.in_host() {
            return "host".into();
        }
        self.inventory
            .namespace_label(self.evidence.netns)
            .unwrap_or_else(|| format!("netns {}", self.evidence.record.netns_inum))
    }

    /// A command as it is run from the host's namespace.
    pub(super) fn command(&self, command: &str) -> String {
        self.command_in(self.evidence.netns, command)
    }

    /// A command for a namespace, as it is run from the host's.
    pub(super) fn command_in(&self, key: NetnsKey, command: &str) -> String {
        if key == self.inventory.host_key() {
            return command.to_owned();
        }
        match self.inventory.netns(key) {
            Some(info) => format!("nsenter --net={} {command}", info.path.display()),
            None => command.to_owned(),
        }
    }

    /// Adds the command that sets a kernel setting, how to keep it, and who set it wrong.
    pub(super) fn set_sysctl(
        &self,
        verdict: Verdict,
        key: &str,
        wrong: &str,
        right: &str,
    ) -> Verdict {
        let run = self.command(&format!("sysctl -w {key}={right}"));
        if !self.in_host() {
            return verdict
                .run(run, self.place(), None, Impact::None)
                .advise(kept_by(key, right));
        }
        verdict.set_host_sysctl(&self.state.sysctl_files(), key, wrong, right)
    }
}

/// How a container's setting is given when it is made. From 27 on engines refuse those of single interfaces as `--sysctl`
/// (moby, daemon/container_operations.go): their numbers are not known before.
fn kept_by(key: &str, right: &str) -> String {
    let dotted = sysctl::display_key(key);
    let mut parts = key.split('/');
    let of_one = parts.nth(2) == Some("conf")
        && parts
            .next()
            .is_some_and(|name| !matches!(name, "all" | "default" | "lo"));
    match key.rsplit_once('/') {
        Some((start, last)) if of_one => {
            let family = start.split('/').nth(1).unwrap_or("ipv4");
            format!(
                "to keep it: recreate the container with --network name=NETWORK,driver-opt=com.docker.network.endpoint.sysctls=\
                 net.{family}.conf.IFNAME.{last}={right} (before Docker 27: --sysctl {dotted}={right})"
            )
        }
        _ => format!("to keep it: recreate the container with --sysctl {dotted}={right}"),
    }
}

/// A setting that was read in the kernel.
pub(super) fn known(value: i32) -> Option<i32> {
    (value != UNREAD).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_of_one_interface_is_given_with_its_network() {
        let of_one = kept_by("net/ipv4/conf/eth1/rp_filter", "2");
        assert!(
            of_one.contains("endpoint.sysctls=net.ipv4.conf.IFNAME.rp_filter=2"),
            "{of_one}"
        );
        for key in ["net/ipv4/conf/all/rp_filter", "net/ipv4/ip_forward"] {
            let kept = kept_by(key, "1");
            assert!(
                kept.contains("--sysctl") && !kept.contains("IFNAME"),
                "{kept}"
            );
        }
    }
}
