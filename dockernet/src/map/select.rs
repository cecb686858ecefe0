//! What of the map was asked for.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::model::{Device, Interface, Kind, Map, Member, Namespace, Net};
use crate::cli::{Filter, Pattern, Usage, suggest};

/// What a word may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Anything: a word of `map WHAT`.
    Any,
    Container,
    Network,
    Project,
    Interface,
    Address,
}

/// Something that was asked for. Terms of one kind are alternatives; different kinds must all match.
#[derive(Clone, Debug)]
pub struct Term {
    by: By,
    text: String,
    /// Names; none for addresses.
    pattern: Option<Pattern>,
    prefix: Option<IpNet>,
    mac: Option<String>,
}

/// The words of `map WHAT…` and those filters of every job that a map can have.
///
/// # Errors
/// A malformed glob.
pub fn terms(what: &[String], filter: &Filter) -> Result<Vec<Term>, Usage> {
    let mut terms = Vec::new();
    for word in what {
        let word = word.trim();
        let pattern: Pattern = word
            .parse()
            .map_err(|error| Usage(format!("'{word}': {error}")))?;
        terms.push(Term {
            by: By::Any,
            text: word.to_owned(),
            pattern: Some(pattern),
            prefix: address(word),
            mac: mac(word),
        });
    }
    for (by, patterns) in [
        (By::Container, &filter.containers),
        (By::Network, &filter.networks),
        (By::Project, &filter.projects),
        (By::Interface, &filter.interfaces),
    ] {
        terms.extend(patterns.iter().map(|pattern| Term {
            by,
            text: pattern.text().to_owned(),
            pattern: Some(pattern.clone()),
            prefix: None,
            mac: None,
        }));
    }
    terms.extend(filter.addresses.iter().map(|prefix| Term {
        by: By::Address,
        text: prefix.to_string(),
        pattern: None,
        prefix: Some(*prefix),
        mac: None,
    }));
    Ok(terms)
}

fn address(word: &str) -> Option<IpNet> {
    let word = word.trim_start_matches('[').trim_end_matches(']');
    let one = word
        .parse::<std::net::IpAddr>()
        .map(|addr| addr.to_canonical());
    one.map(IpNet::from)
        .or_else(|_| word.parse::<IpNet>().map(|prefix| prefix.trunc()))
        .ok()
}

/// `02:42:AC:11:00:02` and `02-42-ac-11-00-02`.
fn mac(word: &str) -> Option<String> {
    let mac = word.to_ascii_lowercase().replace('-', ":");
    let parts: Vec<&str> = mac.split(':').collect();
    let hex = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    (parts.len() == 6 && parts.iter().all(hex)).then_some(mac)
}

/// Keeps what the terms name. Nothing is left out without terms.
///
/// # Errors
/// A term names nothing here; the nearest name is told.
pub fn keep(map: &mut Map, terms: &[Term]) -> Result<(), Usage> {
    if terms.is_empty() {
        return Ok(());
    }
    let mut used = vec![false; terms.len()];
    let names = names(map);
    let nets = map.networks.clone();
    for namespace in &mut map.namespaces {
        let (container, whole) = (namespace.owner == Kind::Container, namespace.clone());
        let mut any = false;
        namespace.interfaces.retain(|interface| {
            let found = matches(terms, &mut used, |term| {
                term.names_namespace(&whole) || term.names_interface(interface, &nets)
            });
            any |= found;
            found
        });
        // In the host's namespace containers are named alone: its interfaces are not theirs.
        let found = matches(terms, &mut used, |term| {
            term.names_namespace(&whole)
                || (container
                    && whole.interfaces.is_empty()
                    && term.names_networks(&whole.containers))
        });
        if container {
            if !any && !found {
                namespace.containers.clear();
            }
        } else {
            namespace.containers.retain(|member| {
                matches(terms, &mut used, |term| {
                    term.names_member(member) || term.names_namespace(&whole)
                })
            });
        }
        if namespace.containers.is_empty() && !found {
            namespace.problems.clear();
        }
    }
    map.namespaces
        .retain(|namespace| !namespace.interfaces.is_empty() || !namespace.containers.is_empty());
    map.not_running.retain(|member| {
        matches(terms, &mut used, |term| {
            term.names_member(member) || term.names_networks(std::slice::from_ref(member))
        })
    });
    let wanted: BTreeSet<String> = map
        .namespaces
        .iter()
        .flat_map(|namespace| {
            let interfaces = namespace.interfaces.iter();
            interfaces.filter_map(|interface| interface.network.clone())
        })
        .chain(
            map.not_running
                .iter()
                .flat_map(|member| member.networks.iter().cloned()),
        )
        .collect();
    map.networks.retain(|net| {
        let named = matches(terms, &mut used, |term| term.names_network(net));
        named || wanted.contains(&net.name)
    });
    match terms.iter().zip(&used).find(|(_, used)| !**used) {
        Some((term, _)) => Err(term.unknown(&names)),
        None => Ok(()),
    }
}

