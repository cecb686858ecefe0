//! Connections that docker-proxy carries: which of its clients it opened one for.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
};

use dockernet_common::{
    conntrack::{info, status},
    nat::NatRecord,
    packet::TCP,
};

use crate::{
    evidence::packet::protocol_name,
    host::proxies::{Proxies, Proxy},
    inventory::Inventory,
    model::{EndpointKind, Tuple},
};

/// A proxy opens its connection at once; a client that has not led to one by now will not.
const PATIENCE_NS: u64 = 3_000_000_000;

/// A client of a published port that the host itself serves.
struct Client {
    tuple: Tuple,
    ktime_ns: u64,
}

/// Clients of one published port.
#[derive(Default)]
struct Opening {
    /// In the order in which they came.
    clients: VecDeque<Client>,
    /// Connections that were opened while there were several clients: whose they are is not known.
    taken: usize,
}

/// Who waits for docker-proxy.
#[derive(Default)]
pub(super) struct Carried {
    proxies: Proxies,
    /// By protocol and published port.
    opening: HashMap<(u8, u16), Opening>,
}

/// A connection of docker-proxy's.
pub(super) struct Carrier {
    pub pid: u32,
    pub proxy: Proxy,
    /// The only one that was opening; none if there were several, or none was seen.
    pub client: Option<Tuple>,
}

impl Carried {
    /// The host serves a client on a published port. It may be docker-proxy that does.
    pub(super) fn served(&mut self, record: &NatRecord, inventory: &Inventory) {
        // The answer of a TCP server leaves before docker-proxy connects; a UDP answer comes after, too late for this.
        if record.original.protocol != TCP && record.info != info::NEW {
            return;
        }
        let Some(tuple) = Tuple::of(&record.original) else {
            return;
        };
        let is_ours = inventory
            .endpoint(tuple.dst, Some(inventory.host_key()))
            .kind
            == EndpointKind::Host;
        if !is_ours {
            return;
        }
        // Where it arrives: REDIRECT may have changed the port.
        let port = if record.status & status::DST_NAT == 0 {
            record.original.dst_port
        } else {
            record.reply.src_port
        };
        let port = u16::from_be_bytes(port);
        let opening = self
            .opening
            .entry((record.original.protocol, port))
            .or_default();
        opening.expire(record.ktime_ns);
        opening.clients.push_back(Client {
            tuple,
            ktime_ns: record.ktime_ns,
        });
    }

    /// Forgets ports at which nobody waits.
    pub(super) fn sweep(&mut self, now_ns: u64) {
        self.opening.retain(|_, opening| {
            opening.expire(now_ns);
            !opening.clients.is_empty()
        });
    }

    /// The host opens a connection to a container. None if it is not docker-proxy that does.
    pub(super) fn carrier(&mut self, record: &NatRecord) -> Option<Carrier> {
        let tuple = Tuple::of(&record.original)?;
        let end = |address: IpAddr, port: Option<u16>| Some(SocketAddr::new(address, port?));
        let (pid, proxy) = self.proxies.behind(
            record.tgid,
            &protocol_name(record.original.protocol),
            end(tuple.src, tuple.src_port)?,
            end(tuple.dst, tuple.dst_port)?,
        )?;
        let key = (record.original.protocol, proxy.listens.port());
        let client = self
            .opening
            .get_mut(&key)
            .and_then(|opening| opening.next(record.ktime_ns, &proxy));
        Some(Carrier { pid, proxy, client })
    }
}

impl Opening {
    fn expire(&mut self, now_ns: u64) {
        let is_over = |client: &Client| now_ns.saturating_sub(client.ktime_ns) >= PATIENCE_NS;
        while self.clients.front().is_some_and(is_over) {
            self.clients.pop_front();
            self.taken = self.taken.saturating_sub(1);
        }
    }

    /// The client that a connection was opened for, if that can be told.
    fn next(&mut self, now_ns: u64, proxy: &Proxy) -> Option<Tuple> {
        self.expire(now_ns);
        if self.clients.len() == 1 && self.taken == 0 {
            let client = self.clients.pop_front()?;
            // One docker-proxy listens on 0.0.0.0, another on [::].
            let of_family = client.tuple.dst.to_canonical().is_ipv4() == proxy.listens.is_ipv4();
            return of_family.then_some(client.tuple);
        }
        self.taken += 1;
        if self.taken >= self.clients.len() {
            // All of them have been served by now.
            *self = Self::default();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn client(port: u16, ktime_ns: u64) -> Client {
        Client {
            tuple: Tuple {
                src: "198.51.100.20".parse().unwrap(),
                src_port: Some(port),
                dst: "198.51.100.10".parse().unwrap(),
                dst_port: Some(10001),
            },
            ktime_ns,
        }
    }

    fn proxy() -> Proxy {
        Proxy {
            protocol: "tcp".into(),
            listens: "0.0.0.0:10001".parse().unwrap(),
            container: "172.17.0.2:80".parse().unwrap(),
        }
    }

    #[test]
    fn a_client_is_named_only_if_it_was_the_only_one() {
        let mut opening = Opening::default();
        opening.clients.push_back(client(1, 10));
        assert_eq!(opening.next(20, &proxy()).unwrap().src_port, Some(1));
        assert_eq!(opening.next(21, &proxy()), None, "nobody waits");
        opening.clients.push_back(client(2, 30));
        opening.clients.push_back(client(3, 31));
        assert_eq!(opening.next(32, &proxy()), None);
        assert_eq!(
            opening.next(33, &proxy()),
            None,
            "one of two is served, whose turn is not known"
        );
        opening.clients.push_back(client(4, 40));
        assert_eq!(opening.next(41, &proxy()).unwrap().src_port, Some(4));
    }

    #[test]
    fn a_client_that_came_to_nothing_is_forgotten() {
        let mut opening = Opening::default();
        opening.clients.push_back(client(1, 10));
        opening.clients.push_back(client(2, PATIENCE_NS + 11));
        let next = opening.next(PATIENCE_NS + 12, &proxy()).unwrap();
        assert_eq!(next.src_port, Some(2));
    }

    #[test]
    fn ports_at_which_nobody_waits_are_forgotten() {
        let mut carried = Carried::default();
        // Containers come and go with ports of their own.
        for port in 1..=60_000_u16 {
            let now = u64::from(port) * 1_000_000;
            let opening = carried.opening.entry((TCP, port)).or_default();
            opening.clients.push_back(client(port, now));
            if port % 1000 == 0 {
                carried.sweep(now);
                assert!(carried.opening.len() <= 3000, "{}", carried.opening.len());
            }
        }
        carried.sweep(60_000 * 1_000_000 + PATIENCE_NS);
        assert!(carried.opening.is_empty());
    }
}
