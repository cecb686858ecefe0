//! What both directions ask at a hop.

use std::net::IpAddr;

use super::{Go, Space, Walk};
use crate::{
    cause::{BY_FIREWALLD, Verdict, delete, lost_address},
    check::{
        families::{
            forwarding::forward_ipv6,
            wiring::{bridge_gone, bridge_is_down},
        },
        probe::{Judged, judge, judge_bridged},
    },
    host::{
        firewall::{Attribution, DropKind, FlowPacket, Hook},
        route::{Route, TABLE_MAIN, fib::FibMatch, lookup::RouteQuery, rule::RuleVerdict},
        sysctl::{display_key, interface_key},
    },
    model::{Impact, Rule},
};

impl<'s> Walk<'s> {
    /// The rules of a hook.
    pub(super) fn filter(&mut self, space: &Space, packet: &FlowPacket, hook: Hook) -> Go<()> {
        let judged = judge(space, packet, hook);
        self.judged(space, hook, judged)
    }

    /// The bridge's own rules on these hooks, told only where there is something to tell.
    pub(super) fn bridge_filter(
        &mut self,
        space: &Space,
        packet: &FlowPacket,
        hooks: &[Hook],
    ) -> Go<()> {
        for hook in hooks {
            match judge_bridged(space, packet, *hook) {
                Judged::Passes => {}
                judged => self.judged(space, *hook, judged)?,
            }
        }
        Ok(())
    }

    fn judged(&mut self, space: &Space, hook: Hook, judged: Judged) -> Go<()> {
        let what = hook.name();
        match judged {
            Judged::Passes => {
                self.pass(&space.label, what, "the firewall lets it pass");
                Ok(())
            }
            Judged::Doubt(at) => {
                self.unknown(
                    &space.label,
                    what,
                    format!("it depends on a rule that cannot be told: {at}"),
                );
                Ok(())
            }
            Judged::Drops(found) => {
                let kept_apart = matches!(self.from, super::Party::Container(..))
                    && found.kind == DropKind::DirectAccess;
                let verdict = if kept_apart {
                    isolated(&found)
                } else {
                    dropped(space, &found, hook)
                };
                self.stop(&space.label, what, verdict)
            }
        }
    }

    /// The rules of a hook, told only where they stop it or cannot be told.
    pub(super) fn quietly(&mut self, space: &Space, packet: &FlowPacket, hook: Hook) -> Go<()> {
        match judge(space, packet, hook) {
            Judged::Passes => Ok(()),
            _ => self.filter(space, packet, hook),
        }
    }

    /// The way to an address.
    pub(super) fn way(&mut self, space: &Space, query: &RouteQuery) -> Go<Route> {
        let to = query.destination;
        let container = !space.enter.is_empty();
        match space.route(query) {
            FibMatch::Nothing => {
                if container && self.is_inside(space) {
                    let verdict = Verdict::confirmed("internal-network", format!("{} is on internal networks alone: they have no way out", space.label))
                        .fact("no route leads there, and none is meant to")
                        .advise("if this should pass: connect it to a second network that is not internal (docker network connect NETWORK CONTAINER)");
                    return self.stop(&space.label, "route", verdict);
                }
                let id = if container {
                    "container-no-default-route"
                } else {
                    "no-route"
                };
                let verdict =
                    Verdict::confirmed(id, format!("{} has no route to {to}", space.label))
                        .fact(format!("to see it: {}", space.command(&query.command())))
                        .advise("give it a default route, or connect it to a network that has one");
                self.stop(&space.label, "route", verdict)
            }
            FibMatch::Unsure(rule) => {
                self.unknown(
                    &space.label,
                    "route",
                    format!("a policy rule has a condition that is not read: {rule}"),
                );
                // The rest of the walk needs a way: the plain one.
                match space.routes.iter().find(|route| route.prefix.contains(&to)) {
                    Some(route) => Ok(route.clone()),
                    None => Err(super::Halted),
                }
            }
            found if found.rejects() => {
                let verdict = Verdict::confirmed(
                    "route-rejects",
                    format!(
                        "a route or policy rule of {} refuses packets to {to}",
                        space.label
                    ),
                )
                .maybe_fact(found.text());
                let verdict = match found.delete_command() {
                    Some(command) => verdict.run(
                        space.command(&command),
                        space.label.clone(),
                        None,
                        Impact::None,
                    ),
                    None => verdict,
                };
                self.stop(&space.label, "route", verdict)
            }
            FibMatch::Route { rule, route } => {
                let by_rule = rule.verdict != RuleVerdict::Table(TABLE_MAIN)
                    && !matches!(rule.verdict, RuleVerdict::Table(255));
                let note = if by_rule {
                    format!(" (rule {rule})")
                } else {
                    String::new()
                };
                self.pass(&space.label, "route", format!("{route}{note}"));
                self.owns(space, query, &rule.to_string(), by_rule, &route)?;
                Ok(route)
            }
            FibMatch::Rule(rule) => {
                self.unknown(&space.label, "route", rule.to_string());
                Err(super::Halted)
            }
        }
    }

