//! Single judgements of a check, for findings while tracing: something failed just now, and only what may be behind it
//! is read.

use std::{cell::RefCell, collections::HashMap, net::IpAddr};

use anyhow::{Context as _, Result, bail};

use super::{
    families::{
        self,
        tracking::{Flow, Host, stale_flow},
    },
    finding::{Affected, Finding, Grade},
    sight::{self, Sight},
    space::{Named, Space},
};
use crate::{
    cause::Verdict,
    host::{
        accept_queue::AcceptQueue,
        bridge, conntrack,
        daemon::Daemon,
        netns::NetnsHandle,
        route::Family,
        state::{HostState, LiveState},
    },
    inventory::Inventory,
    map::{self, read::Reading},
    model::{Container, NetnsInfo, NetnsKey, NetworkMode, Published},
};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Whether the container in this namespace has a way out, by IPv4.
    WayOut(NetnsKey),
    /// Whether addresses are translated: of what containers send out, and of what comes to published ports.
    Translation,
}

/// What is broken, by the check's own judgement, with the containers and published ports that suffer.
///
/// # Errors
/// A namespace cannot be entered or read.
pub(crate) fn ask(
    inventory: &Inventory,
    host: &NetnsHandle,
    question: Question,
) -> Result<Vec<(Verdict, Vec<Affected>)>> {
    let state = LiveState;
    let info = inventory
        .host_netns()
        .context("the host's network namespace was not found")?;
    let reading = Reading {
        bridges: HashMap::from([(info.key, bridge::bridges(host)?)]),
        ..Reading::default()
    };
    let map = map::build::map(inventory, &reading, "");
    let named = Named {
        key: info.key,
        label: "host".into(),
        handle: host.clone(),
        enter: String::new(),
        links: info.links.clone(),
    };
    let (host, spaces) = match question {
        Question::WayOut(key) => (
            Space::without_firewall(&state, named),
            vec![container_space(inventory, &state, key)?],
        ),
        Question::Translation => (Space::read(&state, named), Vec::new()),
    };
    // Rules that could not be read would be missing rules.
    if question == Question::Translation
        && let Some(note) = host.firewall.notes.first()
    {
        bail!("the host's firewall rules: {note}");
    }
    let daemon = Daemon::look(&host.handle);
    let sight = Sight {
        inventory,
        map: &map,
        state: &state,
        host,
        spaces,
        files: state.sysctl_files(),
        daemon,
        endings: HashMap::new(),
        unread: RefCell::default(),
    };
    let found = match question {
        // The counter that asks is IPv4's.
        Question::WayOut(key) => inventory
            .containers_in(key)
            .filter(|container| container.mode == NetworkMode::Networks)
            .filter_map(|container| {
                families::gateway::of(&sight, container, sight.space_of(container)?, Family::V4)
            })
            .collect(),
        Question::Translation => families::nat::find(&sight),
    };
    Ok(found
        .into_iter()
        .filter(|finding| matches!(finding.grade, Grade::Broken | Grade::Risk))
        .map(|finding| {
            let Finding {
                affects,
                cause,
                rule,
                ..
            } = finding;
            (Verdict { cause, rule }, affects)
        })
        .collect())
}

fn container_space(inventory: &Inventory, state: &dyn HostState, key: NetnsKey) -> Result<Space> {
    let info = inventory
        .netns(key)
        .context("the container has ended meanwhile")?;
    Ok(Space::without_firewall(
        state,
        Named {
            key,
            label: inventory.namespace_label(key).unwrap_or_default(),
            handle: sight::open(state, info)?,
            enter: enter(info),
            links: info.links.clone(),
        },
    ))
}

/// Opens the namespace of an inventory entry; it must still be the one that it was.
///
/// # Errors
/// It is gone.
pub(crate) fn open(info: &NetnsInfo) -> Result<NetnsHandle> {
    sight::open(&LiveState, info)
}

/// What a command is preceded by, to run it in a namespace from the host.
#[must_use]
pub(crate) fn enter(info: &NetnsInfo) -> String {
    format!("nsenter --net={} ", info.path.display())
}

/// A listener of a container whose accept queue is full.
#[must_use]
pub(crate) fn accept_queue_full(container: &Container, queue: &AcceptQueue) -> Verdict {
    families::queues::verdict(container, queue)
}

/// A container some listener of which had no room for a moment.
#[must_use]
pub(crate) fn accept_queue_was_full(container: &Container) -> Verdict {
    let summary = format!(
        "a listener in {} had more connections waiting than its backlog allows: they time out or are tried again",
        container.name
    );
    families::queues::mend(
        Verdict::when(false, "accept-queue-full", summary),
        container,
    )
}

/// A container whose programs are frozen.
#[must_use]
pub(crate) fn paused(container: &Container) -> Verdict {
    families::sockets::paused_verdict(container)
}

/// Whose published port a tracked flow of UDP asks for, if it leads elsewhere.
#[must_use]
pub(crate) fn stale_udp<'i>(
    inventory: &'i Inventory,
    has_rule: &dyn Fn(IpAddr, u16) -> bool,
    entry: &conntrack::Flow,
) -> Option<(&'i Container, &'i Published, Verdict)> {
    let links = &inventory.host_netns()?.links;
    let host = Host {
        inventory,
        has_address: &|address| {
            let mut addresses = links.iter().flat_map(|link| &link.addresses);
            addresses.any(|own| own.addr() == address)
        },
        has_rule,
    };
    let flow = Flow {
        client: entry.original.src,
        to: entry.original.dst,
        port: entry.original.dst_port?,
        answers: entry.reply.src,
    };
    stale_flow(&host, &flow)
}
