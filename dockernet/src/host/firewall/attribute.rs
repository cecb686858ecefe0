//! Which rule dropped a packet.

mod counter;
mod kind;
mod traced;

use std::borrow::Cow;

use super::{
    model::{Backend, Engine, Family, Firewall, Hook, Table},
    owner::{Owner, owner_of},
    packet::{Env, FlowPacket},
    simulate::{Dropped, candidates},
    target::Target,
};
pub use counter::{Moved, moved};
pub use kind::DropKind;
pub(super) use kind::one_name;
pub use traced::{Jump, Traced, traced};

/// Where a packet died, as far as the drop event tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Hook.
    pub hook: Hook,
    /// Whether the bridge's own chains are meant too (or only they, if `family` says so): `br_nf_*` runs the IP chains,
    /// the `bridge` family has its own.
    pub bridge: bool,
    /// Which code ran the rules, where the location tells.
    pub engine: Option<Engine>,
    /// Which family's chain it was, where the stack tells (`nft_do_chain_ipv4` …).
    pub family: Option<Family>,
    /// Whether the dead packet carried a flow (`skb->_nfct`). One that did was not dropped before conntrack.
    pub nfct: Option<bool>,
}

impl Site {
    /// The IP chains on a hook.
    #[must_use]
    pub fn new(hook: Hook) -> Self {
        Self {
            hook,
            bridge: false,
            engine: None,
            family: None,
            nfct: None,
        }
    }

    /// Whether chains of this backend and family run here for such a packet.
    pub(super) fn takes(&self, backend: Backend, family: Family, ipv6: Option<bool>) -> bool {
        if self.engine.is_some_and(|engine| engine != backend.engine()) {
            return false;
        }
        if let Some(wanted) = self.family {
            return wanted == family;
        }
        match family {
            Family::Ip => ipv6 != Some(true),
            Family::Ip6 => ipv6 != Some(false),
            Family::Inet => true,
            Family::Bridge => self.bridge,
            Family::Netdev => matches!(self.hook, Hook::Ingress | Hook::Egress),
            Family::Arp => false,
        }
    }

    /// Whether no chain of this priority can have dropped the packet.
    pub(super) fn rules_out(&self, priority: i32, packet: &FlowPacket) -> bool {
        self.nfct == Some(true)
            && packet.iif.as_deref() != Some("lo")
            && super::simulate::before_conntrack(self.hook, priority)
    }
}

/// A drop and the rule or policy behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// The rule or policy.
    pub dropped: Dropped,
    /// `traced`, `counter` or `simulated`.
    pub how: &'static str,
    /// Who wrote it.
    pub owner: Owner,
    /// What it is for.
    pub kind: DropKind,
}

impl Attribution {
    fn new(firewall: &Firewall, dropped: Dropped) -> Self {
        let owner = owner_of(firewall, &dropped);
        Self {
            kind: DropKind::of(&dropped, owner),
            how: "simulated",
            owner,
            dropped,
        }
    }

    /// `DOCKER-USER #3`, or `FORWARD policy`.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.dropped.rule {
            Some(rule) => format!("{} #{}", self.dropped.chain, rule.number),
            None => format!("{} policy", self.dropped.chain),
        }
    }

    /// The rule's text, or `policy drop`.
    #[must_use]
    pub fn words(&self) -> &str {
        let rule = self.dropped.rule.as_ref();
        rule.map_or("policy drop", |rule| &rule.text)
    }

    /// `FORWARD policy in table ip filter: policy drop`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let dropped = &self.dropped;
        format!(
            "{} in table {} {}: {}",
            self.place(),
            dropped.family.name(),
            dropped.table,
            self.words()
        )
    }
}

impl From<&Attribution> for crate::model::Rule {
    fn from(attribution: &Attribution) -> Self {
        let dropped = &attribution.dropped;
        Self {
            backend: dropped.backend.name().into(),
            table: format!("{} {}", dropped.family.name(), dropped.table),
            chain: dropped.chain.clone(),
            rule: match &dropped.rule {
                Some(rule) => format!("#{} {}", rule.number, rule.text),
                None => "policy drop".to_owned(),
            },
            handle: dropped.rule.as_ref().and_then(|rule| rule.handle),
            how: attribution.how.into(),
            owner: attribution.owner.name().into(),
        }
    }
}