    /// Whether the container of a namespace is on internal networks alone.
    fn is_inside(&self, space: &Space) -> bool {
        let inventory = self.sight.inventory;
        inventory
            .containers_in(space.key)
            .next()
            .is_some_and(|container| {
                !container.attachments.is_empty()
                    && container.attachments.iter().all(|attachment| {
                        inventory
                            .network(&attachment.network_id)
                            .is_some_and(|network| network.internal)
                    })
            })
    }

    /// On the host, a container's address has to lead to its bridge.
    fn owns(
        &mut self,
        space: &Space,
        query: &RouteQuery,
        rule: &str,
        by_rule: bool,
        route: &Route,
    ) -> Go<()> {
        let to = query.destination;
        let holds = self.sight.inventory.container_by_address(to).is_some();
        let bridge = self
            .sight
            .inventory
            .network_of(to)
            .filter(|network| network.driver == "bridge")
            .and_then(|network| network.bridge.clone());
        let Some(bridge) = bridge.filter(|_| space.enter.is_empty() && holds) else {
            return Ok(());
        };
        // Without it there is no route by it either: that is not some other route's doing.
        self.bridge_works(&bridge, to)?;
        if route.oif.as_deref() == Some(bridge.as_str())
            || route.kind == crate::host::route::RouteKind::Local
        {
            return Ok(());
        }
        let id = if by_rule {
            "policy-rule-misroutes"
        } else {
            "route-shadows-subnet"
        };
        let oif = route.oif.clone().unwrap_or_default();
        let verdict = Verdict::confirmed(
            id,
            format!("packets to {to} go to {oif} instead of {bridge}"),
        )
        .fact(if by_rule {
            rule.to_owned()
        } else {
            route.to_string()
        })
        .advise(format!(
            "see dockernet-trace check for the way back to {bridge}"
        ));
        self.stop("host", "route", verdict)
    }

    /// Whether a network's bridge is there, up, and has the address that makes its route.
    fn bridge_works(&mut self, bridge: &str, to: IpAddr) -> Go<()> {
        let inventory = self.sight.inventory;
        let Some(network) = inventory.network_by_bridge(bridge) else {
            return Ok(());
        };
        let Some(link) = self.sight.host.link(bridge) else {
            return self.stop("host", "bridge", bridge_gone(network, bridge));
        };
        if !link.up {
            return self.stop("host", "bridge", bridge_is_down(bridge));
        }
        let is_meant = network.is_nat() && !network.internal;
        let mut subnets = network.subnets.iter();
        let subnet = subnets.find(|subnet| is_meant && subnet.prefix.contains(&to));
        match subnet.and_then(|subnet| lost_address(self.sight.inventory, network, subnet, link)) {
            Some(verdict) => self.stop("host", "bridge", verdict),
            None => Ok(()),
        }
    }

