//! Connections that others make to a published port, and that end on the host: nothing leads them to the container
//! (row 29). docker-proxy serves them, with its own address in the client's place, or dockerd holds the port and never accepts.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use dockernet_common::conntrack::status;

use super::{Case, Found};
use crate::{
    check::live::{self, Question},
    host::{
        connections::{Connection, connections},
        conntrack,
    },
    inventory::Inventory,
    model::{Container, EndpointKind, Published},
};

/// Protocol number of TCP.
const TCP: u8 = 6;

/// Such connections, where no rule would translate a new one either. How many came since the last look is not known, where others
/// of before are still tracked: at most as many as came to the host.
pub(super) fn judge(case: &Case<'_>) -> Result<Vec<Found>> {
    let all = ended_here(case)?;
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let mut found: Vec<Found> = Vec::new();
    for (verdict, affected) in live::ask(case.inventory, case.host, Question::Translation)? {
        if verdict.cause.id != "nat-rules-missing" {
            continue;
        }
        for one in affected {
            let mut ours = all.iter().filter(|(_, container, published)| {
                container.name == one.container && one.published == Some(published.to_string())
            });
            let Some((ends, container, _)) = ours.next() else {
                continue;
            };
            let count = 1 + ours.count() as u64;
            let host = Some(case.inventory.host_key());
            let what = match count {
                1 => "a connection of another machine ends on the host:".to_owned(),
                _ => format!("{count} connections of other machines end on the host, such as"),
            };
            let fact = format!("{what} {} → {}", ends.client, ends.local);
            found.push(Found {
                source: case.inventory.endpoint(ends.client.ip(), host),
                published: one.published,
                events: count.min(case.events),
                ..case.to(container, verdict.clone().fact(fact))
            });
        }
    }
    Ok(found)
}

/// A connection as its client sees it.
#[derive(Clone, Copy)]
struct Ends {
    client: SocketAddr,
    local: SocketAddr,
}

/// The connections of other machines to published ports whose other end is the host's own: those that conntrack knows, short ones
/// of the last two minutes among them; else those that are open.
fn ended_here<'a>(case: &Case<'a>) -> Result<Vec<(Ends, &'a Container, &'a Published)>> {
    let inventory = case.inventory;
    let tracked = conntrack::flows_where(case.host, |entry| {
        entry.protocol == TCP
            && entry.status & status::SEEN_REPLY != 0
            && entry.reply.src == entry.original.dst
            && entry.original.dst_port.is_some_and(|port| {
                meant_for(inventory, entry.original.src, entry.original.dst, port).is_some()
            })
    });
    let tracked = tracked.unwrap_or_else(|error| {
        // Its kernel module may not be there, and what is kept out of conntrack is not in it.
        log::debug!("{error:#}");
        Vec::new()
    });
    let mut all: Vec<Ends> = tracked
        .iter()
        .filter_map(|flow| {
            let from = &flow.original;
            Some(Ends {
                client: SocketAddr::new(from.src, from.src_port?),
                local: SocketAddr::new(from.dst, from.dst_port?),
            })
        })
        .collect();
    if all.is_empty() {
        let open = connections(case.host)?.into_iter();
        all.extend(open.filter(Connection::is_open).map(|one| Ends {
            client: one.remote,
            local: one.local,
        }));
    }
    Ok(all
        .into_iter()
        .filter_map(|ends| {
            let (client, local) = (ends.client.ip(), ends.local);
            let (container, published) = meant_for(inventory, client, local.ip(), local.port())?;
            Some((ends, container, published))
        })
        .collect())
}

/// Whose published port another machine asks for. The host's own connections, and those of containers on the same bridge, are
/// docker-proxy's by design.
fn meant_for(
    inventory: &Inventory,
    client: IpAddr,
    local: IpAddr,
    port: u16,
) -> Option<(&Container, &Published)> {
    let (container, published) = inventory.published("tcp", local, port)?;
    let kind = |address| inventory.endpoint(address, Some(inventory.host_key())).kind;
    let is_meant = container.runs()
        && kind(client) == EndpointKind::External
        && kind(local) == EndpointKind::Host;
    is_meant.then_some((container, published))
}
