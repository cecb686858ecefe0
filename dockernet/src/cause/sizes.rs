//! Packets that are too old or too big.

use super::{Case, Verdict, case::known};
const FORWARDING: &[&str] = &["ip_forward", "ip6_forward"];

/// Row 18.
pub(super) fn ttl_exceeded(case: &Case<'_>) -> Option<Verdict> {
    if !case.evidence.freed_in(FORWARDING) || !case.evidence.reason_or_silent("IP_INHDR") {
        return None;
    }
    let ttl = case.packet()?.ttl?;
    if ttl > 1 {
        return None;
    }
    Some(
        Verdict::confirmed("ttl-exceeded", "the packet has been forwarded too often: its time to live ran out here")
            .fact(format!("TTL {ttl} on arrival by {}", case.ingress()))
            .advise("a single one is a traceroute or a small TTL on purpose; many are a routing loop: follow ip route get DESTINATION on each router"),
    )
}

/// Row 67.
pub(super) fn mtu_exceeded(case: &Case<'_>) -> Option<Verdict> {
    let silent = case.evidence.reason().is_empty();
    // Without a reason it is known by its place alone, and below a hook of netfilter's that is another one.
    let is_other = silent && case.evidence.hook.is_some()
        || !silent && case.evidence.reason() != "PKT_TOO_BIG";
    if is_other || !case.evidence.freed_in(FORWARDING) {
        return None;
    }
    let out = case
        .evidence
        .out_device
        .as_deref()
        .unwrap_or("the outgoing interface");
    let mtu = known(case.settings().out_mtu);
    let length = case.packet()?.length;
    let agrees = mtu.is_some_and(|mtu| i64::from(length) > i64::from(mtu));
    if silent && !agrees {
        return None;
    }
    let verdict = Verdict::when(
        agrees,
        "mtu-exceeded",
        format!("packets of {length} bytes do not fit through {out}, and may not be fragmented"),
    )
    .maybe_fact(mtu.map(|mtu| format!("{out} has MTU {mtu}, the packet {length} bytes")))
    .maybe_fact(arrival_mtu(case));
    let mtu_text = mtu.map_or_else(|| "MTU".to_owned(), |mtu| mtu.to_string());
    // Without an interface: the SYN-ACK, which limits what the one who connects may send, goes the other way.
    let clamp = (case.packet()?.protocol == "tcp").then(|| {
        let tool = if case.is_ipv6() {
            "ip6tables"
        } else {
            "iptables"
        };
        let rule =
            "-t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu";
        (case.command(&format!("{tool} {rule}")), case.place())
    });
    // Towards a container a smaller MTU of its network is what is wrong, not what helps.
    let network = case.inventory.network_by_bridge(out);
    if let Some(network) = network.filter(|_| case.in_host()) {
        let wanted = super::device::mtu_of(network);
        let lowered = mtu
            .zip(wanted)
            .filter(|(mtu, wanted)| i64::from(*mtu) < i64::from(*wanted));
        let command =
            lowered.map(|(_, wanted)| (format!("ip link set {out} mtu {wanted}"), case.place()));
        return Some(
            verdict
                .maybe_fact(lowered.map(|(_, wanted)| format!("network {} is to have MTU {wanted}", network.name)))
                .maybe_run(command)
                .maybe_run(clamp)
                .advise(format!(
                    "for good: give {} the MTU that packets come in with (docker network create --opt com.docker.network.driver.mtu=…), or let the sender send less",
                    network.name
                )),
        );
    }
    Some(
        verdict
            .maybe_run(clamp)
            .advise(format!(
                "for good: give the network that MTU: docker network create --opt com.docker.network.driver.mtu={mtu_text} …, \
                 or \"mtu\": {mtu_text} in /etc/docker/daemon.json for the default bridge"
            )),
    )
}

/// The MTU of the interface that it came in by. `ip6_forward` puts the packet on the outgoing one before it complains.
fn arrival_mtu(case: &Case<'_>) -> Option<String> {
    let ingress = case.ingress();
    let mtu = case
        .inventory
        .link_named(case.evidence.netns, ingress)
        .map(|link| i64::from(link.mtu))
        .or_else(|| {
            let mtu = known(case.settings().mtu)?;
            (ingress == case.device()).then_some(i64::from(mtu))
        })?;
    Some(format!("{ingress} has MTU {mtu}"))
}
