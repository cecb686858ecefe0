//! Drops by a rule where not the rule is what is wrong.

use dockernet_common::packet::Transport;

use super::fix::{delete, pass_size_errors};
use crate::{
    cause::{Case, Verdict, conntrack, noise},
    host::firewall::{
        Attribution, CtState, Env, Family, Firewall, FlowPacket, Hook, Outcome, Site, simulate_at,
    },
    model::{Impact, Rule},
};

/// ICMP destination unreachable, fragmentation needed (RFC 1191); ICMPv6 packet too big (RFC 4443).
const FRAGMENTATION_NEEDED: (u8, u8) = (3, 4);
const PACKET_TOO_BIG: u8 = 2;

/// Row 68: what was dropped is the message that a packet is too big. Its sender goes on sending such packets.
pub(super) fn about_size(case: &Case<'_>, found: &Attribution, certain: bool) -> Option<Verdict> {
    let icmp = case.packet()?.icmp.as_ref()?;
    let about_size = if case.is_ipv6() {
        icmp.icmp_type == PACKET_TOO_BIG
    } else {
        (icmp.icmp_type, icmp.code) == FRAGMENTATION_NEEDED
    };
    if !about_size {
        return None;
    }
    let inner = icmp.inner.as_ref()?;
    let (sender, target) = (inner.src?, inner.dst?);
    let limit = match &case.evidence.parsed.transport {
        Some(Transport::Icmp(icmp) | Transport::Icmpv6(icmp)) => icmp.mtu,
        _ => None,
    };
    let verdict = Verdict::when(
        certain,
        "pmtu-blackhole",
        format!(
            "the message that packets of {sender} are too big for the way to {target} is dropped: {sender} never learns it, and all \
             that it sends in full size is lost"
        ),
    )
    .fact(found.sentence())
    .maybe_fact(limit.map(|bytes| format!("the message says that {bytes} bytes would pass")));
    let advice = match limit {
        Some(bytes) => format!(
            "for good: give the network the MTU of the way out (com.docker.network.driver.mtu={bytes}, or \"mtu\": {bytes} in \
             /etc/docker/daemon.json), so that no such message is needed"
        ),
        None => "for good: give the network the MTU of the way out (com.docker.network.driver.mtu)"
            .to_owned(),
    };
    Some(
        verdict
            .run(
                case.command(&pass_size_errors(found, case.is_ipv6())),
                case.place(),
                Some("the firewall's own configuration: never drop this message".into()),
                Impact::OpensFirewall,
            )
            .run(
                case.command(&delete(&found.dropped)),
                case.place(),
                None,
                Impact::OpensFirewall,
            )
            .advise(advice)
            .rule(Rule::from(found)),
    )
}

/// A connection's last packet that comes when conntrack has forgotten the connection, dropped by a rule that would let it pass as
/// part of it: browsers and keep-alives end so every day, and nobody waits for it.
pub(super) fn is_late_end(
    case: &Case<'_>,
    now: &Firewall,
    packet: &FlowPacket,
    site: &Site,
    env: &dyn Env,
    found: &Attribution,
) -> bool {
    noise::is_end_without_flow(case)
        && !matches!(found.dropped.family, Family::Bridge | Family::Netdev)
        && passes_in_its_flow(now, packet, site, env)
}

/// Whether the rules would let it pass if conntrack took it for part of a connection.
fn passes_in_its_flow(now: &Firewall, packet: &FlowPacket, site: &Site, env: &dyn Env) -> bool {
    let established = FlowPacket {
        ct_state: CtState::ESTABLISHED,
        ct_status: (0, 0),
        ..packet.clone()
    };
    let tracked = Site {
        nfct: None,
        ..site.clone()
    };
    simulate_at(now, &established, &tracked, env) == Outcome::Accepted
}

/// Row 41: the packet would have passed if conntrack had taken it for part of its connection.
pub(super) fn invalid(
    case: &Case<'_>,
    now: &Firewall,
    packet: &FlowPacket,
    site: &Site,
    env: &dyn Env,
    (found, certain): (&Attribution, bool),
) -> Option<Verdict> {
    const LIBERAL: &str = "net/netfilter/nf_conntrack_tcp_be_liberal";
    const LOOSE: &str = "net/netfilter/nf_conntrack_tcp_loose";
    let flags = case.packet()?.tcp_flags.as_deref()?;
    // The first packet has a state of its own; the last ones come late on healthy hosts too.
    if packet.ct_state != CtState::NO_FLOW
        || flags.contains(['S', 'R', 'F'])
        || !flags.contains('A')
        || !matches!(site.hook, Hook::Input | Hook::Forward | Hook::Output)
        || matches!(found.dropped.family, Family::Bridge | Family::Netdev)
    {
        return None;
    }
    if !passes_in_its_flow(now, packet, site, env) {
        return None;
    }
    let netns = case.netns()?;
    let flow = conntrack::flow_of(case, &netns);
    let loose = conntrack::number(case, &netns, LOOSE);
    let verdict = Verdict::when(
        certain,
        "conntrack-invalid",
        match &flow {
            Some(_) => "conntrack finds that the packet does not fit its connection (INVALID), and a rule drops what is not ESTABLISHED",
            None => "conntrack does not know the connection that the packet belongs to (INVALID), and a rule drops what is not ESTABLISHED",
        },
    )
    .fact(found.sentence())
    .fact("the packet bears no conntrack entry: INVALID; as ESTABLISHED the rules would let it pass")
    .maybe_fact(flow.as_ref().map(conntrack::entry_text))
    .maybe_fact(conntrack::invalid(case, &netns));
    let verdict = match (&flow, loose) {
        (Some(_), _) if conntrack::number(case, &netns, LIBERAL) == Some(0) => {
            case.set_sysctl(verdict, LIBERAL, "0", "1")
        }
        (None, Some(0)) => {
            let verdict = verdict.fact(
                "net.netfilter.nf_conntrack_tcp_loose = 0: what is under way is not picked up",
            );
            case.set_sysctl(verdict, LOOSE, "0", "1")
        }
        _ => verdict,
    };
    Some(
        verdict
            .advise(
                "find why: packets that come by two ways or out of order, a middlebox that rewrites windows, a table that was emptied \
                 (conntrack -F, a firewall's reload)",
            )
            .rule(Rule::from(found)),
    )
}
