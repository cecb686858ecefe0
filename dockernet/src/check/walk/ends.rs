//! What `--from` and `--to` name.

use std::net::{IpAddr, Ipv4Addr};

use dockernet_common::packet::{TCP, UDP};

use super::{Party, Sight, Space};
use crate::{
    check::{families::uplink, probe::somewhere},
    cli::{Usage, suggest},
    host::route::{Family, fib::FibMatch, lookup::RouteQuery},
    model::{Container, NetworkMode, Published, State},
};

/// Both ends.
pub(super) struct Ends<'s> {
    pub from: Party<'s>,
    pub source: IpAddr,
    pub address: IpAddr,
    pub port: u16,
    pub proto: u8,
    from_name: String,
    to_name: Option<String>,
}

impl Ends<'_> {
    pub(super) fn title(&self) -> String {
        let protocol = if self.proto == UDP { "udp" } else { "tcp" };
        let to = std::net::SocketAddr::new(self.address, self.port);
        let to = match &self.to_name {
            Some(name) => format!("{name} ({to}/{protocol})"),
            None => format!("{to}/{protocol}"),
        };
        format!("{} ({}) → {to}", self.from_name, self.source)
    }
}

/// `web:80`, `:10001`, `192.0.2.1:53/udp`, `[2001:db8::1]:80`, `outside:443`.
fn split(text: &str) -> Result<(&str, u16, u8), Usage> {
    let bad = |why: &str| {
        Usage(format!(
            "--to {text}: {why}; expected WHO:PORT, such as web:80, :8080 or 192.0.2.1:53/udp"
        ))
    };
    let (rest, proto) = match text.rsplit_once('/') {
        Some((rest, "tcp")) => (rest, TCP),
        Some((rest, "udp")) => (rest, UDP),
        Some(_) => return Err(bad("only tcp and udp can be walked")),
        None => (text, TCP),
    };
    let (who, port) = rest
        .rsplit_once(':')
        .ok_or_else(|| bad("there is no port"))?;
    let port: u16 = port.parse().map_err(|_| bad("that is no port"))?;
    if port == 0 {
        return Err(bad("port 0 is none"));
    }
    let who = who.trim_start_matches('[').trim_end_matches(']');
    Ok((who, port, proto))
}

/// Finds both.
pub(super) fn resolve<'s>(sight: &'s Sight<'_>, from: &str, to: &str) -> Result<Ends<'s>, Usage> {
    let (who, port, proto) = split(to)?;
    let (party, given) = party(sight, from, "--from")?;
    let (address, to_name) = if who.is_empty() {
        let (container, published) = published(sight, port, proto)?;
        let host = published.host_ip;
        // A port for the host alone is still asked for by the host's address from elsewhere.
        let elsewhere = host.is_loopback() && !matches!(party, Party::Host);
        let address = if host.is_unspecified() || elsewhere {
            own_address(sight).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
        } else {
            host
        };
        (
            address,
            Some(format!(
                "{} of {}",
                published.to_string().replace("->", "→"),
                container.name
            )),
        )
    } else if let Ok(address) = who.parse::<IpAddr>() {
        (address, None)
    } else {
        destination(sight, &party, who)?
    };
    let source = source(sight, &party, given, address)?;
    Ok(Ends {
        from: party,
        source,
        address,
        port,
        proto,
        from_name: from.to_owned(),
        to_name,
    })
}

fn party<'s>(
    sight: &'s Sight<'_>,
    name: &str,
    option: &str,
) -> Result<(Party<'s>, Option<IpAddr>), Usage> {
    match name {
        "host" => return Ok((Party::Host, None)),
        "outside" => return Ok((Party::Outside, None)),
        _ => {}
    }
    if let Ok(address) = name.parse::<IpAddr>() {
        if sight.host.has_address(address) {
            return Ok((Party::Host, Some(address)));
        }
        let space = sight.spaces.iter().find(|space| space.has_address(address));
        let owner = space.and_then(|space| {
            let container = sight.inventory.containers_in(space.key).next()?;
            Some(Party::Container(container, space))
        });
        return Ok((owner.unwrap_or(Party::Outside), Some(address)));
    }
    let container = container(sight, name, option)?;
    if container.mode == NetworkMode::Host {
        return Ok((Party::Host, None));
    }
    let space = sight.space_of(container).ok_or_else(|| {
        Usage(match container.state {
            State::Stopped => format!("{option} {name}: it does not run"),
            _ => format!("{option} {name}: its network namespace could not be read"),
        })
    })?;
    Ok((Party::Container(container, space), None))
}

