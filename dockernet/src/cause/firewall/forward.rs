//! Rules and policies that are not Docker's.

use super::{
    fix::{accept, delete},
    packet::master,
};
use crate::{
    cause::{Case, Verdict},
    host::firewall::{Attribution, Backend, Family, Firewall, Hook, Owner, Rule, Target},
    model::{EndpointKind, Impact, NatKind},
};

/// A table that is neither Docker's nor iptables': an accept elsewhere does not help.
pub(super) fn foreign(
    base: impl Fn(&'static str, String) -> Verdict,
    case: &Case<'_>,
    found: &Attribution,
) -> Verdict {
    if let Some(verdict) = super::manager::firewalld_reload(case, found) {
        return verdict;
    }
    let dropped = &found.dropped;
    let table = format!("{} {}", dropped.family.name(), dropped.table);
    let verdict = base(
        "foreign-table-drop",
        format!(
            "the nft table {table} drops it, whatever Docker's rules accept: an accept ends only its own table"
        ),
    );
    if found.owner == Owner::Firewalld {
        return verdict.advise(super::manager::BY_FIREWALLD);
    }
    // Of a bridged packet such a chain sees the bridge on both sides (net/bridge/br_netfilter_hooks.c, `brnf_get_logical_dev`).
    let bridge = case
        .evidence
        .hook
        .is_some_and(|point| point.bridge)
        .then(|| master(case, case.device()))
        .flatten();
    if let Some(bridge) =
        bridge.filter(|_| dropped.hook == Hook::Forward && dropped.family != Family::Bridge)
    {
        let verdict = verdict.fact(format!(
            "what {bridge} bridges passes this chain too (bridge-nf-call-iptables)"
        ));
        return verdict
            .advise(format!(
                "if this should pass: accept what {bridge} bridges in that table"
            ))
            .run(
                accept(found, &[("i", &bridge), ("o", &bridge)], None),
                "host",
                None,
                Impact::OpensFirewall,
            );
    }
    let (iif, oif) = (case.ingress(), case.evidence.out_device.as_deref());
    let forwards = dropped.hook == Hook::Forward && !iif.is_empty();
    match (&dropped.rule, oif) {
        // One rule with a verdict for each of several: it goes on for the others.
        (Some(rule), _) if has_verdict_map(rule) => {
            let packet = case.packet();
            let service = packet.map(|packet| (packet.protocol.as_ref(), packet.dst_port));
            let interfaces = [("i", iif)];
            let interfaces = if iif.is_empty() { &[][..] } else { &interfaces };
            verdict
                .advise("if this should pass: take its element out of the rule's map, or accept this traffic before it in that table")
                .run(accept(found, interfaces, service), "host", None, Impact::OpensFirewall)
        }
        // Opening a policy lets everything pass: one flow's interfaces are enough.
        (None, Some(oif)) if forwards => verdict
            .advise(format!("if this should pass: accept what goes from {iif} to {oif} in that table, and the answers"))
            .run(both_ways(found, iif, oif), "host", None, Impact::OpensFirewall),
        _ => verdict
            .advise("if this should pass: delete the rule, or accept this traffic before it in that table")
            .run(delete(&found.dropped), "host", None, Impact::OpensFirewall),
    }
}

fn has_verdict_map(rule: &Rule) -> bool {
    let mut targets = rule.targets.iter();
    targets.any(|target| matches!(target, Target::Vmap { .. }))
}

/// Packets and their answers.
fn both_ways(found: &Attribution, iif: &str, oif: &str) -> String {
    let there = accept(found, &[("i", iif), ("o", oif)], None);
    let back = accept(found, &[("i", oif), ("o", iif)], None);
    format!("{there} && {back}")
}

pub(super) fn forward(
    base: impl Fn(&'static str, String) -> Verdict,
    case: &Case<'_>,
    found: &Attribution,
) -> Option<Verdict> {
    let place = found.place();
    if found.dropped.backend == Backend::Nft {
        return Some(foreign(base, case, found));
    }
    let (_, now) = case.firewall()?;
    let own = calls(&now, found);
    // A policy that drops because Docker's accepts are gone drops what is routed as well: that is to be mended.
    let flushed = || {
        found.dropped.rule.is_none()
            && !own.docker
            && now.has_docker_chains(found.dropped.family)
            && is_of_docker(case)
    };
    if case.evidence.hook?.bridge && !flushed() {
        let verdict = base(
            "bridge-nf-foreign-drop",
            format!(
                "containers of one network talk through the bridge, and {place} applies to bridged packets too (bridge-nf-call-iptables)"
            ),
        );
        return Some(match master(case, case.device()) {
            Some(bridge) => verdict
                .advise(format!("if this should pass: accept what {bridge} bridges"))
                .run(
                    accept(found, &[("i", &bridge), ("o", &bridge)], None),
                    "host",
                    None,
                    Impact::OpensFirewall,
                ),
            None => verdict.advise("if this should pass: delete the rule").run(
                delete(&found.dropped),
                "host",
                None,
                Impact::OpensFirewall,
            ),
        });
    }
    let id = if case.is_ipv6() {
        "ipv6-filter-drop"
    } else {
        "forward-drop"
    };
    if let Some(verdict) = super::manager::firewalld_reload(case, found)
        .or_else(|| super::manager::other_backend(&base, case, found))
    {
        return Some(verdict);
    }
    let elsewhere = now.has_any_docker_chains() && !own.exist;
    let other = format!(
        "Docker's rules are in another table or backend: what they accept does not count in this one ({})",
        found.dropped.backend.name()
    );
    if found.dropped.rule.is_some() {
        let advice = if own.user_first {
            "if this should pass: delete the rule, or accept this traffic in DOCKER-USER, which comes before it"
        } else {
            "if this should pass: delete the rule, or accept this traffic before it"
        };
        return Some(
            base(id, format!("a rule on the FORWARD hook drops it: {place}"))
                .maybe_fact(elsewhere.then_some(other))
                .advise(advice)
                .run(delete(&found.dropped), "host", None, Impact::OpensFirewall),
        );
    }
    let verdict = base(
        id,
        "the FORWARD chain's policy is DROP and no rule before it accepts the packet".into(),
    );
    if elsewhere {
        return Some(verdict.fact(other).run(
            delete(&found.dropped),
            "host",
            None,
            Impact::OpensFirewall,
        ));
    }
    let drop = &case.evidence.drop;
    if own.docker
        && drop.source.kind != EndpointKind::Container
        && let Some(container) = &drop.destination.container
        && !drop
            .nat
            .as_ref()
            .is_some_and(|nat| nat.kind != NatKind::Snat)
    {
        // Docker's rules are there and do not mean this packet.
        let what = match case.packet().and_then(|packet| packet.dst_port) {
            Some(port) => format!("port {port} of {}", container.name),
            None => container.name.clone(),
        };
        return Some(
            verdict
                .fact(format!("Docker's rules are in place and accept what is published; this was sent straight to {what}"))
                .advise("if this should pass: publish the port and use the host's address, or accept this traffic in DOCKER-USER"),
        );
    }
    if !own.exist && !case.state.engine_writes_rules(case.host).unwrap_or(true) {
        let verdict = verdict
            .fact("dockerd was told to write no rules (iptables: false)")
            .advise("if this should pass: accept what the bridges forward in rules of your own");
        let Some(oif) = case.evidence.out_device.as_deref() else {
            return Some(verdict);
        };
        return Some(verdict.run(
            both_ways(found, case.ingress(), oif),
            "host",
            None,
            Impact::OpensFirewall,
        ));
    }
    Some(
        verdict
            .maybe_fact((!own.exist).then(|| "Docker's chains are gone: something has flushed them".to_owned()))
            .maybe_fact((own.exist && !own.docker).then(|| "FORWARD no longer calls Docker's chains: something has flushed it".to_owned()))
            .restart_engine()
            .advise(format!(
                "until then, to let everything pass: {}; put rules of your own into DOCKER-USER, and do not flush FORWARD after Docker \
                 has started; \"ip-forward-no-drop\": true in /etc/docker/daemon.json leaves the policy alone",
                delete(&found.dropped)
            )),
    )
}

/// Whether the bridge is one that Docker's own rules would accept for: of a network with a subnet of the packet's family.
fn is_of_docker(case: &Case<'_>) -> bool {
    let bridge = master(case, case.device());
    case.inventory.networks().any(|network| {
        let mut subnets = network.subnets.iter();
        network.bridge.is_some()
            && network.bridge == bridge
            && subnets.any(|subnet| subnet.prefix.addr().is_ipv6() == case.is_ipv6())
    })
}

/// What the base chain of a drop has to do with Docker.
pub(crate) struct Calls {
    /// Docker's chains are in its table.
    pub(crate) exist: bool,
    /// It goes through one of Docker's own.
    pub(crate) docker: bool,
    /// It goes through DOCKER-USER before it comes to the dropping rule.
    pub(crate) user_first: bool,
}

pub(crate) fn calls(now: &Firewall, found: &Attribution) -> Calls {
    let dropped = &found.dropped;
    let mut calls = Calls {
        exist: false,
        docker: false,
        user_first: false,
    };
    let table = now.tables().find(|(backend, table)| {
        *backend == dropped.backend && table.family == dropped.family && table.name == dropped.table
    });
    let Some((_, table)) = table else {
        return calls;
    };
    calls.exist = table.chain("DOCKER").is_some();
    let first = dropped.path.first();
    let base = first.map_or(dropped.chain.as_str(), |step| step.chain.as_str());
    let last = first.map_or(usize::MAX, |step| step.number);
    for rule in table.chain(base).into_iter().flat_map(|chain| &chain.rules) {
        for target in &rule.targets {
            let Target::Jump(to) = target else { continue };
            if to == "DOCKER-USER" {
                calls.user_first |= rule.number < last;
            } else {
                calls.docker |= to.starts_with("DOCKER");
            }
        }
    }
    calls
}