    /// Whether an interface forwards what comes in by it.
    pub(super) fn forwards(&mut self, iif: &str, ipv6: bool) -> Go<()> {
        let host = &self.sight.host;
        if ipv6 {
            let key = "net/ipv6/conf/all/forwarding";
            if self.sight.number(host, key) == Some(0) {
                let verdict =
                    Verdict::confirmed("ipv6-forwarding-disabled", "the host forwards no IPv6")
                        .fact(format!("{} = 0", display_key(key)));
                let verdict = forward_ipv6(self.sight, verdict);
                return self.stop("host", "forwarding", verdict);
            }
            self.pass("host", "forwarding", "IPv6 forwarding is on");
            return Ok(());
        }
        let key = interface_key(false, iif, "forwarding");
        if self.sight.number(host, &key) == Some(0) {
            let all = self.sight.number(host, "net/ipv4/ip_forward") == Some(0);
            let verdict = if all {
                Verdict::confirmed("ip-forward-disabled", "the host forwards nothing")
                    .fact("net.ipv4.ip_forward = 0")
                    .set_host_sysctl(&self.sight.files, "net/ipv4/ip_forward", "0", "1")
            } else {
                Verdict::confirmed(
                    "interface-forwarding-disabled",
                    format!("{iif} does not forward what comes in by it"),
                )
                .fact(format!("{} = 0", display_key(&key)))
                .fact("ip_forward = 1, so setting that again mends nothing")
                .set_host_sysctl(&self.sight.files, &key, "0", "1")
            };
            return self.stop("host", "forwarding", verdict);
        }
        self.pass("host", "forwarding", format!("{} = 1", display_key(&key)));
        Ok(())
    }

    /// The reverse path filter: strict demands the way back by the same interface, loose any way.
    /// `to`: where the packet is sent, at this place.
    pub(super) fn reverse_path(
        &mut self,
        space: &Space,
        iif: &str,
        source: IpAddr,
        to: IpAddr,
    ) -> Go<()> {
        if source.is_ipv6() {
            return Ok(());
        }
        let own = self
            .sight
            .number(space, &interface_key(false, iif, "rp_filter"));
        let all = self.sight.number(space, "net/ipv4/conf/all/rp_filter");
        let mode = own.unwrap_or(0).max(all.unwrap_or(0));
        if mode == 0 {
            return Ok(());
        }
        // `__fib_validate_source` (net/ipv4/fib_frontend.c) asks for the way back from where it was sent to.
        let found = space.route(&RouteQuery::to(source).from(to));
        let back = match &found {
            FibMatch::Route { route, .. } if route.leaves_by(iif) => Some(iif.to_owned()),
            FibMatch::Route { route, .. } => {
                let first = route.nexthops.first().map(|hop| hop.oif.clone());
                route.oif.clone().or(first)
            }
            FibMatch::Unsure(rule) => {
                self.unknown(
                    &space.label,
                    "rp_filter",
                    format!("a policy rule has a condition that is not read: {rule}"),
                );
                return Ok(());
            }
            _ => None,
        };
        let good = match mode {
            1 => back.as_deref() == Some(iif),
            _ => back.is_some(),
        };
        if good {
            self.pass(
                &space.label,
                "rp_filter",
                format!("answers to {source} leave by {}", back.unwrap_or_default()),
            );
            return Ok(());
        }
        let key = interface_key(false, iif, "rp_filter");
        let leaves = back.unwrap_or_else(|| "no interface".to_owned());
        let verdict = Verdict::confirmed(
            "rp-filter",
            format!("{source} came in by {iif}, but answers to it would leave by {leaves}"),
        )
        .fact(format!(
            "the larger of {} and net.ipv4.conf.all.rp_filter is {mode}",
            display_key(&key)
        ));
        let verdict = if space.enter.is_empty() {
            verdict.set_host_sysctl(&self.sight.files, &key, &mode.to_string(), "2")
        } else {
            verdict
                .run(space.command(&format!("sysctl -w {key}=2")), space.label.clone(), None, Impact::None)
                .advise("to keep it: recreate the container with --sysctl net.ipv4.conf.all.rp_filter=2")
        };
        self.stop(&space.label, "rp_filter", verdict)
    }
}

