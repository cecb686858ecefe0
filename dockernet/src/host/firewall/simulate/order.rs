//! Which base chains see a packet at a hook, and in which order.

use super::{
    Backend, Base, ChainKind, Family, Firewall, FlowPacket, Hook, Site, Table, Target,
    view::{NAT_DST, NAT_SRC},
};
use crate::host::firewall::{
    eval::{Changed, Truth},
    model::Chain,
};

/// A base chain at a hook.
pub(super) struct Seat<'a> {
    pub(super) backend: Backend,
    pub(super) table: &'a Table,
    pub(super) chain: &'a Chain,
    pub(super) base: &'a Base,
    /// Priority that the kernel runs it at.
    pub(super) at: i32,
    /// Whether it sees the packet at all.
    pub(super) sees: Truth,
    /// Whether rules of its table set marks.
    pub(super) marks: bool,
}

/// The hook's chains in order.
pub(super) fn seats<'a>(firewall: &'a Firewall, packet: &FlowPacket, site: &Site) -> Vec<Seat<'a>> {
    let mut seats: Vec<Seat<'a>> = firewall
        .tables()
        .filter(|(backend, table)| site.takes(*backend, table.family, packet.is_ipv6()))
        .flat_map(|(backend, table)| {
            let marks = targets(table).any(|target| {
                matches!(
                    target,
                    Target::SetMark { .. } | Target::SetMarkUnknown | Target::SetCtMark
                )
            });
            table.chains.iter().filter_map(move |chain| {
                let base = chain.base.as_ref()?;
                Some(Seat {
                    backend,
                    table,
                    chain,
                    base,
                    at: runs_at(base),
                    sees: bound(base, packet),
                    marks,
                })
            })
        })
        .filter(|seat| seat.base.hook == site.hook && seat.sees != Truth::No)
        .filter(|seat| !site.rules_out(seat.at, packet))
        .collect();
    seats.sort_by_key(|seat| (seat.at, seat.base.priority));
    seats
}

/// Chains of type nat all run where NAT does: their own priority only orders them among themselves
/// (`nf_nat_register_fn`, net/netfilter/nf_nat_core.c).
fn runs_at(base: &Base) -> i32 {
    match (base.kind, base.hook) {
        (ChainKind::Nat, Hook::Prerouting | Hook::Output) => NAT_DST,
        (ChainKind::Nat, _) => NAT_SRC,
        _ => base.priority,
    }
}

/// Whether a chain that is bound to devices sees the packet.
fn bound(base: &Base, packet: &FlowPacket) -> Truth {
    let device = match base.hook {
        Hook::Ingress => packet.iif.as_deref(),
        Hook::Egress => packet.oif.as_deref(),
        _ => return Truth::Yes,
    };
    // Devices by the beginning of their names (6.16+) end with a `*`.
    let is = |bound: &String, device: &str| match bound.strip_suffix('*') {
        Some(start) => device.starts_with(start),
        None => bound == device,
    };
    match device {
        Some(_) if base.devices.is_empty() => Truth::Maybe,
        Some(device) => base.devices.iter().any(|bound| is(bound, device)).into(),
        None => Truth::Maybe,
    }
}

fn targets(table: &Table) -> impl Iterator<Item = &Target> {
    let rules = table.chains.iter().flat_map(|chain| &chain.rules);
    rules.flat_map(|rule| &rule.targets)
}

/// What rules of these chains may change in a packet.
pub(super) fn changed(seats: &[Seat<'_>]) -> Changed {
    let mut changed = Changed::default();
    for target in seats.iter().flat_map(|seat| targets(seat.table)) {
        match target {
            Target::Change(Some(field)) => changed.fields.push(*field),
            Target::Change(None) => changed.any = true,
            _ => {}
        }
    }
    changed
}

/// Whether rules of these chains may keep a packet out of conntrack.
pub(super) fn untracks(seats: &[Seat<'_>]) -> bool {
    let mut targets = seats.iter().flat_map(|seat| targets(seat.table));
    targets.any(|target| matches!(target, Target::Untrack))
}

/// Whether a table's chains are for one IP version only.
pub(super) fn of_one_version(table: &Table) -> bool {
    matches!(table.family, Family::Ip | Family::Ip6)
}
