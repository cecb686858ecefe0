//! One network namespace as it was read.

use std::{net::IpAddr, thread};

use crate::{
    cause::Addresses,
    host::{
        bridge::Bridges,
        firewall::Firewall,
        listeners::Listener,
        neighbour::Neighbour,
        netns::NetnsHandle,
        route::{
            Family, Route,
            fib::{self, FibMatch},
            lookup::RouteQuery,
            rule::PolicyRule,
        },
        state::HostState,
    },
    model::{Link, NetnsKey},
};

/// A namespace.
pub(super) struct Space {
    /// Its key.
    pub key: NetnsKey,
    /// `host`, or the name of the container that made it.
    pub label: String,
    /// It, opened.
    pub handle: NetnsHandle,
    /// Prefix of commands that are run in it from the host; empty for the host.
    pub enter: String,
    /// Interfaces.
    pub links: Vec<Link>,
    /// Routes of both families.
    pub routes: Vec<Route>,
    /// Policy rules of both families.
    pub rules: Vec<PolicyRule>,
    /// ARP and NDP entries.
    pub neighbours: Vec<Neighbour>,
    /// Sockets that wait.
    pub listeners: Vec<Listener>,
    /// Bridges and their ports.
    pub bridges: Bridges,
    /// Rules.
    pub firewall: Firewall,
    /// What could not be read, and why.
    pub unread: Vec<(String, String)>,
}

/// What a namespace is called, before it is read.
pub(super) struct Named {
    pub key: NetnsKey,
    pub label: String,
    pub handle: NetnsHandle,
    pub enter: String,
    pub links: Vec<Link>,
}

impl Space {
    /// Reads everything; what cannot be read is empty and noted.
    pub(super) fn read(state: &dyn HostState, named: Named) -> Self {
        let mut space = Self::without_firewall(state, named);
        space.firewall = Firewall::read(&space.handle);
        for why in &space.firewall.notes {
            let what = format!("firewall rules of {}", space.label);
            space.unread.push((what, why.clone()));
        }
        space
    }

    /// The same without the firewall's rules, which programs have to be asked for: as if there were none.
    pub(super) fn without_firewall(state: &dyn HostState, named: Named) -> Self {
        let Named {
            key,
            label,
            handle,
            enter,
            links,
        } = named;
        let mut unread = Vec::new();
        let mut note = |what: &str, error: anyhow::Error| {
            unread.push((format!("{what} of {label}"), format!("{error:#}")));
        };
        let mut routes = Vec::new();
        let mut rules = Vec::new();
        for family in [Family::V4, Family::V6] {
            match state.routes(&handle, family) {
                Ok(found) => routes.extend(found),
                Err(error) => note("the routes", error),
            }
            match state.rules(&handle, family) {
                Ok(found) => rules.extend(found),
                Err(error) => note("the policy rules", error),
            }
        }
        let neighbours = state.neighbours(&handle).unwrap_or_else(|error| {
            note("the neighbours", error);
            Vec::new()
        });
        let listeners = state.listeners(&handle).unwrap_or_else(|error| {
            note("the sockets", error);
            Vec::new()
        });
        let bridges = state.bridges(&handle).unwrap_or_else(|error| {
            note("the bridges", error);
            Bridges::default()
        });
        Self {
            key,
            label,
            handle,
            enter,
            links,
            routes,
            rules,
            neighbours,
            listeners,
            bridges,
            firewall: Firewall::default(),
            unread,
        }
    }

    /// Reads several at once: most of the time goes into waiting for the firewall's programs.
    pub(super) fn read_all(
        state: &dyn HostState,
        all: Vec<Named>,
        done: &(dyn Fn() + Sync),
    ) -> Vec<Self> {
        const THREADS: usize = 4;
        let mut parts: Vec<Vec<(usize, Named)>> = (0..THREADS).map(|_| Vec::new()).collect();
        for (place, named) in all.into_iter().enumerate() {
            parts[place % THREADS].push((place, named));
        }
        let mut read: Vec<(usize, Self)> = thread::scope(|scope| {
            let threads: Vec<_> = parts
                .into_iter()
                .filter(|part| !part.is_empty())
                .map(|part| {
                    scope.spawn(move || {
                        part.into_iter()
                            .map(|(place, named)| {
                                let space = Self::read(state, named);
                                done();
                                (place, space)
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap_or_default())
                .collect()
        });
        read.sort_by_key(|(place, _)| *place);
        read.into_iter().map(|(_, space)| space).collect()
    }

    /// The rule and route that a packet ends at.
    pub(super) fn route(&self, query: &RouteQuery) -> FibMatch {
        let family = Family::of(query.destination);
        let rules: Vec<PolicyRule> = self
            .rules
            .iter()
            .filter(|rule| rule.family == family)
            .cloned()
            .collect();
        fib::find(&rules, &self.routes, query)
    }

    /// Whether an address is on one of its interfaces.
    pub(super) fn has_address(&self, address: IpAddr) -> bool {
        self.holder(address).is_some()
    }

    /// The interface that has an address.
    pub(super) fn holder(&self, address: IpAddr) -> Option<&Link> {
        self.links
            .iter()
            .find(|link| link.addresses.iter().any(|net| net.addr() == address))
    }

    /// An interface by name.
    pub(super) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// Its own addresses, for firewall rules that ask.
    pub(super) fn addresses(&self) -> Addresses {
        Addresses(
            self.links
                .iter()
                .map(|link| (link.name.clone(), link.addresses.clone()))
                .collect(),
        )
    }

    /// A command as it is run from the host.
    pub(super) fn command(&self, command: &str) -> String {
        format!("{}{command}", self.enter)
    }
}
