//! How a container resolves names: from its resolv.conf to the servers that answer in the end, and where each is set.

use std::{fs, net::IpAddr, path::Path};

use dockernet_common::packet::UDP;
use serde::Serialize;

use super::{
    probe::{Judged, Probe, judge, translation},
    sight::Sight,
    space::Space,
};
use crate::{
    host::{
        firewall::{Attribution, Hook, Translation},
        listeners::{Transport, listening_on},
        resolver::{EMBEDDED_RESOLVER, ExtServer, Resolv},
        route::{Family, fib::FibMatch, lookup::RouteQuery},
    },
    model::Container,
};

/// What Docker takes where it finds no usable server (`defaultIPv4Dns`, `defaultIPv6Dns`, libnetwork/resolvconf).
const FALLBACK: [&str; 4] = [
    "8.8.8.8",
    "8.8.4.4",
    "2001:4860:4860::8888",
    "2001:4860:4860::8844",
];
/// systemd-resolved's list of the real servers.
const SYSTEMD: &str = "/run/systemd/resolve/resolv.conf";

/// Where a server was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(super) enum Origin {
    /// `--dns` of the container.
    Container,
    /// `dns` in daemon.json or on dockerd's command line.
    Daemon,
    /// The host's /etc/resolv.conf.
    HostFile,
    /// systemd-resolved's /run/systemd/resolve/resolv.conf.
    SystemdResolved,
    /// Docker's own choice where the host's file has no usable server.
    Fallback,
    /// The container's file alone names it.
    Unknown,
}

impl Origin {
    /// In words.
    #[must_use]
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Container => "--dns of the container",
            Self::Daemon => "dns of daemon.json",
            Self::HostFile => "the host's /etc/resolv.conf",
            Self::SystemdResolved => "systemd-resolved (/run/systemd/resolve/resolv.conf)",
            Self::Fallback => "Docker's own choice, as the host's resolv.conf has no usable server",
            Self::Unknown => "the container's own resolv.conf",
        }
    }
}

/// Why a server is not reached.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// It is a loopback address where nothing listens.
    NobodyThere,
    /// No route leads to it.
    NoRoute,
    /// A rule drops what is sent to it.
    Dropped(Box<Attribution>),
}

/// A server at the end of the chain.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// It.
    pub address: IpAddr,
    /// Asked from the host's namespace, else from the container's.
    pub from_host: bool,
    /// Where it was set.
    pub origin: Origin,
    /// Why it cannot answer, as far as can be told without asking.
    pub trouble: Option<Trouble>,
}

/// What is wrong with Docker's own resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Embedded {
    /// It is in place.
    Works,
    /// No rule leads 127.0.0.11:53 to it.
    RulesGone,
    /// Nothing listens where the rules lead.
    NobodyListens,
    /// It is in place for UDP, and for TCP (what is too long for UDP) it is not.
    UdpAlone,
}

/// The chain.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// The container's resolv.conf.
    pub resolv: Resolv,
    /// Docker's own resolver, where it is asked, and the address and port that it listens on.
    pub embedded: Option<(Embedded, Option<(IpAddr, u16)>)>,
    /// Where questions end.
    pub servers: Vec<Server>,
    /// The engine does not tell its servers: these are what it takes as a rule.
    pub guessed: bool,
}

/// Reads a container's chain.
///
/// # Errors
/// Its resolv.conf or the host's cannot be read.
pub(super) fn chain(
    sight: &Sight<'_>,
    container: &Container,
    space: &Space,
) -> anyhow::Result<Chain> {
    let pid = container.pid.and_then(|pid| u32::try_from(pid).ok());
    let resolv = sight.state.resolver(pid)?;
    // A host without the file is one without servers.
    let host = sight.state.resolver(None).unwrap_or_default();
    let systemd = systemd();
    let embedded = resolv.is_embedded().then(|| embedded(space));
    let own = resolv.upstreams();
    let guessed = own.is_empty() && resolv.is_embedded();
    let servers = if guessed {
        guess(sight, container, &host, &systemd)
    } else {
        own
    };
    let servers = servers
        .into_iter()
        .map(|server| Server {
            address: server.address,
            from_host: server.from_host_netns,
            origin: origin(sight, container, &host, &systemd, server.address),
            trouble: trouble(sight, space, &server),
        })
        .collect();
    Ok(Chain {
        resolv,
        embedded,
        servers,
        guessed,
    })
}

fn systemd() -> Resolv {
    let text = fs::read_to_string(Path::new(SYSTEMD)).unwrap_or_default();
    Resolv::parse(&text)
}