/// Docker 28 and later keep networks apart before routing already.
fn isolated(found: &Attribution) -> Verdict {
    Verdict::confirmed("network-isolation", "Docker keeps the two networks apart")
        .fact(found.sentence())
        .advise("connect one of them to the other's network (docker network connect NETWORK CONTAINER), or publish the port and use the host's address")
        .rule(Rule::from(found))
}

/// What a rule that drops is called.
fn dropped(space: &Space, found: &Attribution, hook: Hook) -> Verdict {
    let container = !space.enter.is_empty();
    let place = found.place();
    let ipv6 = found.dropped.family == crate::host::firewall::Family::Ip6;
    let (id, summary) = match found.kind {
        _ if container => ("container-firewall-drop", format!("a firewall inside {} drops it", space.label)),
        DropKind::DockerUser => ("docker-user-drop", format!("a rule of yours in DOCKER-USER drops it: {place}")),
        DropKind::NetworkIsolation => ("network-isolation", "Docker keeps the two networks apart".to_owned()),
        DropKind::InternalNetwork => ("internal-network", "the network is internal: it has no way out of the host and none in".to_owned()),
        DropKind::Icc => ("icc-disabled", "containers of this network may not talk to each other".to_owned()),
        DropKind::DirectAccess => ("direct-access-drop", "a container's own address is not reached from outside its network (Docker 28 and later)".to_owned()),
        DropKind::LoopbackPublished => ("published-on-loopback", "the port is published for this host alone".to_owned()),
        DropKind::UnpublishedPort => ("port-not-published", "the container's port is not published".to_owned()),
        DropKind::Bridge => ("bridge-filter-drop", format!("a bridge filter drops it: {place}")),
        _ if found.dropped.backend == crate::host::firewall::Backend::Nft && found.owner != crate::host::firewall::Owner::Docker => {
            ("foreign-table-drop", format!("the nft table {} drops it, whatever Docker's rules accept", found.dropped.table))
        }
        DropKind::Input => ("host-input-drop", "the host's own firewall drops it".to_owned()),
        DropKind::ForwardPolicy | DropKind::ForwardRule if ipv6 => ("ipv6-filter-drop", format!("the IPv6 FORWARD hook drops it: {place}")),
        DropKind::ForwardPolicy | DropKind::ForwardRule => ("forward-drop", format!("the FORWARD hook drops it: {place}")),
        DropKind::Output | DropKind::Other => ("unexplained", format!("a rule on the {} hook drops it: {place}", hook.name())),
    };
    let verdict = if id == "unexplained" {
        Verdict::unexplained(summary)
    } else {
        Verdict::confirmed(id, summary)
    };
    let verdict = verdict.fact(found.sentence());
    if found.owner == crate::host::firewall::Owner::Firewalld {
        return verdict.advise(BY_FIREWALLD).rule(Rule::from(found));
    }
    // What keeps all of a network's containers from others: without it they would be as open as nobody asked for.
    let how = match found.kind {
        DropKind::UnpublishedPort | DropKind::DirectAccess => {
            Some("publish the port, and use the host's address")
        }
        DropKind::LoopbackPublished => Some("publish the port on another address than 127.0.0.1"),
        DropKind::Icc => Some(
            "make the network anew without enable_icc=false, or connect both to a second network",
        ),
        DropKind::NetworkIsolation | DropKind::InternalNetwork => {
            Some("connect both to one network (docker network connect NETWORK CONTAINER)")
        }
        _ => None,
    };
    if let Some(how) = how.filter(|_| !container) {
        return verdict
            .advise(format!("if this should pass: {how}"))
            .rule(Rule::from(found));
    }
    verdict
        .advise("if this should pass: publish the port, connect both to one network, or change the rule")
        .run(space.command(&delete(&found.dropped)), if container { space.label.clone() } else { "host".to_owned() }, None, Impact::OpensFirewall)
        .rule(Rule::from(found))
}
