//! Connection tracking: its capacity, and entries that outlived what they lead to.

use std::net::IpAddr;

use dockernet_common::packet::UDP;
use ipnet::IpNet;

use crate::{
    cause::Verdict,
    check::{
        Finding, Grade, Sight, Subject, finding::Affected, gather::Gather, sight::has_been_given,
        space::Space,
    },
    host::inside,
    inventory::Inventory,
    map::marks::is_link_local,
    model::{Container, Impact, Published},
};

/// From this share of the table on, in percent, a burst fills it.
const NEARLY: u64 = 90;

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for space in std::iter::once(&sight.host).chain(&sight.spaces) {
        found.extend(capacity(sight, space));
    }
    found.extend(stale(sight));
    found
}

/// The limit holds for each namespace (net/netfilter/nf_conntrack_core.c `__nf_conntrack_alloc`).
fn capacity(sight: &Sight<'_>, space: &Space) -> Option<Finding> {
    let read = |key| {
        sight
            .number(space, key)
            .and_then(|number| u64::try_from(number).ok())
    };
    let count = read("net/netfilter/nf_conntrack_count")?;
    let max = read("net/netfilter/nf_conntrack_max")?;
    let verdict = full(&space.label, count, max)?;
    let grade = if count >= max {
        Grade::Broken
    } else {
        Grade::Risk
    };
    let verdict = if space.key == sight.host.key {
        verdict.set_host_sysctl(
            &sight.files,
            "net/netfilter/nf_conntrack_max",
            &max.to_string(),
            &(max * 2).to_string(),
        )
    } else {
        verdict.run(
            format!("sysctl -w net/netfilter/nf_conntrack_max={}", max * 2),
            "host",
            None,
            Impact::None,
        )
    };
    let verdict = verdict.advise("see who fills it (conntrack -L | sort by source), and shorten net.netfilter.nf_conntrack_tcp_timeout_established");
    Some(Finding::new(grade, Subject::host(), verdict))
}

fn full(label: &str, count: u64, max: u64) -> Option<Verdict> {
    // 0 is no limit.
    if max == 0 || count.saturating_mul(100) < max.saturating_mul(NEARLY) {
        return None;
    }
    let what = if count >= max {
        format!(
            "the connection table of {label} is full: new connections are dropped, old ones go on"
        )
    } else {
        format!(
            "the connection table of {label} is nearly full: when it is, new connections are dropped"
        )
    };
    Some(Verdict::confirmed("conntrack-full", what).fact(format!(
        "nf_conntrack_count = {count} of nf_conntrack_max = {max}"
    )))
}

/// A tracked UDP flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::check) struct Flow {
    /// Who sends.
    pub client: IpAddr,
    /// To which address.
    pub to: IpAddr,
    /// To which port.
    pub port: u16,
    /// Whom it is tracked to.
    pub answers: IpAddr,
}

/// What a flow's judgement needs to know of the host.
pub(in crate::check) struct Host<'i, 'f> {
    /// Who is who.
    pub inventory: &'i Inventory,
    /// Whether the host has an address.
    pub has_address: &'f dyn Fn(IpAddr) -> bool,
    /// Whether a rule translates the destination of UDP to a port of the host.
    pub has_rule: &'f dyn Fn(IpAddr, u16) -> bool,
}

/// Whose published port a flow asks for, if it leads elsewhere.
pub(in crate::check) fn stale_flow<'i>(
    host: &Host<'i, '_>,
    flow: &Flow,
) -> Option<(&'i Container, &'i Published, Verdict)> {
    // docker-proxy serves the host itself and the containers without translation: that is how it is meant.
    // So it does IPv6 clients by link-local addresses, which its rules leave out.
    let local = (host.has_address)(flow.client)
        || is_link_local(&IpNet::from(flow.client))
        || flow.client.is_loopback()
        || host.inventory.is_docker_address(flow.client)
        || !(host.has_address)(flow.to);
    if local {
        return None;
    }
    let (container, published) = host
        .inventory
        .published_on("udp", flow.port)
        .filter(|(container, _)| container.runs())
        .find(|(_, published)| {
            (published.host_ip.is_unspecified() || published.host_ip == flow.to)
                && published.host_ip.is_ipv4() == flow.to.is_ipv4()
        })?;
    let right = has_been_given(container, flow.answers);
    let untranslated = flow.answers == flow.to;
    if right || (untranslated && !(host.has_rule)(flow.to, published.host_port)) {
        return None;
    }
    let verdict = Verdict::confirmed(
        "conntrack-stale-udp",
        format!("clients that sent to UDP port {} before {} was there still go elsewhere, as long as they keep sending", flow.port, container.name),
    )
    .fact(if untranslated {
        format!("{} → {}:{} is tracked without translation", flow.client, flow.to, flow.port)
    } else {
        format!("{} → {}:{} is tracked to {}, not to {}", flow.client, flow.to, flow.port, flow.answers, container.name)
    })
    .run(forget(flow.port, flow.to), "host", None, Impact::Interrupts);
    Some((container, published, verdict))
}

