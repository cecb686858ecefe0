//! Programs and filters of others that may drop packets: what they do cannot be told from outside.

use std::collections::BTreeMap;

use crate::{
    cause::Verdict,
    check::{Finding, Grade, Sight, Subject, space::Space},
    host::attached::Attached,
    model::LinkKind,
};

/// Places that are named for one program.
const NAMED: usize = 8;

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut add = |attached: Vec<Attached>, place: &str| {
        for one in attached {
            let places = found.entry(one.to_string()).or_default();
            if !places.iter().any(|known| known == place) {
                places.push(place.to_owned());
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
        .map(|(program, places)| note(&program, &places))
        .collect()
}

fn note(program: &str, places: &[String]) -> Finding {
    let named = places.iter().take(NAMED).cloned().collect::<Vec<_>>();
    let more = places.len() - named.len();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let verdict = Verdict::when(
        false,
        "bpf-drop",
        format!("a program or filter of others may drop containers' packets: {program}"),
    )
    .fact(format!("at {}{more}", named.join(", ")))
    .advise("what it does cannot be told from outside; dockernet-trace --drops names what it drops (bpftool prog show, tc filter show)");
    Finding::new(Grade::Note, Subject::host(), verdict)
}
