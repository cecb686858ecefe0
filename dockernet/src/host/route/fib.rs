//! The kernel's search through rules and tables, done again on a copy of them.
//!
//! The kernel answers a rejected lookup with an errno only; this names the rule or the route that rejects
//! (net/core/fib_rules.c `fib_rules_lookup`, net/ipv4/fib_trie.c `fib_table_lookup`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{
    Route, RouteKind,
    lookup::RouteQuery,
    rule::{PolicyRule, RuleVerdict},
};

/// What the search ends at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FibMatch {
    /// A route, by way of a rule.
    Route {
        /// Rule that named the table.
        rule: PolicyRule,
        /// The route.
        route: Route,
    },
    /// A rule that rejects by itself.
    Rule(PolicyRule),
    /// Nothing matches.
    Nothing,
    /// A rule with a condition that is not read here may have matched before anything else did.
    Unsure(PolicyRule),
}

impl FibMatch {
    /// True where a rule or a route exists to refuse this packet.
    #[must_use]
    pub fn rejects(&self) -> bool {
        match self {
            Self::Route { route, .. } => route.kind.rejects(),
            Self::Rule(rule) => rule.verdict.rejects(),
            Self::Nothing | Self::Unsure(_) => false,
        }
    }

    /// The rule or the route, as `ip` prints it.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Route { route, .. } => Some(route.to_string()),
            Self::Rule(rule) | Self::Unsure(rule) => Some(rule.to_string()),
            Self::Nothing => None,
        }
    }

    /// The command that deletes what rejects; `None` where nothing rejects.
    #[must_use]
    pub fn delete_command(&self) -> Option<String> {
        match self {
            _ if !self.rejects() => None,
            Self::Route { route, .. } => Some(route.delete_command()),
            Self::Rule(rule) => Some(rule.delete_command()),
            Self::Nothing | Self::Unsure(_) => None,
        }
    }
}

/// Searches `rules` (lowest priority first) and `routes` of the query's family.
#[must_use]
pub fn find(rules: &[PolicyRule], routes: &[Route], query: &RouteQuery) -> FibMatch {
    let mut at = 0;
    while let Some(rule) = rules.get(at) {
        at += 1;
        if !matches(rule, query) {
            continue;
        }
        match rule.verdict {
            _ if rule.unread => return FibMatch::Unsure(rule.clone()),
            RuleVerdict::Nop => {}
            // Rules are sorted and a goto only leads forward, so this ends.
            RuleVerdict::Goto(priority) => {
                let ahead = rules.iter().skip(at).position(|r| r.priority >= priority);
                match ahead {
                    Some(distance) => at += distance,
                    None => return FibMatch::Nothing,
                }
            }
            RuleVerdict::Blackhole | RuleVerdict::Unreachable | RuleVerdict::Prohibit => {
                return FibMatch::Rule(rule.clone());
            }
            RuleVerdict::Table(table) => {
                let Some(route) = best(routes, table, query) else {
                    continue;
                };
                let suppressed = rule
                    .suppress_prefixlength
                    .is_some_and(|length| route.prefix.prefix_len() <= length);
                // A throw route ends the search in its table only.
                if route.kind != RouteKind::Throw && !suppressed {
                    return FibMatch::Route {
                        rule: rule.clone(),
                        route: route.clone(),
                    };
                }
            }
        }
    }
    FibMatch::Nothing
}

/// The longest prefix of a table, then the lowest metric.
fn best<'a>(routes: &'a [Route], table: u32, query: &RouteQuery) -> Option<&'a Route> {
    routes
        .iter()
        .filter(|route| route.table == table && !route.dead)
        .filter(|route| route.prefix.contains(&query.destination))
        .filter(|route| {
            let source = source(query);
            route.from.is_none_or(|from| from.contains(&source))
        })
        .min_by_key(|route| {
            let length = route.prefix.prefix_len();
            (u8::MAX - length, route.metric)
        })
}

fn source(query: &RouteQuery) -> IpAddr {
    query.source.unwrap_or(match query.destination {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    })
}