/// The command that makes conntrack forget UDP flows to a port; without a family older programs mean IPv4.
fn forget(port: u16, to: IpAddr) -> String {
    let family = if to.is_ipv6() { " -f ipv6" } else { "" };
    format!("conntrack -D -p udp --orig-port-dst {port}{family}")
}

/// UDP entries to published ports that lead elsewhere: clients that keep sending keep them alive.
fn stale(sight: &Sight<'_>) -> Vec<Finding> {
    let mut gather = Gather::default();
    let has_udp = sight.running().into_iter().any(|container| {
        let mut published = container.published.iter();
        published.any(|published| published.protocol == "udp")
    });
    if !has_udp {
        return Vec::new();
    }
    let text = sight
        .host
        .handle
        .run(|| inside::read("/proc/thread-self/net/nf_conntrack"));
    let text = match text {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => {
            let what = "UDP entries of the connection table";
            let why =
                format!("/proc/net/nf_conntrack: {error}; to look by hand: conntrack -L -p udp");
            return vec![Finding::unknown(Subject::host(), what, why)];
        }
        Err(error) => {
            sight.unread(
                Subject::host(),
                "UDP entries of the connection table",
                &error,
            );
            return Vec::new();
        }
    };
    let host = Host {
        inventory: sight.inventory,
        has_address: &|address| sight.host.has_address(address),
        has_rule: &|to, port| sight.host.firewall.has_dnat_for(UDP, to, port),
    };
    for flow in text.lines().filter_map(udp_flow) {
        if let Some((container, published, verdict)) = stale_flow(&host, &flow) {
            gather.add(
                Finding::new(Grade::Broken, Subject::container(container), verdict),
                [Affected::port(container, published)],
            );
        }
    }
    gather.findings
}

/// A line of /proc/net/nf_conntrack: `ipv4 2 udp 17 29 src=… dst=… sport=… dport=… [UNREPLIED] src=… …`.
fn udp_flow(line: &str) -> Option<Flow> {
    let mut words = line.split_ascii_whitespace();
    if words.nth(2)? != "udp" {
        return None;
    }
    let mut addresses = Vec::new();
    let mut ports = Vec::new();
    for word in words {
        match word.split_once('=') {
            Some(("src" | "dst", text)) => addresses.push(text.parse::<IpAddr>().ok()?),
            Some(("sport" | "dport", text)) => ports.push(text.parse::<u16>().ok()?),
            _ => {}
        }
    }
    Some(Flow {
        client: *addresses.first()?,
        to: *addresses.get(1)?,
        port: *ports.get(1)?,
        answers: *addresses.get(2)?,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn ninety_percent_is_nearly_full() {
        assert!(full("host", 89, 100).is_none());
        assert!(full("host", 5, 0).is_none());
        assert!(
            full("host", 90, 100)
                .unwrap()
                .cause
                .summary
                .contains("nearly")
        );
        assert!(
            full("host", 100, 100)
                .unwrap()
                .cause
                .summary
                .contains("is full")
        );
        assert!(full("host", u64::MAX, u64::MAX).is_some());
    }

    #[test]
    fn udp_lines_and_no_others() {
        let line = "ipv4     2 udp      17 29 src=198.51.100.20 dst=198.51.100.10 sport=5000 dport=53 \
                    [UNREPLIED] src=172.17.0.9 dst=198.51.100.20 sport=53 dport=5000 mark=0 zone=0 use=2";
        let flow = udp_flow(line).unwrap();
        assert_eq!(
            (flow.port, flow.answers.to_string()),
            (53, "172.17.0.9".into())
        );
        assert_eq!(udp_flow(&line.replace("udp", "tcp")), None);
        for end in 0..line.len() {
            let _ = udp_flow(&line[..end]);
        }
    }
}
