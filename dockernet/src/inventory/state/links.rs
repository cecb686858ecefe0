//! Notices of changed links and addresses.

use std::{sync::Arc, time::Instant};

use super::{GRAVES, Gone, Space, State};
use crate::{
    host::link::{Change, Notice},
    model::{LinkKind, NetnsKey},
};

/// What a notice calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::inventory) enum Need {
    /// Nothing more.
    Nothing,
    /// A look for new namespaces.
    New,
    /// A look at everything.
    All,
}

impl State {
    /// Takes a notice in.
    pub(in crate::inventory) fn noticed(&mut self, notice: &Notice) -> Need {
        let key = match notice.nsid {
            None => self.host,
            Some(id) => match self.by_nsid(id) {
                Some(key) => key,
                None => return self.need_for(id),
            },
        };
        match &notice.change {
            Change::Lost => return Need::All,
            // Ids that other namespaces give out say nothing about the host.
            Change::Wired(_) | Change::Unwired(_) if notice.nsid.is_some() => {
                return Need::Nothing;
            }
            Change::Wired(id) => {
                return self.need_for(*id);
            }
            Change::Unwired(id) => {
                if let Some(key) = self.by_nsid(*id)
                    && let Some(space) = self.spaces.get_mut(&key)
                {
                    // Its id stays: the veth that led to it may be reported gone only after it.
                    space.ended = Some(Instant::now());
                    self.changed = true;
                }
                return Need::Nothing;
            }
            Change::Link(_)
            | Change::LinkGone(_)
            | Change::Address(..)
            | Change::AddressGone(..) => {}
        }
        if let Change::LinkGone(index) = notice.change {
            self.bury(key, index);
        }
        let Some(space) = self.spaces.get_mut(&key) else {
            return Need::New;
        };
        self.changed |= apply(space, &notice.change);
        match &notice.change {
            Change::Link(link) if notice.nsid.is_none() && link.kind == LinkKind::Veth => link
                .peer_netnsid
                .map_or(Need::Nothing, |id| self.need_for(id)),
            _ => Need::Nothing,
        }
    }

    fn by_nsid(&self, id: i32) -> Option<NetnsKey> {
        self.live()
            .find(|(_, space)| space.nsid == Some(id))
            .map(|(key, _)| *key)
    }

    /// Remembers a link that is about to be forgotten.
    fn bury(&mut self, key: NetnsKey, index: u32) {
        let link = self
            .spaces
            .get(&key)
            .and_then(|space| space.links.iter().find(|link| link.ifindex == index));
        let Some(link) = link.cloned() else { return };
        let behind = link
            .peer_netnsid
            .filter(|_| key == self.host)
            .and_then(|id| {
                self.spaces
                    .iter()
                    .filter(|(_, space)| space.nsid == Some(id))
                    // The living first, then the latest dead.
                    .max_by_key(|(_, space)| (space.ended.is_none(), space.ended))
                    .map(|(key, _)| *key)
            });
        if self.gone.len() >= GRAVES {
            self.gone.pop_front();
        }
        self.gone.push_back(Gone {
            key,
            link: Arc::new(link),
            behind,
            since: Instant::now(),
        });
    }

    /// Whether the namespace with this id is still to be found.
    fn need_for(&mut self, id: i32) -> Need {
        if self.by_nsid(id).is_some() {
            return Need::Nothing;
        }
        self.unknown_wire = true;
        Need::New
    }
}

fn apply(space: &mut Space, change: &Change) -> bool {
    match change {
        Change::Link(link) => {
            match space
                .links
                .iter_mut()
                .find(|known| known.ifindex == link.ifindex)
            {
                Some(known) => {
                    let mut link = link.clone();
                    link.addresses.clone_from(&known.addresses);
                    let changed = *known != link;
                    *known = link;
                    changed
                }
                None => {
                    space.links.push(link.clone());
                    true
                }
            }
        }
        Change::LinkGone(index) => {
            let before = space.links.len();
            space.links.retain(|link| link.ifindex != *index);
            before != space.links.len()
        }
        Change::Address(index, prefix) => space
            .links
            .iter_mut()
            .find(|link| link.ifindex == *index)
            .is_some_and(|link| {
                let new = !link.addresses.contains(prefix);
                if new {
                    link.addresses.push(*prefix);
                }
                new
            }),
        Change::AddressGone(index, prefix) => space
            .links
            .iter_mut()
            .find(|link| link.ifindex == *index)
            .is_some_and(|link| {
                let before = link.addresses.len();
                link.addresses.retain(|known| known != prefix);
                before != link.addresses.len()
            }),
        Change::Wired(_) | Change::Unwired(_) | Change::Lost => false,
    }
}
