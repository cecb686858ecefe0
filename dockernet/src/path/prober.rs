//! Which probe is meant, when it is sent, and what of it is told.

use std::{
    net::{IpAddr, SocketAddr},
    sync::mpsc::{Receiver, TryRecvError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;

use super::probe::{Outcome, Probe};
use crate::{
    cli::{
        Target,
        options::{Path, ProbeKind},
    },
    host::netns::NetnsHandle,
    inventory::Inventory,
    model::{Container, LinkKind, PathEvent, ProbeEnd},
};

/// After a probe's end its packets' journeys are finished.
const AFTER: Duration = Duration::from_millis(400);
/// A packet that vanished is called lost only once no neighbour can answer for it any more.
const AFTER_LOSS: Duration = Duration::from_millis(4400);
/// At the start the engine may still have to tell who is who.
const INTRODUCTION: Duration = Duration::from_secs(2);

/// Sends probes and tells how they end.
pub struct Prober {
    from: Option<Target>,
    to: Target,
    kind: ProbeKind,
    every: Option<Duration>,
    host: NetnsHandle,
    running: Option<Running>,
    /// When it was made.
    since: Instant,
    /// When the next one is due.
    next: Instant,
    /// What was told last, without its times.
    told: Option<String>,
    /// What was seen of the probe under way.
    held: Vec<PathEvent>,
    /// How the last one ended.
    pub answered: Option<bool>,
    /// The only one has ended, and that was told.
    is_over: bool,
}

struct Running {
    outcome: Receiver<Outcome>,
    end: ProbeEnd,
    /// When its outcome was known.
    over: Option<Instant>,
}

impl Prober {
    /// Prepares; nothing is sent yet.
    ///
    /// # Errors
    /// Nothing says where to.
    pub fn new(path: &Path, kind: ProbeKind, host: NetnsHandle) -> Result<Self> {
        Ok(Self {
            from: path.from.clone(),
            to: path
                .to
                .clone()
                .context("a probe needs --to: where shall it go?")?,
            kind,
            every: path.every,
            host,
            running: None,
            since: Instant::now(),
            next: Instant::now(),
            told: None,
            held: Vec::new(),
            answered: None,
            is_over: false,
        })
    }

    /// Whether only changes are told.
    #[must_use]
    pub fn is_watch(&self) -> bool {
        self.every.is_some()
    }

    /// Keeps what was seen of the probe under way until it is known whether anything changed.
    pub fn hold(&mut self, events: Vec<PathEvent>) {
        self.held.extend(events);
    }

    /// Sends what is due and gives what is to be told. `None`: the last probe is over. `busy`: packets of the flow are under way.
    ///
    /// # Errors
    /// The probe's ends cannot be found on this host.
    pub fn step(&mut self, inventory: &Inventory, busy: bool) -> Result<Option<Vec<PathEvent>>> {
        if self.is_over {
            return Ok(None);
        }
        let Some(running) = &mut self.running else {
            if Instant::now() < self.next {
                return Ok(Some(Vec::new()));
            }
            return self
                .start(inventory)
                .map_or_else(|error| self.not_sent(error), |()| Ok(Some(Vec::new())));
        };
        if running.over.is_none() {
            let outcome = match running.outcome.try_recv() {
                Ok(outcome) => outcome,
                Err(TryRecvError::Empty) => return Ok(Some(Vec::new())),
                Err(TryRecvError::Disconnected) => {
                    Outcome::Failed("its thread ended without an outcome".to_owned())
                }
            };
            running.over = Some(Instant::now());
            running.end.time = Timestamp::now();
            (running.end.answered, running.end.sentence) = match outcome {
                Outcome::Answered(words) => (true, words),
                Outcome::Failed(words) => (false, words),
            };
        }
        let after = if busy && !running.end.answered {
            AFTER_LOSS
        } else {
            AFTER
        };
        if running.over.is_some_and(|over| over.elapsed() < after) {
            return Ok(Some(Vec::new()));
        }
        self.answered = Some(running.end.answered);
        let end = running.end.clone();
        self.running = None;
        match self.every {
            None => {
                self.is_over = true;
                Ok(Some(vec![PathEvent::Probe(Box::new(end))]))
            }
            Some(every) => {
                self.next += every;
                // Probes that took longer than the interval are not made up for.
                self.next = self.next.max(Instant::now());
                Ok(Some(self.changed(end)))
            }
        }
    }

    /// A container that a watch is about may be gone for a while: that is a change like others.
    fn not_sent(&mut self, error: anyhow::Error) -> Result<Option<Vec<PathEvent>>> {
        let Some(every) = self.every else {
            if self.since.elapsed() < INTRODUCTION {
                return Ok(Some(Vec::new()));
            }
            return Err(error);
        };
        self.next = Instant::now() + every;
        self.answered = Some(false);
        let end = ProbeEnd {
            time: Timestamp::now(),
            from: self
                .from
                .as_ref()
                .map_or_else(|| "host".to_owned(), ToString::to_string),
            to: self.to.to_string(),
            address: self.to.to_string(),
            kind: name(self.kind),
            answered: false,
            sentence: format!("not sent: {error:#}"),
        };
        Ok(Some(self.changed(end)))
    }

    /// The probe's end, and its journeys, if it went otherwise than the one before.
    fn changed(&mut self, end: ProbeEnd) -> Vec<PathEvent> {
        let held = std::mem::take(&mut self.held);
        let causes = held.iter().filter_map(|event| match event {
            PathEvent::Journey(journey) => journey.drop.as_ref().map(|drop| &*drop.cause.id),
            _ => None,
        });
        let words = if end.answered {
            "answered".to_owned()
        } else {
            let mut causes: Vec<&str> = causes.collect();
            causes.sort_unstable();
            causes.dedup();
            format!("{} {}", end.sentence, causes.join(" "))
        };
        if self.told.as_ref() == Some(&words) {
            return Vec::new();
        }
        self.told = Some(words);
        let mut events = vec![PathEvent::Probe(Box::new(end.clone()))];
        if !end.answered {
            events.extend(held);
        }
        events
    }

    fn start(&mut self, inventory: &Inventory) -> Result<()> {
        let (from, netns) = self.place(inventory)?;
        let (to, kind) = self.destination(inventory)?;
        let probe = Probe { kind, to, netns };
        let address = match kind {
            ProbeKind::Icmp => to.ip().to_string(),
            _ => to.to_string(),
        };
        self.running = Some(Running {
            outcome: probe.send()?,
            end: ProbeEnd {
                time: Timestamp::now(),
                from,
                to: self.to.to_string(),
                address,
                kind: name(kind),
                answered: false,
                sentence: String::new(),
            },
            over: None,
        });
        Ok(())
    }

    /// Where it starts.
    fn place(&self, inventory: &Inventory) -> Result<(String, NetnsHandle)> {
        let host = || ("host".to_owned(), self.host.clone());
        let Some(from) = &self.from else {
            return Ok(host());
        };
        if matches!(from, Target::Name(name, _) if name == "host") {
            return Ok(host());
        }
        let Some(container) = from.container(inventory) else {
            bail!(
                "--from {from}: no container of this host; a probe starts in a container or on the host (--from host)"
            );
        };
        let info = container
            .netns
            .and_then(|key| inventory.netns(key))
            .with_context(|| {
                format!(
                    "container {} has no network namespace: it does not run; try: docker start {}",
                    container.name, container.name
                )
            })?;
        let netns = NetnsHandle::open(&info.path)
            .with_context(|| format!("opening the network namespace of {}", container.name))?;
        Ok((container.name.clone(), netns))
    }

    /// Where it goes, and what is sent.
    fn destination(&self, inventory: &Inventory) -> Result<(SocketAddr, ProbeKind)> {
        let to = &self.to;
        let (address, port) = match to {
            Target::Address(address, port) => (*address, *port),
            Target::Published(port) => (self.published(inventory, *port)?, Some(*port)),
            Target::Name(name, port) if name == "host" => {
                let address = uplink_address(inventory)
                    .context("this host has no address on an interface of its own")?;
                (address, *port)
            }
            Target::Name(name, port) => {
                let container = inventory
                    .container_named(name)
                    .with_context(|| format!("--to {to}: there is no container called '{name}'"))?;
                let address = self.address_of(inventory, container).with_context(|| {
                    format!(
                        "container {name} has no address that a probe could go to (does it run? has it a network?)"
                    )
                })?;
                (address, *port)
            }
        };
        let kind = match (self.kind, port) {
            (ProbeKind::Auto, None) => ProbeKind::Icmp,
            (ProbeKind::Auto, Some(53)) => ProbeKind::Dns,
            (ProbeKind::Auto, Some(port)) => {
                let container = to.container(inventory);
                if container.is_some_and(|container| is_udp(container, port)) {
                    ProbeKind::Udp
                } else {
                    ProbeKind::Tcp
                }
            }
            (ProbeKind::Icmp, _) => ProbeKind::Icmp,
            (ProbeKind::Dns, None) => return Ok((SocketAddr::new(address, 53), ProbeKind::Dns)),
            (kind, Some(_)) => kind,
            (ProbeKind::Tcp | ProbeKind::Udp, None) => {
                bail!("--to {to} names no port, and this kind of probe needs one: --to {to}:PORT")
            }
        };
        Ok((SocketAddr::new(address, port.unwrap_or(0)), kind))
    }

    /// The address that a published port is reached at from where the probe starts.
    fn published(&self, inventory: &Inventory, port: u16) -> Result<IpAddr> {
        let bound = ["tcp", "udp", "sctp"]
            .into_iter()
            .flat_map(|protocol| inventory.published_on(protocol, port))
            .map(|(_, published)| published.host_ip)
            .next();
        match bound {
            Some(address) if !address.is_unspecified() => Ok(address),
            _ => uplink_address(inventory)
                .context("this host has no address on an interface of its own"),
        }
    }

    /// A container's address on a network that the sender is on too, else its first.
    fn address_of(&self, inventory: &Inventory, container: &Container) -> Option<IpAddr> {
        let from = self
            .from
            .as_ref()
            .and_then(|from| from.container(inventory));
        let shared = from.and_then(|from| {
            container
                .attachments
                .iter()
                .filter(|mine| {
                    from.attachments
                        .iter()
                        .any(|theirs| theirs.network_id == mine.network_id)
                })
                .find_map(|attachment| attachment.ipv4.or(attachment.ipv6))
        });
        let own = || {
            container
                .attachments
                .iter()
                .find_map(|attachment| attachment.ipv4.or(attachment.ipv6))
        };
        // In another's namespace, or wired by hand: what its namespace has.
        let found = || {
            container
                .netns
                .and_then(|key| inventory.netns(key))?
                .links
                .iter()
                .filter(|link| link.kind != LinkKind::Loopback)
                .flat_map(|link| &link.addresses)
                .next()
                .copied()
        };
        shared
            .or_else(own)
            .or_else(found)
            .map(|prefix| prefix.addr())
    }
}

fn name(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Udp => "udp",
        ProbeKind::Icmp => "icmp",
        ProbeKind::Dns => "dns",
        ProbeKind::Tcp | ProbeKind::Auto => "tcp",
    }
}

fn is_udp(container: &Container, port: u16) -> bool {
    let on = |protocol: &str| {
        container.published.iter().any(|published| {
            (published.container_port == port || published.host_port == port)
                && published.protocol == protocol
        }) || container
            .exposed
            .iter()
            .any(|(exposed, with)| *exposed == port && with == protocol)
    };
    on("udp") && !on("tcp")
}

/// The host's address towards the world: of an interface that is no bridge's and no container's, IPv4 first.
fn uplink_address(inventory: &Inventory) -> Option<IpAddr> {
    let links = &inventory.host_netns()?.links;
    let outward = |link: &&crate::model::Link| match link.kind {
        LinkKind::Loopback | LinkKind::Bridge => false,
        LinkKind::Veth => !inventory
            .netns_behind(link.ifindex)
            .is_some_and(|info| info.near),
        LinkKind::Other(_) => true,
    };
    let addresses = || {
        links
            .iter()
            .filter(outward)
            .flat_map(|link| &link.addresses)
            .map(ipnet::IpNet::addr)
    };
    let routable = |address: &IpAddr| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    };
    addresses()
        .find(IpAddr::is_ipv4)
        .or_else(|| addresses().find(routable))
}
