//! The lab's cabling: `eth0` of the host namespace to `eth0` of the outside.

use anyhow::Result;

use crate::{exec::Cmd, netns::Netns};

/// The host's address.
pub const HOST_IP: &str = "198.51.100.10";
/// The neighbour's address; also the host's default gateway.
pub const OUTSIDE_IP: &str = "198.51.100.20";
/// An address beyond the gateway: "the internet".
pub const INTERNET_IP: &str = "203.0.113.7";
/// The host's IPv6 address.
pub const HOST_IP6: &str = "2001:db8:1::10";
/// The neighbour's IPv6 address.
pub const OUTSIDE_IP6: &str = "2001:db8:1::20";

/// Values that a fresh namespace may have inherited from the machine's own settings.
const BASE_SYSCTLS: &[(&str, &str)] = &[
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/log_martians", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/all/accept_local", "0"),
    ("net/ipv6/conf/all/disable_ipv6", "0"),
    ("net/ipv6/conf/default/disable_ipv6", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv4/icmp_ratelimit", "0"),
];

/// Makes both namespaces and wires them.
pub(crate) fn connect(id: &str) -> Result<(Netns, Netns)> {
    let host = Netns::create(&host_name(id))?;
    let outside = Netns::create(&outside_name(id))?;
    for netns in [&host, &outside] {
        for (key, value) in BASE_SYSCTLS {
            // Machines without IPv6 or with fewer keys still make a lab.
            netns.set_sysctl(key, value).ok();
        }
    }
    // The outside is a router. The host is none until dockerd makes it one, and sets FORWARD's policy to DROP then.
    outside.set_sysctl("net/ipv4/ip_forward", "1")?;
    host.set_sysctl("net/ipv4/ip_forward", "0")?;
    Cmd::new("ip")
        .args(["-n", &host_name(id), "link", "add", "eth0", "type", "veth"])
        .args(["peer", "name", "eth0", "netns", &outside_name(id)])
        .run()?;
    let address = |netns: &Netns, device: &str, address: &str| {
        let family = if address.contains(':') { "-6" } else { "-4" };
        let mut command = netns
            .command("ip")
            .args([family, "addr", "add", address, "dev", device]);
        if family == "-6" {
            command = command.arg("nodad");
        }
        command.run().map(drop)
    };
    address(&host, "eth0", "198.51.100.10/24")?;
    address(&host, "eth0", "2001:db8:1::10/64")?;
    address(&outside, "eth0", "198.51.100.20/24")?;
    address(&outside, "eth0", "2001:db8:1::20/64")?;
    address(&outside, "lo", "203.0.113.7/32")?;
    for netns in [&host, &outside] {
        netns
            .command("ip")
            .args(["link", "set", "eth0", "up"])
            .run()?;
    }
    let route = |netns: &Netns, args: &[&str]| netns.command("ip").args(args).run().map(drop);
    route(&host, &["route", "add", "default", "via", OUTSIDE_IP])?;
    route(
        &host,
        &["-6", "route", "add", "default", "via", OUTSIDE_IP6],
    )?;
    // IPv6 of containers is routed, not masqueraded, by engines without ip6tables.
    route(
        &outside,
        &["-6", "route", "add", "2001:db8:2::/48", "via", HOST_IP6],
    )?;
    Ok((host, outside))
}

pub(crate) fn host_name(id: &str) -> String {
    format!("dn{id}-host")
}

pub(crate) fn outside_name(id: &str) -> String {
    format!("dn{id}-out")
}
