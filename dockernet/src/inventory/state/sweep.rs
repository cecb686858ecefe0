//! Forgetting: what ended is kept for a while, and never too much of it, whatever comes and goes.

use std::time::Instant;

use super::{GRAVES, Record, State};
use crate::{
    host::netns::scan,
    inventory::{EngineStatus, TOMBSTONE},
    model::State as Run,
};

/// Folders of engines that are remembered; more of them only if they are there.
const ROOTS: usize = 64;

/// Until when something that ended is kept.
struct Graves {
    now: Instant,
    /// The first that is too many.
    oldest: Option<Instant>,
}

impl Graves {
    fn of(ends: impl Iterator<Item = Instant>, now: Instant) -> Self {
        let mut ends: Vec<Instant> = ends.collect();
        ends.sort_unstable_by(|left, right| right.cmp(left));
        Self {
            now,
            oldest: ends.get(GRAVES).copied(),
        }
    }

    /// It is among the latest, however long ago that was.
    fn has_room(&self, ended: Instant) -> bool {
        self.oldest.is_none_or(|oldest| ended > oldest)
    }

    fn keep(&self, ended: Instant) -> bool {
        self.now.saturating_duration_since(ended) < TOMBSTONE && self.has_room(ended)
    }
}

impl State {
    /// Forgets what ended long ago, oldest first. True: a namespace may have ended without anybody telling, which only a look
    /// at the machine can find.
    pub(in crate::inventory) fn sweep(&mut self, now: Instant) -> bool {
        self.end_the_unclaimed(now);
        let before = (self.spaces.len(), self.containers.len());
        let is_told = matches!(self.status, EngineStatus::Up { .. });
        // The engine says what it has removed; of others' containers, and while it does not answer, nobody does.
        let is_kept_by_engine = |record: &Record| record.described && !record.removed && is_told;
        let graves = Graves::of(
            self.containers
                .values()
                .filter(|record| !is_kept_by_engine(record))
                .filter_map(|record| record.container.ended),
            now,
        );
        self.containers.retain(|_, record| {
            let ended = record.container.ended;
            if record.removed {
                ended.is_some_and(|ended| graves.keep(ended))
            } else if !record.described {
                ended.is_none_or(|ended| graves.keep(ended))
            } else {
                is_told || ended.is_none_or(|ended| graves.has_room(ended))
            }
        });
        let graves = Graves::of(self.spaces.values().filter_map(|space| space.ended), now);
        self.spaces
            .retain(|_, space| space.ended.is_none_or(|ended| graves.keep(ended)));
        let containers = &self.containers;
        self.endpoint_ids
            .retain(|id, _| containers.contains_key(id));
        while self
            .gone
            .front()
            .is_some_and(|gone| now.saturating_duration_since(gone.since) >= TOMBSTONE)
        {
            self.gone.pop_front();
        }
        if self.nameless.len() > GRAVES {
            self.nameless.clear();
        }
        if self.data_roots.len() > ROOTS {
            self.data_roots.retain(|root| root.is_dir());
        }
        self.changed |= before != (self.spaces.len(), self.containers.len());
        self.live()
            .any(|(key, space)| *key != self.host && scan::is_gone(&space.path))
    }

