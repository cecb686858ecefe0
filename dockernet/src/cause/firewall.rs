//! Which rule dropped it.

mod fix;
mod forward;
mod manager;
mod packet;
mod purpose;
mod special;
mod translated;

use std::rc::Rc;

pub(super) use self::translated::{arriving, rules_missing};
pub(crate) use self::{
    fix::{accept, delete},
    forward::calls,
    manager::BY_FIREWALLD,
    packet::Addresses,
    translated::{translated_again, untracked},
};
use self::{
    packet::{flow_packet, site},
    purpose::verdict,
};
use super::{Case, Verdict, conntrack, ipvs, noise};
use crate::{
    host::firewall::{self, Attribution, DropKind, Engine, Firewall, FlowPacket, Remaining, Site},
    model::{Confidence, Fix},
};

/// Purposes that are told of where it is not known which dropped a packet.
const SEVERAL: usize = 3;

/// What is known about a packet that rules dropped.
struct Look {
    before: Option<Rc<Firewall>>,
    now: Rc<Firewall>,
    packet: FlowPacket,
    site: Site,
    env: Addresses,
}

impl Look {
    /// At everything with `NETFILTER_DROP`, and on kernels without reasons at what died below `nf_hook_slow`.
    fn at(case: &Case<'_>) -> Option<Self> {
        if case.evidence.reason() != "NETFILTER_DROP" && !case.evidence.reason().is_empty() {
            return None;
        }
        let point = case.evidence.hook?;
        let (before, now) = case.firewall()?;
        Some(Self {
            before,
            now,
            packet: flow_packet(case, point),
            site: site(case, point),
            env: case.addresses()?,
        })
    }

    /// The rule that the kernel itself named.
    fn traced(&self, case: &Case<'_>) -> Option<Attribution> {
        firewall::traced(&self.now, case.traced?, &self.site)
    }

    /// All that may have done it.
    fn remaining(&self) -> Remaining {
        let before = self.before.as_deref();
        Remaining::new(before, &self.now, &self.packet, &self.site, &self.env)
    }

    /// Whether the rule that alone may have done it has.
    fn is_certain(&self, found: &Attribution) -> bool {
        // Where the location says that nf_tables dropped it, a candidate without a rival did it, whatever its conditions
        // (limits, strings) are; but only if all rules were read.
        found.how == "counter"
            || found.dropped.certain
            || self.site.engine == Some(Engine::Nft) && self.now.notes.is_empty()
    }

    fn judge(&self, case: &Case<'_>, found: &Attribution, certain: bool) -> Option<Verdict> {
        if special::is_late_end(case, &self.now, &self.packet, &self.site, &self.env, found) {
            return None;
        }
        special::about_size(case, found, certain)
            .or_else(|| {
                let found = (found, certain);
                special::invalid(case, &self.now, &self.packet, &self.site, &self.env, found)
            })
            .or_else(|| {
                let why = firewall::unaccepted(
                    &self.now,
                    &self.packet,
                    &self.site,
                    &self.env,
                    &found.dropped,
                );
                Some(verdict(case, found, certain)?.maybe_fact(why.map(|why| why.to_string())))
            })
    }
}

/// A rule dropped it, or one of several that are there for the same purpose. Of one that only may have, conntrack and IPVS, which drop
/// at the same places, are rivals.
pub(super) fn netfilter_drop(case: &Case<'_>) -> Option<Verdict> {
    let (found, certain) = by_rules(case)?;
    if certain {
        return Some(found);
    }
    let rival = ipvs::no_backend(case)
        .or_else(|| conntrack::full(case))
        .or_else(|| conntrack::snat_exhausted(case));
    let Some(mut rival) = rival else {
        return Some(found);
    };
    let cause = &mut rival.cause;
    cause.evidence.push(format!("or {}", found.cause.summary));
    cause.evidence.extend(found.cause.evidence);
    cause.fix.extend(found.cause.fix);
    rival.rule = found.rule;
    Some(rival.likely())
}

/// What the rules say, and whether it is certain.
fn by_rules(case: &Case<'_>) -> Option<(Verdict, bool)> {
    let look = Look::at(case)?;
    let remaining = look.remaining();
    let known = look.traced(case).or_else(|| remaining.only(&look.site));
    if let Some(known) = known {
        let certain = look.is_certain(&known);
        return Some((look.judge(case, &known, certain)?, certain));
    }
    let candidates = remaining.candidates;
    let first = candidates.first()?;
    if candidates.iter().any(|other| other.kind != first.kind) {
        return None;
    }
    let mut found = look.judge(case, first, false)?;
    if candidates.len() > 1 {
        found.rule = None;
        found = found.likely();
    }
    Some((found, false))
}

/// Rules of several purposes may have dropped it, and nothing else explains it: all of them are said, the likeliest gives its name.
pub(super) fn one_of_several(case: &Case<'_>) -> Option<Verdict> {
    let look = Look::at(case)?;
    // A rule that is known is not to be blamed on others; nor is an error about a packet that nobody asked for a fault.
    if look.traced(case).is_some() || noise::leftover(case) == Some("error-reply") {
        return None;
    }
    let remaining = look.remaining();
    if remaining.only(&look.site).is_some() {
        return None;
    }
    let candidates = remaining.candidates;
    let which = which_of_them(case, &candidates);
    let mut kinds: Vec<DropKind> = Vec::new();
    let mut found: Vec<Verdict> = Vec::new();
    for candidate in candidates {
        if found.len() < SEVERAL && !kinds.contains(&candidate.kind) {
            found.extend(look.judge(case, &candidate, false));
            kinds.push(candidate.kind);
        }
    }
    // One that the catalogue has no name for is told, but gives none.
    found.sort_by_key(|verdict| verdict.cause.confidence == Confidence::Unknown);
    let mut found = found.into_iter();
    let mut verdict = found.next()?;
    verdict.rule = None;
    let cause = &mut verdict.cause;
    let mut said = vec![cause.summary.clone()];
    for other in found {
        // Rules of different kinds may be there for the same.
        if !said.contains(&other.cause.summary) {
            cause.summary = format!("{}, or {}", cause.summary, other.cause.summary);
            said.push(other.cause.summary);
        }
        for fact in other.cause.evidence {
            if !cause.evidence.contains(&fact) {
                cause.evidence.push(fact);
            }
        }
        for fix in other.cause.fix {
            if !cause.fix.contains(&fix) {
                cause.fix.push(fix);
            }
        }
    }
    cause.confidence = cause.confidence.min(Confidence::Likely);
    cause.fix.insert(0, Fix::Advice { advice: which });
    Some(verdict)
}

/// How to find out. `--trace-rules` sees rules of nf_tables only.
fn which_of_them(case: &Case<'_>, candidates: &[Attribution]) -> String {
    let is_legacy = |other: &Attribution| other.dropped.backend.engine() == Engine::Legacy;
    if candidates.iter().any(is_legacy) {
        let program = if case.is_ipv6() {
            "ip6tables"
        } else {
            "iptables"
        };
        format!(
            "which of them: the one whose packet counter rises ({program}-legacy -vnL, {program} -vnL, nft list ruleset)"
        )
    } else {
        "which of them: dockernet-trace --drops --trace-rules has the kernel name the rule"
            .to_owned()
    }
}