/// What an engine that does not say forwards to: `--dns`, else daemon.json's, else the host's, loopback ones left out.
fn guess(
    sight: &Sight<'_>,
    container: &Container,
    host: &Resolv,
    systemd: &Resolv,
) -> Vec<ExtServer> {
    let configured: Vec<IpAddr> = sight
        .daemon
        .list("dns")
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect();
    let usable = |resolv: &Resolv| -> Vec<IpAddr> {
        let all = resolv.nameservers.iter().copied();
        all.filter(|address| !address.is_loopback()).collect()
    };
    let all = [
        container.dns.clone(),
        configured,
        usable(host),
        usable(systemd),
    ];
    let found = all.into_iter().find(|list| !list.is_empty());
    found
        .unwrap_or_default()
        .into_iter()
        .map(|address| ExtServer {
            address,
            from_host_netns: false,
        })
        .collect()
}

fn origin(
    sight: &Sight<'_>,
    container: &Container,
    host: &Resolv,
    systemd: &Resolv,
    address: IpAddr,
) -> Origin {
    if container.dns.contains(&address) {
        return Origin::Container;
    }
    if sight
        .daemon
        .list("dns")
        .iter()
        .any(|text| text.parse() == Ok(address))
    {
        return Origin::Daemon;
    }
    if host.nameservers.contains(&address) {
        return Origin::HostFile;
    }
    if systemd.nameservers.contains(&address) {
        return Origin::SystemdResolved;
    }
    if FALLBACK.contains(&address.to_string().as_str()) {
        return Origin::Fallback;
    }
    Origin::Unknown
}

/// Whether 127.0.0.11:53 leads to a socket: Docker's rules translate it to a port of the moment.
fn embedded(space: &Space) -> (Embedded, Option<(IpAddr, u16)>) {
    match led(space, Transport::Udp) {
        (Embedded::Works, at) if led(space, Transport::Tcp).0 == Embedded::RulesGone => {
            (Embedded::UdpAlone, at)
        }
        other => other,
    }
}

fn led(space: &Space, transport: Transport) -> (Embedded, Option<(IpAddr, u16)>) {
    let probe = Probe::new(transport.number(), EMBEDDED_RESOLVER, EMBEDDED_RESOLVER, 53);
    let listens = |address: IpAddr, port: u16| {
        listening_on(&space.listeners, transport, port)
            .iter()
            .any(|listener| listener.accepts(address))
    };
    match translation(space, &probe.untranslated(None, Some("lo")), Hook::Output) {
        Translation::To(target, _) => {
            let at = (
                target.address.unwrap_or(EMBEDDED_RESOLVER),
                target.port.unwrap_or(53),
            );
            if listens(at.0, at.1) {
                (Embedded::Works, Some(at))
            } else {
                (Embedded::NobodyListens, Some(at))
            }
        }
        // Rules that were not read, or cannot be told, are no rules that are gone.
        Translation::CannotTell(_) => (Embedded::Works, None),
        Translation::Nothing | Translation::Untracked { .. }
            if !space.firewall.notes.is_empty() =>
        {
            (Embedded::Works, None)
        }
        Translation::Nothing | Translation::Untracked { .. } if listens(EMBEDDED_RESOLVER, 53) => {
            (Embedded::Works, Some((EMBEDDED_RESOLVER, 53)))
        }
        Translation::Nothing | Translation::Untracked { .. } => (Embedded::RulesGone, None),
    }
}

/// What keeps questions from a server.
fn trouble(sight: &Sight<'_>, space: &Space, server: &ExtServer) -> Option<Trouble> {
    let from = if server.from_host_netns {
        &sight.host
    } else {
        space
    };
    let address = server.address;
    if address.is_loopback() {
        let listens = listening_on(&from.listeners, Transport::Udp, 53)
            .iter()
            .any(|listener| listener.accepts(address));
        return (!listens).then_some(Trouble::NobodyThere);
    }
    let query = RouteQuery::to(address);
    let FibMatch::Route { route, .. } = from.route(&query) else {
        return Some(Trouble::NoRoute);
    };
    if server.from_host_netns {
        return None;
    }
    let own = space
        .link(route.oif.as_deref()?)?
        .addresses
        .iter()
        .map(ipnet::IpNet::addr)
        .find(|own| Family::of(*own) == Family::of(address))?;
    // By which bridge it comes to the host.
    let network = sight.inventory.network_of(own)?;
    let bridge = network.bridge.as_deref()?;
    let probe = Probe::new(UDP, own, address, 53);
    let judged = if sight.host.has_address(address) {
        judge(&sight.host, &probe.first(Some(bridge), None), Hook::Input)
    } else {
        let FibMatch::Route { route, .. } = sight.host.route(&query.from(own).iif(bridge)) else {
            return Some(Trouble::NoRoute);
        };
        judge(
            &sight.host,
            &probe.first(Some(bridge), route.oif.as_deref()),
            Hook::Forward,
        )
    };
    match judged {
        Judged::Drops(found) => Some(Trouble::Dropped(found)),
        Judged::Passes | Judged::Doubt(_) => None,
    }
}
