//! Published ports as the host and the containers themselves use them, where docker-proxy does not help.

use super::{firewall::number, forwarding::forwarded};
use crate::{
    cause::Verdict,
    check::{
        Finding, Grade, Sight, Subject,
        finding::Affected,
        gather::Gather,
        probe::{Probe, translation},
        sight::Member,
    },
    host::{
        firewall::{Hook, Translation},
        sysctl::{display_key, interface_key},
    },
    model::{Impact, Network, Published},
};

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut gather = Gather::default();
    for (network, bridge, members) in forwarded(sight) {
        let mut direct = Vec::new();
        for member in &members {
            let published = &member.container.published;
            let without = published
                .iter()
                .filter(|published| published.host_ip.is_ipv4() && !has_proxy(sight, published));
            direct.extend(without.map(|published| (member, published)));
        }
        for (member, published) in &direct {
            localhost(sight, bridge, member, published, &mut gather);
            hairpin(sight, bridge, member, published, &mut gather);
        }
        unseen(sight, network, &members, &direct, &mut gather);
        without_icc(sight, network, &members, &mut gather);
    }
    gather.findings
}

fn has_proxy(sight: &Sight<'_>, published: &Published) -> bool {
    sight
        .daemon
        .has_proxy(&published.protocol, published.host_port)
}

/// `localhost:PORT` on the host: translated on the way out, and then routed with a source of 127/8.
fn localhost(
    sight: &Sight<'_>,
    bridge: &str,
    member: &Member<'_>,
    published: &Published,
    gather: &mut Gather,
) {
    let loopback = std::net::IpAddr::from([127, 0, 0, 1]);
    let reaches = published.host_ip.is_unspecified() || published.host_ip == loopback;
    let Some(proto) = number(&published.protocol).filter(|_| reaches) else {
        return;
    };
    let probe = Probe::new(proto, loopback, loopback, published.host_port);
    let translated = translation(
        &sight.host,
        &probe.untranslated(None, Some("lo")),
        Hook::Output,
    );
    if !matches!(translated, Translation::To(..)) {
        return;
    }
    let key = interface_key(false, bridge, "route_localnet");
    let own = sight.number(&sight.host, &key);
    let all = sight.number(&sight.host, "net/ipv4/conf/all/route_localnet");
    if own != Some(0) || all == Some(1) {
        return;
    }
    let verdict = Verdict::confirmed(
        "route-localnet",
        format!("the host itself does not reach ports of {bridge}'s containers by localhost: packets from 127.0.0.1 are not routed to {bridge}"),
    )
    .fact(format!("{} = 0", display_key(&key)))
    .fact("no docker-proxy serves the port (userland-proxy: false)")
    .set_host_sysctl(&sight.files, &key, "0", "1")
    .advise("or use the host's address, or set \"userland-proxy\": true in /etc/docker/daemon.json");
    gather.add(
        Finding::new(Grade::Broken, Subject::host(), verdict),
        [Affected::port(member.container, published)],
    );
}

/// A container that asks for its own published port.
fn hairpin(
    sight: &Sight<'_>,
    bridge: &str,
    member: &Member<'_>,
    published: &Published,
    gather: &mut Gather,
) {
    let port = member
        .interface
        .and_then(|interface| interface.peer.as_ref())
        .and_then(|peer| sight.host.bridges.port(&peer.device.name));
    let Some(port) = port.filter(|port| !port.hairpin && port.bridge == bridge) else {
        return;
    };
    let verdict = Verdict::confirmed(
        "hairpin-off",
        format!("{} does not reach its own published port by the host's address", member.container.name),
    )
    .fact(format!("{}: hairpin_mode off", port.name))
    .fact("no docker-proxy serves the port (userland-proxy: false)")
    .run(format!("bridge link set dev {} hairpin on", port.name), "host", None, Impact::None)
    .advise("or set \"userland-proxy\": true in /etc/docker/daemon.json, or let it ask for itself by localhost");
    gather.add(
        Finding::new(Grade::Risk, Subject::container(member.container), verdict),
        [Affected::port(member.container, published)],
    );
}

/// Whether bridged packets are seen by the rules, `false` only where it is known that they are not.
fn sees_bridged(sight: &Sight<'_>) -> bool {
    let key = "net/bridge/bridge-nf-call-iptables";
    sight.number(&sight.host, key) != Some(0) && sight.number(&sight.host, key).is_some()
}

/// A sibling that asks for a published port by the host's address: its answer has to come back through the rules.
fn unseen(
    sight: &Sight<'_>,
    network: &Network,
    members: &[Member<'_>],
    direct: &[(&Member<'_>, &Published)],
    gather: &mut Gather,
) {
    if members.len() < 2 || direct.is_empty() || sees_bridged(sight) {
        return;
    }
    let verdict = Verdict::confirmed(
        "bridge-nf-off",
        format!("containers of {} do not reach each other's published ports by the host's address: answers take the short way over the bridge and are not translated back", network.name),
    )
    .fact("net.bridge.bridge-nf-call-iptables is not 1")
    .fact("no docker-proxy serves the port (userland-proxy: false)")
    .run("modprobe br_netfilter && sysctl -w net/bridge/bridge-nf-call-iptables=1", "host", Some("/etc/modules-load.d/br_netfilter.conf and /etc/sysctl.d/90-bridge-nf.conf".into()), Impact::None)
    .advise("or let containers use each other's names and container ports");
    let affected = direct
        .iter()
        .map(|(member, published)| Affected::port(member.container, published));
    gather.add(
        Finding::new(Grade::Risk, Subject::network(&network.name), verdict),
        affected,
    );
}

/// `enable_icc=false` has no effect on packets that the rules do not see.
fn without_icc(sight: &Sight<'_>, network: &Network, members: &[Member<'_>], gather: &mut Gather) {
    let isolated = members.iter().all(|member| {
        let peer = member
            .interface
            .and_then(|interface| interface.peer.as_ref());
        peer.and_then(|peer| sight.host.bridges.port(&peer.device.name))
            .is_some_and(|port| port.isolated)
    });
    if network.icc || members.len() < 2 || isolated || sees_bridged(sight) {
        return;
    }
    let verdict = Verdict::confirmed(
        "bridge-nf-off",
        format!("containers of {} do reach each other, though the network was made with enable_icc=false", network.name),
    )
    .fact("net.bridge.bridge-nf-call-iptables is not 1, so rules do not see what is bridged")
    .run("modprobe br_netfilter && sysctl -w net/bridge/bridge-nf-call-iptables=1", "host", None, Impact::None);
    gather.add(
        Finding::new(Grade::Risk, Subject::network(&network.name), verdict),
        members
            .iter()
            .map(|member| Affected::container(member.container)),
    );
}