/// A dead packet carries the mark that rules of this hook may have given it: what it had before them is then not known.
fn before_marks<'a>(
    firewall: &Firewall,
    packet: &'a FlowPacket,
    site: &Site,
) -> Cow<'a, FlowPacket> {
    let marks = |table: &Table, mark: u32| {
        let here = table.chains.iter().any(|chain| {
            let base = chain.base.as_ref();
            base.is_some_and(|base| base.hook == site.hook)
        });
        let rules = table.chains.iter().flat_map(|chain| &chain.rules);
        here && rules
            .flat_map(|rule| &rule.targets)
            .any(|target| gives(target, mark))
    };
    match packet.mark {
        Some(mark) if firewall.tables().any(|(_, table)| marks(table, mark)) => {
            Cow::Owned(FlowPacket {
                mark: None,
                ..packet.clone()
            })
        }
        _ => Cow::Borrowed(packet),
    }
}

/// Whether a packet may have this mark from here. The last rule that changes a mark leaves its bits in it; one that is not
/// known (`CONNMARK --restore-mark`) is taken to have left those without any mark alone.
fn gives(target: &Target, carried: u32) -> bool {
    match target {
        Target::SetMark { mask, value } => carried & mask == value & mask,
        Target::SetMarkUnknown => carried != 0,
        _ => false,
    }
}

/// Everything that may have dropped a packet which is known to have been dropped here: the certain one first, then those
/// that depend on the fewest things that are not known.
#[must_use]
pub fn drop_candidates(
    firewall: &Firewall,
    packet: &FlowPacket,
    site: &Site,
    env: &dyn Env,
) -> Vec<Attribution> {
    let packet = before_marks(firewall, packet, site);
    let walked = candidates(firewall, &packet, site, env);
    if walked.gave_up {
        return Vec::new();
    }
    let mut drops = walked.drops;
    drops.sort_by_key(|dropped| (!dropped.certain, dropped.doubts.len()));
    drops
        .into_iter()
        .map(|dropped| Attribution::new(firewall, dropped))
        .collect()
}

/// What may have dropped a packet once counters were asked.
///
/// `before` is a read from before the drop, `firewall` one from after it. If any counter moved between them, candidates
/// whose counters stood still are out.
pub struct Remaining {
    /// In the order of [`drop_candidates`].
    pub candidates: Vec<Attribution>,
    moved: Vec<Moved>,
}

impl Remaining {
    /// Walks the rules once.
    #[must_use]
    pub fn new(
        before: Option<&Firewall>,
        firewall: &Firewall,
        packet: &FlowPacket,
        site: &Site,
        env: &dyn Env,
    ) -> Self {
        let mut candidates = drop_candidates(firewall, packet, site, env);
        let moved = before.map_or_else(Vec::new, |before| moved(before, firewall));
        if !moved.is_empty() {
            // A candidate without a counter stays: it may be the one, while others count other packets.
            let (left, still): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|candidate| {
                has_moved(&moved, &candidate.dropped) || !counter::counts(&candidate.dropped)
            });
            // Rules that were taken out and put back count as much as before, now and then: of the table that dropped it one did.
            let is_nft = site.engine == Some(Engine::Nft);
            candidates = if left.is_empty() && is_nft {
                still
            } else {
                left
            };
        }
        Self { candidates, moved }
    }

    /// The one rule or policy that dropped the packet, or nothing where two might have. The one that is left is attributed by
    /// its counter if that moved.
    ///
    /// Where the location does not say that nf_tables dropped it (legacy xtables and conntrack itself share `nf_hook_slow`),
    /// a candidate has to be certain, or counted.
    #[must_use]
    pub fn only(&self, site: &Site) -> Option<Attribution> {
        let [only] = self.candidates.as_slice() else {
            return None;
        };
        let mut only = only.clone();
        let counted = has_moved(&self.moved, &only.dropped);
        if counted {
            only.how = "counter";
        }
        let nft = site.engine == Some(Engine::Nft);
        (counted || only.dropped.certain || nft).then_some(only)
    }
}

fn has_moved(moved: &[Moved], dropped: &Dropped) -> bool {
    moved.iter().any(|moved| moved.is(dropped))
}

/// The one rule or policy that dropped the packet ([`Remaining::only`]).
#[must_use]
pub fn attribute(
    before: Option<&Firewall>,
    firewall: &Firewall,
    packet: &FlowPacket,
    site: &Site,
    env: &dyn Env,
) -> Option<Attribution> {
    Remaining::new(before, firewall, packet, site, env).only(site)
}
