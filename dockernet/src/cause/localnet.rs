//! Published ports by `localhost` where docker-proxy is switched off: 127.0.0.1 has to get out of `lo`.

use super::{Case, Verdict, bridged::bridged};
use crate::{
    host::{
        firewall::{Family, Hook},
        sysctl::{display_key, interface_key},
    },
    model::{Impact, NatKind},
};

/// Rows 16 and 17.
pub(super) fn route_localnet(case: &Case<'_>) -> Option<Verdict> {
    let src = case.src()?;
    if !(src.is_ipv4() && src.is_loopback()) {
        return None;
    }
    if case.in_host() {
        refused(case)
    } else {
        arrived(case)
    }
}

/// After DNAT in OUTPUT the packet is routed anew; without `route_localnet` a 127/8 source is refused a way out
/// (`__mkroute_output`, net/ipv4/route.c, by `ip_route_me_harder`), and NAT drops it.
fn refused(case: &Case<'_>) -> Option<Verdict> {
    let dst = case.dst()?;
    let point = case.evidence.hook?;
    let translated = case
        .evidence
        .drop
        .nat
        .as_ref()
        .is_some_and(|nat| nat.kind != NatKind::Snat && nat.original.dst.is_loopback());
    if !matches!(case.evidence.reason(), "NETFILTER_DROP" | "")
        || point.hook != Hook::Output
        || point.nft
        || !translated
        || dst.is_loopback()
    {
        return None;
    }
    let (network, _) = bridged(case, dst)?;
    let bridge = network.bridge.as_deref()?;
    let key = interface_key(false, bridge, "route_localnet");
    let read = |key: &str| case.state.sysctl(case.host, key).ok().flatten();
    let own = read(&key)?;
    let all = read("net/ipv4/conf/all/route_localnet")?;
    if own.trim() != "0" || all.trim() != "0" {
        return None;
    }
    let verdict = Verdict::confirmed(
        "route-localnet",
        format!(
            "a published port is not reached by localhost: {bridge} takes no packet from 127.0.0.0/8, and docker-proxy does not \
             stand in for it"
        ),
    )
    .fact(format!("{} = 0", display_key(&key)))
    .fact("net.ipv4.conf.all.route_localnet = 0; either would do");
    Some(case.set_sysctl(verdict, &key, "0", "1").advise(PROXY))
}

const PROXY: &str = "or ask for the host's own address instead of localhost; or \"userland-proxy\": true in /etc/docker/daemon.json \
     (the default), which needs neither";

/// The way out was open, but nothing gave the packet another source than 127.0.0.1, which the container cannot answer.
fn arrived(case: &Case<'_>) -> Option<Verdict> {
    if !case.in_container()
        || case.ingress() == "lo"
        || !case.evidence.reason_or_silent("IP_LOCALNET")
        || !case.evidence.freed_in(&[
            "ip_rcv_finish_core",
            "ip_rcv_finish",
            "ip_route_input_noref",
        ])
    {
        return None;
    }
    let dst = case.dst()?;
    let (network, _) = bridged(case, dst)?;
    let bridge = network.bridge.as_deref()?;
    let firewall = case.host_firewall();
    if !firewall.has_docker_chains(Family::Ip) || firewall.masquerades_own(bridge) {
        return None;
    }
    let tool = firewall.docker_iptables();
    Some(
        Verdict::confirmed(
            "route-localnet",
            format!(
                "the host's own connection to localhost reached {} with the source 127.0.0.1: nothing masquerades it",
                case.place()
            ),
        )
        .fact(format!(
            "no rule in nat POSTROUTING masquerades what the host itself sends out by {bridge}"
        ))
        .run(
            format!("{tool} -t nat -I POSTROUTING -o {bridge} -m addrtype --src-type LOCAL -j MASQUERADE"),
            "host",
            None,
            Impact::None,
        )
        .restart_engine()
        .advise("find what flushes or rewrites the nat table after Docker has started"),
    )
}
