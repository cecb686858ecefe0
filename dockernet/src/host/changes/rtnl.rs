//! Links, addresses, routes and policy rules that changed, in words.

use std::collections::HashMap;

use netlink_packet_route::{RouteNetlinkMessage, address::AddressMessage, route::RouteMessage};

use super::Subject;
use crate::{
    host::{link, route},
    model::{Link, LinkKind},
};

/// The host's links as they were, to tell what a notice has changed.
#[derive(Debug, Default)]
pub(super) struct Known {
    links: HashMap<u32, Link>,
}

impl Known {
    pub(super) fn new(links: Vec<Link>) -> Self {
        Self {
            links: links.into_iter().map(|link| (link.ifindex, link)).collect(),
        }
    }

    pub(super) fn name(&self, ifindex: u32) -> Option<String> {
        Some(self.links.get(&ifindex)?.name.clone())
    }

    /// What a notice tells of.
    pub(super) fn changes(&mut self, message: &RouteNetlinkMessage) -> Vec<(Subject, String)> {
        match message {
            RouteNetlinkMessage::NewLink(message) => {
                link::decode(message).map_or_else(Vec::new, |link| self.link(link))
            }
            RouteNetlinkMessage::DelLink(message) => link::decode(message)
                .and_then(|link| self.links.remove(&link.ifindex))
                .map(|link| {
                    let what = format!("{} was deleted", link.name);
                    (Subject::Link(link.name), what)
                })
                .into_iter()
                .collect(),
            RouteNetlinkMessage::NewAddress(message) => {
                self.address(message, "was given to").into_iter().collect()
            }
            RouteNetlinkMessage::DelAddress(message) => self
                .address(message, "was taken from")
                .into_iter()
                .collect(),
            RouteNetlinkMessage::NewRoute(message) => {
                self.route(message, "was added").into_iter().collect()
            }
            RouteNetlinkMessage::DelRoute(message) => {
                self.route(message, "was deleted").into_iter().collect()
            }
            RouteNetlinkMessage::NewRule(_) => {
                vec![(Subject::Rule, "a policy rule was added".to_owned())]
            }
            RouteNetlinkMessage::DelRule(_) => {
                vec![(Subject::Rule, "a policy rule was deleted".to_owned())]
            }
            _ => Vec::new(),
        }
    }

    fn link(&mut self, new: Link) -> Vec<(Subject, String)> {
        let name = new.name.clone();
        let Some(old) = self.links.insert(new.ifindex, new.clone()) else {
            return Vec::new();
        };
        let mut told = Vec::new();
        let mut tell = |what: String| told.push((Subject::Link(name.clone()), what));
        match (old.up, new.up) {
            (true, false) => tell(format!("{name} was set down")),
            (false, true) => tell(format!("{name} was set up")),
            // A bridge has a carrier while one of its ports has: containers come and go.
            (true, true) if old.carrier && !new.carrier && new.kind != LinkKind::Bridge => {
                tell(format!("{name} lost its carrier"));
            }
            _ => {}
        }
        if old.mtu != new.mtu {
            tell(format!("the MTU of {name} became {}", new.mtu));
        }
        if let Some(master) = old.master.filter(|_| old.master != new.master) {
            let master = self.name(master).unwrap_or_else(|| format!("if{master}"));
            told.push((
                Subject::Link(name.clone()),
                format!("{name} was taken off {master}"),
            ));
        }
        told
    }

    fn address(&self, message: &AddressMessage, verb: &str) -> Option<(Subject, String)> {
        let (ifindex, address) = link::decode_address(message)?;
        let device = self.name(ifindex)?;
        let what = format!("{address} {verb} {device}");
        Some((Subject::Address { device, address }, what))
    }

    /// Not of the kernel's own table.
    fn route(&self, message: &RouteMessage, verb: &str) -> Option<(Subject, String)> {
        let name = |index| self.name(index).unwrap_or_else(|| format!("if{index}"));
        let route = route::decode_route(message, &name)?;
        if route.table == route::TABLE_LOCAL {
            return None;
        }
        let what = format!("the route {route} {verb}");
        Some((Subject::Route(route.prefix), what))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::host::changes) fn link(name: &str) -> Link {
        Link {
            ifindex: 7,
            name: name.into(),
            kind: LinkKind::Veth,
            master: None,
            peer_ifindex: None,
            peer_netnsid: None,
            mac: None,
            mtu: 1500,
            up: true,
            carrier: true,
            addresses: Vec::new(),
        }
    }

    #[test]
    fn a_link_tells_what_is_different() {
        let bridge = Link {
            ifindex: 3,
            ..link("br-lan")
        };
        let mut known = Known::new(vec![link("veth1"), bridge]);
        let mut told = |change: fn(&mut Link)| {
            let mut new = link("veth1");
            change(&mut new);
            let told = known.link(new);
            told.into_iter().map(|(_, what)| what).collect::<Vec<_>>()
        };
        assert!(told(|_| {}).is_empty());
        assert_eq!(told(|link| link.up = false), ["veth1 was set down"]);
        assert_eq!(told(|link| link.master = Some(3)), ["veth1 was set up"]);
        assert_eq!(told(|_| {}), ["veth1 was taken off br-lan"]);
        assert_eq!(
            told(|link| link.carrier = false),
            ["veth1 lost its carrier"]
        );
        assert_eq!(
            told(|link| link.mtu = 9000),
            ["the MTU of veth1 became 9000"]
        );
    }

    #[test]
    fn a_new_link_has_not_changed() {
        assert!(Known::default().link(link("veth1")).is_empty());
    }
}