/// Whether each kind of term has one that matches; notes those that do.
fn matches(terms: &[Term], used: &mut [bool], fits: impl Fn(&Term) -> bool) -> bool {
    let mut kinds: Vec<(By, bool)> = Vec::new();
    for (term, used) in terms.iter().zip(used) {
        let found = fits(term);
        *used |= found;
        match kinds.iter_mut().find(|(by, _)| *by == term.by) {
            Some((_, any)) => *any |= found,
            None => kinds.push((term.by, found)),
        }
    }
    kinds.iter().all(|(_, any)| *any)
}

impl Term {
    fn is(&self, by: By) -> bool {
        self.by == By::Any || self.by == by
    }

    fn name(&self, name: &str) -> bool {
        self.pattern
            .as_ref()
            .is_some_and(|pattern| pattern.matches(name))
    }

    fn names_member(&self, member: &Member) -> bool {
        let container = self.is(By::Container)
            && self
                .pattern
                .as_ref()
                .is_some_and(|pattern| pattern.matches_container(&member.id, &member.name));
        let project = member
            .project
            .as_deref()
            .is_some_and(|name| self.name(name));
        container || (self.is(By::Project) && project)
    }

    /// Names who is in it. The host is a word of its own.
    fn names_namespace(&self, namespace: &Namespace) -> bool {
        match namespace.owner {
            Kind::Host => self.by == By::Any && self.text == "host",
            Kind::Container => namespace
                .containers
                .iter()
                .any(|member| self.names_member(member)),
            Kind::Named | Kind::Sandbox | Kind::Process => {
                self.by == By::Any && self.name(&namespace.name)
            }
        }
    }

    fn names_networks(&self, members: &[Member]) -> bool {
        let mut networks = members.iter().flat_map(|member| &member.networks);
        self.is(By::Network) && networks.any(|name| self.name(name))
    }

    fn names_interface(&self, interface: &Interface, nets: &[Net]) -> bool {
        let hops: Vec<&Device> = std::iter::once(&interface.device)
            .chain(interface.peer.iter().map(|peer| &peer.device))
            .chain(interface.parent.iter().map(|parent| &parent.device))
            .chain(interface.bridge().map(|(_, port)| &port.bridge))
            .collect();
        let net = nets
            .iter()
            .find(|net| Some(&net.name) == interface.network.as_ref());
        self.is(By::Interface) && hops.iter().any(|hop| self.name(&hop.name))
            || self.is(By::Network)
                && (net.is_some_and(|net| self.names_network(net))
                    || self.by == By::Network
                        && hops
                            .iter()
                            .any(|hop| hop.kind == "bridge" && self.name(&hop.name)))
            || self.is(By::Address)
                && (hops.iter().any(|hop| self.holds(hop))
                    || interface.gateway.is_some_and(|addr| self.addresses(addr)))
            || self.mac.is_some() && hops.iter().any(|hop| hop.mac == self.mac)
    }

    fn names_network(&self, net: &Net) -> bool {
        let exact = |prefix: &IpNet| {
            Some(prefix.trunc())
                == self
                    .prefix
                    .filter(|wanted| wanted.prefix_len() < wanted.max_prefix_len())
        };
        self.is(By::Network)
            && (self.name(&net.name)
                || self
                    .pattern
                    .as_ref()
                    .is_some_and(|pattern| pattern.matches_container(&net.id, &net.name))
                || net
                    .bridge
                    .as_deref()
                    .is_some_and(|bridge| self.name(bridge)))
            || self.is(By::Address) && net.subnets.iter().any(|subnet| exact(&subnet.prefix))
    }

    fn addresses(&self, addr: std::net::IpAddr) -> bool {
        self.prefix.is_some_and(|prefix| prefix.contains(&addr))
    }

    fn holds(&self, device: &Device) -> bool {
        device
            .addresses
            .iter()
            .any(|prefix| self.addresses(prefix.addr()))
    }

    fn unknown(&self, names: &BTreeSet<String>) -> Usage {
        let text = &self.text;
        let what = match self.by {
            By::Any if self.mac.is_some() => "nothing here has the MAC address",
            By::Any | By::Address if self.prefix.is_some() => "nothing here has the address",
            By::Any | By::Address => "no container, interface or network is called",
            By::Container => "no container is called",
            By::Network => "no network is called",
            By::Project => "no project is called",
            By::Interface => "no interface is called",
        };
        let hint = if self.prefix.is_some() || self.mac.is_some() {
            String::new()
        } else {
            suggest::hint(text, names.iter().map(String::as_str))
        };
        Usage(format!("{what} '{text}'{hint}"))
    }
}

/// Everything that has a name.
fn names(map: &Map) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    names.extend(map.networks.iter().map(|net| net.name.clone()));
    names.extend(map.not_running.iter().map(|member| member.name.clone()));
    for namespace in &map.namespaces {
        names.insert(namespace.name.clone());
        for member in &namespace.containers {
            names.insert(member.name.clone());
            names.extend(member.project.clone());
        }
        for interface in &namespace.interfaces {
            names.insert(interface.device.name.clone());
            names.extend(interface.peer.iter().map(|peer| peer.device.name.clone()));
        }
    }
    names
}