fn container<'s>(sight: &'s Sight<'_>, name: &str, option: &str) -> Result<&'s Container, Usage> {
    sight.inventory.container_named(name).ok_or_else(|| {
        let known = sight.inventory.containers().map(|container| container.name.as_str());
        let hint = suggest::hint(name, known.chain(["host", "outside"]));
        Usage(format!(
            "{option} {name}: no container is called so, and it is neither an address nor host nor outside{hint}"
        ))
    })
}

/// The address of a name, as the other end would use it.
fn destination(
    sight: &Sight<'_>,
    from: &Party<'_>,
    name: &str,
) -> Result<(IpAddr, Option<String>), Usage> {
    match name {
        "outside" => return Ok((somewhere(Family::V4), Some(name.to_owned()))),
        "host" => {
            let address = match from {
                // A container's word for the host is its gateway.
                Party::Container(container, _) => container
                    .attachments
                    .iter()
                    .find_map(|attachment| attachment.gateway),
                _ => None,
            };
            let address = address.or_else(|| own_address(sight));
            let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
            return Ok((address, Some(name.to_owned())));
        }
        _ => {}
    }
    let container = container(sight, name, "--to")?;
    let shared = |network: &str| match from {
        Party::Container(from, _) => from
            .attachments
            .iter()
            .any(|attachment| attachment.network_id == network),
        _ => false,
    };
    let mut attachments: Vec<_> = container.attachments.iter().collect();
    attachments.sort_by_key(|attachment| !shared(&attachment.network_id));
    let address = attachments
        .iter()
        .find_map(|attachment| attachment.ipv4.or(attachment.ipv6))
        .map(|net| net.addr());
    let address = match (&container.mode, address) {
        (NetworkMode::Host, _) => own_address(sight),
        (_, address) => address,
    };
    let address = address.ok_or_else(|| {
        Usage(format!(
            "--to {name}: Docker gave it no address; name one of its addresses"
        ))
    })?;
    Ok((address, Some(name.to_owned())))
}

fn published<'s>(
    sight: &'s Sight<'_>,
    port: u16,
    proto: u8,
) -> Result<(&'s Container, &'s Published), Usage> {
    let protocol = if proto == UDP { "udp" } else { "tcp" };
    let mut all: Vec<_> = sight
        .inventory
        .published_on(protocol, port)
        .filter(|(container, _)| container.ended.is_none())
        .collect();
    all.sort_by_key(|(container, published)| {
        (
            container.state == State::Stopped,
            published.host_ip.is_ipv6(),
        )
    });
    all.first().copied().ok_or_else(|| {
        Usage(format!(
            "--to :{port}/{protocol}: no container publishes that port"
        ))
    })
}

/// The host's address towards the world.
fn own_address(sight: &Sight<'_>) -> Option<IpAddr> {
    let uplink = uplink(sight, Family::V4)?;
    let mut all = uplink.link.addresses.iter().map(ipnet::IpNet::addr);
    all.find(IpAddr::is_ipv4)
}

/// The source that a party's packets to an address get.
fn source(
    sight: &Sight<'_>,
    party: &Party<'_>,
    given: Option<IpAddr>,
    to: IpAddr,
) -> Result<IpAddr, Usage> {
    if let Some(given) = given {
        if given.is_ipv4() != to.is_ipv4() {
            return Err(Usage(format!("{given} and {to} are of different families")));
        }
        return Ok(given);
    }
    let family = Family::of(to);
    let space: &Space = match party {
        Party::Outside => return Ok(somewhere(family)),
        Party::Host => &sight.host,
        Party::Container(_, space) => space,
    };
    if space.has_address(to) || to.is_loopback() {
        return Ok(to);
    }
    let by_route = match space.route(&RouteQuery::to(to)) {
        FibMatch::Route { route, .. } => route.prefsrc.or_else(|| {
            let link = space.link(route.oif.as_deref()?)?;
            let mut all = link.addresses.iter().map(ipnet::IpNet::addr);
            all.find(|own| Family::of(*own) == family && !is_link_local(*own))
        }),
        _ => None,
    };
    let any = || {
        let mut all = space
            .links
            .iter()
            .flat_map(|link| &link.addresses)
            .map(ipnet::IpNet::addr);
        all.find(|own| Family::of(*own) == family && !own.is_loopback() && !is_link_local(*own))
    };
    by_route
        .or_else(any)
        .ok_or_else(|| Usage(format!("{} has no address of {to}'s family", space.label)))
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn who_and_port() {
        assert_eq!(split("web:80").unwrap(), ("web", 80, TCP));
        assert_eq!(split(":53/udp").unwrap(), ("", 53, UDP));
        assert_eq!(
            split("[2001:db8::1]:443").unwrap(),
            ("2001:db8::1", 443, TCP)
        );
        for bad in [
            "web",
            "web:",
            "web:x",
            "web:0",
            "web:80/sctp",
            "web:99999",
            "",
        ] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