    /// A container that no engine described has ended with its namespace.
    fn end_the_unclaimed(&mut self, now: Instant) {
        let spaces = &self.spaces;
        for record in self.containers.values_mut() {
            let container = &record.container;
            let is_gone = |key| spaces.get(&key).is_none_or(|space| space.ended.is_some());
            if record.described
                || container.ended.is_some()
                || !container.netns.is_some_and(is_gone)
            {
                continue;
            }
            let container = std::sync::Arc::make_mut(&mut record.container);
            container.state = Run::Stopped;
            container.pid = None;
            container.ended = Some(now);
            self.changed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc, time::Duration};

    use super::*;
    use crate::{
        host::link::{Change, Notice},
        inventory::state::{Space, engine::minimal},
        model::{Link, LinkKind, NetnsKey},
    };

    const HOST: NetnsKey = NetnsKey(10);

    fn space(inum: u32, path: &str) -> Space {
        Space {
            inum,
            path: PathBuf::from(path),
            name: None,
            sandbox: None,
            process: None,
            members: Vec::new(),
            nsid: None,
            links: Vec::new(),
            bridged: true,
            ended: None,
        }
    }

    fn state() -> State {
        let mut state = State::new(HOST, 1);
        state.spaces.insert(HOST, space(1, "/proc/self/ns/net"));
        state
    }

    /// A container, its namespace, its end.
    fn come_and_go(state: &mut State, number: u64, described: bool, now: Instant) {
        let (id, key) = (format!("c{number}"), NetnsKey(100 + number));
        state.spaces.insert(key, space(2, "/proc/self/ns/net"));
        let mut container = minimal(&id, None, None, None, None, Run::Running);
        container.netns = Some(key);
        state.put(container, described);
        if let Some(space) = state.spaces.get_mut(&key) {
            space.ended = Some(now);
        }
        if described && let Some(record) = state.containers.get_mut(&id) {
            Arc::make_mut(&mut record.container).ended = Some(now);
        }
    }

    fn held(state: &State) -> usize {
        state
            .spaces
            .len()
            .max(state.containers.len())
            .max(state.endpoint_ids.len())
            .max(state.gone.len())
    }

    #[test]
    fn whatever_comes_and_goes_a_bounded_number_is_kept() {
        let up = EngineStatus::Up {
            version: "28".into(),
            podman: false,
            rootless: false,
        };
        // Of another engine; of ours, whose end it tells; of one that is down.
        for (status, described, is_removed) in [
            (up.clone(), false, false),
            (up, true, true),
            (EngineStatus::Unknown, true, false),
        ] {
            let mut state = state();
            state.status = status;
            let start = Instant::now();
            let mut now = start;
            for number in 0..20_000 {
                // Twenty a second: more in a minute than there is room for.
                now = start + Duration::from_millis(number * 50);
                come_and_go(&mut state, number, described, now);
                if is_removed && let Some(record) = state.containers.get_mut(&format!("c{number}"))
                {
                    record.removed = true;
                }
                if number % 200 == 0 {
                    state.sweep(now);
                    assert!(held(&state) <= GRAVES + 1, "{}", held(&state));
                }
            }
            state.sweep(now);
            assert!(held(&state) >= GRAVES, "{}", held(&state));
            state.sweep(now + TOMBSTONE);
            // Who has gone while the engine was down may be one that only stopped.
            let kept = if described && !is_removed { GRAVES } else { 0 };
            assert_eq!((state.spaces.len(), state.containers.len()), (1, kept));
        }
    }

    #[test]
    fn who_lives_stays() {
        let mut state = state();
        state
            .spaces
            .insert(NetnsKey(11), space(2, "/proc/self/ns/net"));
        let mut container = minimal("other", None, None, None, None, Run::Running);
        container.netns = Some(NetnsKey(11));
        state.put(container, false);
        // Its namespace is not known yet.
        state.put(minimal("new", None, None, None, None, Run::Running), false);
        assert!(!state.sweep(Instant::now() + TOMBSTONE * 2));
        assert_eq!((state.spaces.len(), state.containers.len()), (2, 2));
    }

    #[test]
    fn a_namespace_that_nobody_told_the_end_of_is_looked_for() {
        let mut state = state();
        assert!(!state.sweep(Instant::now()));
        state
            .spaces
            .insert(NetnsKey(11), space(2, "/proc/0/ns/net"));
        assert!(state.sweep(Instant::now()));
    }

    #[test]
    fn a_container_that_nobody_describes_is_back_with_its_next_namespace() {
        let mut state = state();
        let id = "a".repeat(64);
        let live = |state: &mut State, key: u64| {
            let mut live = space(2, "/proc/self/ns/net");
            live.members = vec![(id.clone(), nix::unistd::getpid().as_raw())];
            state.spaces.insert(NetnsKey(key), live);
            state.settle();
            let container = &state.containers[&id].container;
            (container.netns, container.state, container.ended.is_some())
        };
        let running = |key| (Some(NetnsKey(key)), Run::Running, false);
        assert_eq!(live(&mut state, 11), running(11));
        if let Some(space) = state.spaces.get_mut(&NetnsKey(11)) {
            space.ended = Some(Instant::now());
        }
        state.sweep(Instant::now());
        assert!(state.containers[&id].container.ended.is_some());
        assert_eq!(live(&mut state, 12), running(12));
    }

    #[test]
    fn links_and_folders_that_are_gone_are_forgotten() {
        let mut state = state();
        let link = |ifindex: u32| Link {
            ifindex,
            name: format!("veth{ifindex}"),
            kind: LinkKind::Veth,
            master: None,
            peer_ifindex: None,
            peer_netnsid: None,
            mac: None,
            mtu: 1500,
            up: true,
            carrier: true,
            addresses: Vec::new(),
        };
        for ifindex in 1..3000 {
            for change in [Change::Link(link(ifindex)), Change::LinkGone(ifindex)] {
                state.noticed(&Notice { nsid: None, change });
            }
            state.data_roots.push(format!("/nowhere/{ifindex}").into());
        }
        let now = Instant::now();
        state.sweep(now);
        assert_eq!((state.gone.len(), state.data_roots.len()), (GRAVES, 0));
        state.sweep(now + TOMBSTONE);
        assert!(state.gone.is_empty());
    }
}
