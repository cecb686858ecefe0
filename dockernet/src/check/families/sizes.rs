//! MTUs, and the messages that tell senders of them.

use super::{
    firewall::uplink,
    forwarding::{forwarded, whole},
};
use crate::{
    cause::{Verdict, delete},
    check::{
        Finding, Grade, Sight, Subject,
        probe::{Judged, judge, somewhere},
    },
    host::{
        firewall::{CtState, FlowPacket, Hook},
        route::Family,
    },
    model::{Impact, Rule},
};

/// `ICMP_DEST_UNREACH`, `ICMP_FRAG_NEEDED` (include/uapi/linux/icmp.h).
const UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let Some(uplink) = uplink(sight, Family::V4) else {
        return found;
    };
    let (out, limit) = (&uplink.link.name, uplink.link.mtu);
    for (network, bridge, members) in forwarded(sight) {
        let Some(link) = sight.host.link(bridge) else {
            continue;
        };
        let sent = members
            .iter()
            .filter_map(|member| Some(member.interface?.device.mtu))
            .max()
            .unwrap_or(link.mtu);
        if sent <= limit {
            continue;
        }
        let subject = Subject::network(&network.name);
        let affected: Vec<_> = members
            .iter()
            .flat_map(|member| whole(member.container))
            .collect();
        let advice = format!(
            "recreate the network with -o com.docker.network.driver.mtu={limit}{}; until then: iptables -t mangle -I FORWARD -o {out} -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
            if network.name == "bridge" {
                ", for the default one \"mtu\" in /etc/docker/daemon.json"
            } else {
                ""
            }
        );
        let facts = |verdict: Verdict| {
            verdict
                .fact(format!("MTU of containers on {bridge}: {sent}"))
                .fact(format!("MTU of {out}: {limit}"))
        };
        if let Some((rule, delete)) = members
            .iter()
            .find_map(|member| muted(sight, bridge, member.ipv4()?))
        {
            let verdict = facts(Verdict::confirmed(
                "pmtu-blackhole",
                format!("containers of {} send packets that are too big for {out}, and the message that says so is dropped: connections open and then hang", network.name),
            ))
            .fact(format!("{}: {}", rule.chain, rule.rule))
            .run(delete, "host", None, Impact::OpensFirewall)
            .advise(advice)
            .rule(rule);
            found.push(Finding::new(Grade::Broken, subject, verdict).affects(affected));
            continue;
        }
        let verdict = facts(Verdict::confirmed(
            "mtu-exceeded",
            format!("containers of {} send packets that are too big for {out}: slow starts, and hangs where anybody drops the ICMP messages about it", network.name),
        ))
        .advise(advice);
        found.push(Finding::new(Grade::Risk, subject, verdict).affects(affected));
    }
    found
}

/// Whether the host's "fragmentation needed" to a container is dropped, and by what.
fn muted(sight: &Sight<'_>, bridge: &str, container: std::net::IpAddr) -> Option<(Rule, String)> {
    let own = sight
        .host
        .link(bridge)?
        .addresses
        .iter()
        .map(ipnet::IpNet::addr)
        .find(std::net::IpAddr::is_ipv4)
        .unwrap_or_else(|| somewhere(Family::V4));
    let packet = FlowPacket {
        ipv6: Some(false),
        proto: Some(1),
        src: Some(own),
        dst: Some(container),
        oif: Some(bridge.to_owned()),
        mark: Some(0),
        ttl: Some(64),
        ct_state: CtState::RELATED,
        ct_status: (0x30, 0),
        icmp_type: Some(UNREACHABLE),
        icmp_code: Some(FRAGMENTATION_NEEDED),
        pkt_type: Some(0),
        ..FlowPacket::default()
    };
    for hook in [Hook::Output, Hook::Postrouting] {
        if let Judged::Drops(found) = judge(&sight.host, &packet, hook) {
            return Some((Rule::from(&*found), delete(&found.dropped)));
        }
    }
    None
}
