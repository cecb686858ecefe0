//! Programs and filters of others that may drop packets: what they do cannot be told from outside.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    cause::Verdict,
    check::{Finding, Grade, Sight, Subject, space::Space},
    host::attached::Attached,
    model::LinkKind,
};

/// Places that are named for one program.
const NAMED: usize = 8;

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    // Agents load one of a kind for each interface.
    let mut found: BTreeMap<(String, String), Kind> = BTreeMap::new();
    let mut add = |attached: Vec<Attached>, place: &str| {
        for one in attached {
            let kind = found.entry((one.at.to_string(), one.name)).or_default();
            kind.ids.extend(one.id);
            if !kind.places.iter().any(|known| known == place) {
                kind.places.push(place.to_owned());
            }
        }
    };
    let uplinks: Vec<u32> = sight
        .uplinks()
        .iter()
        .map(|uplink| uplink.link.ifindex)
        .collect();
    let on_the_way = |space: &&Space, link: &&crate::model::Link| {
        link.kind != LinkKind::Loopback
            && link.up
            && (space.key != sight.host.key
                || uplinks.contains(&link.ifindex)
                || sight.is_engines(link))
    };
    for space in std::iter::once(&sight.host).chain(&sight.spaces) {
        for link in space.links.iter().filter(|link| on_the_way(&space, link)) {
            match sight.state.attached_to_device(&space.handle, &link.name) {
                Ok(attached) if space.key == sight.host.key => add(attached, &link.name),
                Ok(attached) => add(attached, &format!("{} of {}", link.name, space.label)),
                Err(error) => {
                    let what = format!("the programs at {} in {}", link.name, space.label);
                    sight.unread(Subject::host(), what, &error);
                }
            }
        }
    }
    for container in sight.running() {
        let Some(pid) = container.pid.and_then(|pid| u32::try_from(pid).ok()) else {
            continue;
        };
        // Without a cgroup v2 hierarchy there are none.
        let attached = sight.state.attached_to_process(pid).unwrap_or_default();
        add(attached, &format!("the cgroup of {}", container.name));
    }
    found
        .into_iter()
        .map(|((at, name), kind)| note(&at, &name, &kind))
        .collect()
}

/// Programs of one name at one kind of place.
#[derive(Default)]
struct Kind {
    /// Ids of BPF programs; none for filters of another kind.
    ids: BTreeSet<u32>,
    places: Vec<String>,
}

fn note(at: &str, name: &str, kind: &Kind) -> Finding {
    let some = |all: &mut dyn Iterator<Item = String>, count: usize| {
        let named = all.take(NAMED).collect::<Vec<_>>().join(", ");
        match count.saturating_sub(NAMED) {
            0 => named,
            more => format!("{named} and {more} more"),
        }
    };
    let what = if kind.ids.is_empty() {
        format!("a {name} filter")
    } else {
        format!("BPF program {name}")
    };
    let ids = some(&mut kind.ids.iter().map(u32::to_string), kind.ids.len());
    let verdict = Verdict::when(
        false,
        "bpf-drop",
        format!("{what} at {at} may drop containers' packets"),
    )
    .fact(format!(
        "at {}",
        some(&mut kind.places.iter().cloned(), kind.places.len())
    ))
    .maybe_fact((!kind.ids.is_empty()).then(|| format!("ids of the program: {ids}")))
    .advise("what it does cannot be told from outside; dockernet-trace --drops names what it drops (bpftool prog show, tc filter show)");
    Finding::new(Grade::Note, Subject::host(), verdict)
}