fn matches(rule: &PolicyRule, query: &RouteQuery) -> bool {
    let within = |range: Option<(u16, u16)>, port: Option<u16>| {
        range.is_none_or(|(first, last)| port.is_some_and(|port| (first..=last).contains(&port)))
    };
    let iif = query.iif.as_deref().unwrap_or("lo");
    let matched = rule.from.is_none_or(|from| from.contains(&source(query)))
        && rule.to.is_none_or(|to| to.contains(&query.destination))
        && rule.iif.as_deref().is_none_or(|name| name == iif)
        // No packet here is bound to an interface on its way out.
        && rule.oif.is_none()
        && rule.tos == 0
        && rule
            .fwmark
            .is_none_or(|(mark, mask)| (mark ^ query.mark) & mask == 0)
        && rule
            .protocol
            .is_none_or(|protocol| query.protocol == Some(protocol))
        && within(rule.source_ports, query.source_port)
        && within(rule.destination_ports, query.destination_port)
        && rule.uids.is_none_or(|(first, _)| first == 0);
    matched != rule.not
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::host::route::{Family, TABLE_LOCAL, TABLE_MAIN};

    fn route(prefix: &str, kind: RouteKind, table: u32) -> Route {
        let mut route = Route::new(prefix.parse().unwrap(), kind);
        route.table = table;
        route
    }

    fn rule(priority: u32, verdict: RuleVerdict) -> PolicyRule {
        PolicyRule::new(Family::V4, priority, verdict)
    }

    fn usual() -> Vec<PolicyRule> {
        vec![
            rule(0, RuleVerdict::Table(TABLE_LOCAL)),
            rule(32766, RuleVerdict::Table(TABLE_MAIN)),
            rule(32767, RuleVerdict::Table(253)),
        ]
    }

    fn query(destination: &str) -> RouteQuery {
        RouteQuery::to(destination.parse().unwrap())
            .from("172.17.0.2".parse().unwrap())
            .iif("docker0")
    }

    #[test]
    fn the_longest_prefix_then_the_lowest_metric_wins() {
        let mut worse = route("192.0.2.0/24", RouteKind::Prohibit, TABLE_MAIN);
        worse.metric = 10;
        let routes = [
            route("0.0.0.0/0", RouteKind::Unicast, TABLE_MAIN),
            worse,
            route("192.0.2.0/24", RouteKind::Blackhole, TABLE_MAIN),
        ];
        let found = find(&usual(), &routes, &query("192.0.2.9"));
        assert!(found.rejects());
        assert_eq!(found.text().unwrap(), "blackhole 192.0.2.0/24");
        assert_eq!(
            found.delete_command().unwrap(),
            "ip route del blackhole 192.0.2.0/24"
        );
        let found = find(&usual(), &routes, &query("198.51.100.1"));
        assert!(!found.rejects());
        assert_eq!(found.delete_command(), None);
        let found = find(&usual(), &routes[1..], &query("198.51.100.1"));
        assert_eq!(found, FibMatch::Nothing);
    }

    #[test]
    fn a_rule_rejects_by_itself() {
        let mut rules = usual();
        let mut prohibit = rule(100, RuleVerdict::Prohibit);
        prohibit.from = Some("172.17.0.0/16".parse().unwrap());
        rules.insert(1, prohibit);
        let found = find(&rules, &[], &query("192.0.2.9"));
        assert_eq!(found.text().unwrap(), "100: from 172.17.0.0/16 prohibit");
        assert_eq!(
            found.delete_command().unwrap(),
            "ip rule del priority 100 from 172.17.0.0/16 prohibit"
        );
        rules[1].iif = Some("eth0".into());
        assert_eq!(find(&rules, &[], &query("192.0.2.9")), FibMatch::Nothing);
        rules[1].iif = None;
        rules[1].not = true;
        assert_eq!(find(&rules, &[], &query("192.0.2.9")), FibMatch::Nothing);
    }

    #[test]
    fn throw_suppress_goto_and_marks_go_on() {
        let routes = [
            route("192.0.2.0/24", RouteKind::Throw, 100),
            route("0.0.0.0/0", RouteKind::Unreachable, 100),
            route("0.0.0.0/0", RouteKind::Unicast, TABLE_MAIN),
            route("192.0.2.0/24", RouteKind::Prohibit, 200),
        ];
        let mut rules = usual();
        rules.insert(1, rule(50, RuleVerdict::Table(100)));
        assert!(!find(&rules, &routes, &query("192.0.2.9")).rejects());
        assert!(find(&rules, &routes, &query("203.0.113.9")).rejects());
        rules[1].suppress_prefixlength = Some(0);
        assert!(!find(&rules, &routes, &query("203.0.113.9")).rejects());
        rules.insert(1, rule(40, RuleVerdict::Goto(32766)));
        assert!(!find(&rules, &routes, &query("203.0.113.9")).rejects());
        let mut marked = rule(10, RuleVerdict::Table(200));
        marked.fwmark = Some((0x10, 0xf0));
        rules.insert(1, marked);
        assert!(!find(&rules, &routes, &query("192.0.2.9")).rejects());
        let mut packet = query("192.0.2.9");
        packet.mark = 0x13;
        assert!(find(&rules, &routes, &packet).rejects());
    }

    #[test]
    fn an_unread_condition_is_not_guessed() {
        let mut rules = usual();
        rules.insert(1, rule(50, RuleVerdict::Table(100)));
        rules[1].unread = true;
        let found = find(&rules, &[], &query("192.0.2.9"));
        assert!(matches!(found, FibMatch::Unsure(_)));
    }
}
