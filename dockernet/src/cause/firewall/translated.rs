//! Translation that does not happen, and how it is had again.

use dockernet_common::conntrack::status;

use super::{delete, packet::flow_packet};
use crate::{
    cause::{Case, Verdict, socket},
    evidence::HookPoint,
    host::firewall::{
        CtState, Dropped, Family, Firewall, FlowPacket, Hook, Translation, translate,
    },
    model::{Container, Impact, Network, Published},
};

/// Row 29: a port is published and its container runs, but what comes for it is not translated. `None` where a rule leads
/// on, none is meant to, or the rules could not all be read. Likely where nothing of Docker's is in the firewall at all: it may have been
/// told to leave it alone.
pub(in crate::cause) fn rules_missing(
    case: &Case<'_>,
    container: &Container,
    published: &Published,
) -> Option<Verdict> {
    let missing = missing(case, container, published.host_port)?;
    Some(missing.fact(format!("{} publishes {published}", container.name)))
}

fn missing(case: &Case<'_>, container: &Container, port: u16) -> Option<Verdict> {
    let (proto, dst) = (case.protocol()?, case.dst()?);
    let firewall = case.host_firewall();
    // Engines without ip6tables serve IPv6 by docker-proxy alone: no rule is missing there.
    if case.is_ipv6() || !firewall.notes.is_empty() || !is_translated(case, container) {
        return None;
    }
    // What a container publishes that ends, or was taken off its networks, is rightly translated no more.
    if !container.runs() || socket::is_wired(case, container) != Some(true) {
        return None;
    }
    let name = &container.name;
    let translation = arriving(case, &firewall);
    if firewall.has_dnat_for(proto, dst, port) {
        return match translation {
            Some(Translation::Untracked {
                rule,
                instead: true,
            }) => Some(translated_again(
                nothing_leads(true, name, port),
                Some(&rule),
            )),
            _ => None,
        };
    }
    // A rule for more than this port, or one that cannot be told.
    if translation.is_some_and(|translation| translation != Translation::Nothing) {
        return None;
    }
    // An engine that is not there may be about to write its rules.
    let is_up = case.inventory.engine_status().may_be_up();
    let has_chains = firewall.has_docker_chains(Family::Ip);
    let fact = if has_chains {
        "the rule that translates its destination is missing in table nat"
    } else {
        "there are no chains of Docker's in the firewall"
    };
    let verdict = nothing_leads(is_up && has_chains, name, port).fact(fact);
    Some(translated_again(verdict, None).advise(
        "if they are gone again: find what flushes them (a firewall's reload), and see that /etc/docker/daemon.json does not say \
         \"iptables\": false",
    ))
}

/// What the rules make of the packet as it came in, the first of its flow; of one that came by no device, nothing is told.
pub(in crate::cause) fn arriving(case: &Case<'_>, firewall: &Firewall) -> Option<Translation> {
    if matches!(case.ingress(), "" | "lo") {
        return None;
    }
    let point = HookPoint {
        hook: Hook::Prerouting,
        bridge: false,
        family: None,
        nft: false,
    };
    let packet = FlowPacket {
        oif: None,
        mark: None,
        ct_state: CtState::NEW,
        ct_status: (status::SRC_NAT | status::DST_NAT, 0),
        ct_reply: Some(false),
        ct_original: None,
        ct_answer: None,
        ..flow_packet(case, point)
    };
    let addresses = case.addresses()?;
    Some(translate(firewall, &packet, Hook::Prerouting, &addresses))
}

/// Whether it is on a network whose published ports are translated.
fn is_translated(case: &Case<'_>, container: &Container) -> bool {
    let networks = container
        .attachments
        .iter()
        .filter_map(|attachment| case.inventory.network(&attachment.network));
    networks
        .filter(|network| network.driver == "bridge" && !network.internal)
        .any(Network::is_nat)
}

fn nothing_leads(is_certain: bool, container: &str, port: u16) -> Verdict {
    Verdict::when(
        is_certain,
        "nat-rules-missing",
        format!("no rule leads from the published port {port} to {container}"),
    )
}

/// How what Docker's rules of table nat do is had again: by the engine, which writes them anew; or, where they are there and a
/// rule keeps packets out of conntrack, without that.
#[must_use]
pub(crate) fn translated_again(verdict: Verdict, kept_out: Option<&Dropped>) -> Verdict {
    match kept_out {
        Some(rule) => untracked(verdict, rule),
        None => verdict.restart_engine(),
    }
}

/// What a rule that keeps packets out of conntrack adds to what comes of it.
#[must_use]
pub(crate) fn untracked(verdict: Verdict, rule: &Dropped) -> Verdict {
    verdict
        .fact(format!(
            "what is not tracked is not translated, and this rule keeps it out of conntrack: {}",
            rule.text()
        ))
        .advise("if it should be translated: delete that rule")
        .run(delete(rule), "host", None, Impact::OpensFirewall)
}
