//! The engine itself: its address pools, what it left behind, and why it does not run.

use std::{fs, net::Ipv4Addr, path::PathBuf};

use ipnet::{IpNet, Ipv4Net};
use serde_json::Value;

use super::configuration::{configuration, shown};
use crate::{
    cause::Verdict,
    check::{Finding, Grade, Sight, Subject, last_words::LastWords, sight::is_docker_bridge},
    host::route::{RouteKind, TABLE_MAIN},
    inventory::EngineStatus,
    model::{Impact, LinkKind},
};

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    match sight.inventory.engine_status() {
        EngineStatus::Up {
            podman: false,
            rootless,
            ..
        } => {
            // Another engine's, then.
            let mut found = if *rootless {
                Vec::new()
            } else {
                leftovers(sight)
            };
            found.extend(pools(sight));
            // One that runs elsewhere (without root) was told something else.
            if sight.daemon.pid.is_some() {
                found.extend(configuration(sight));
            }
            found
        }
        EngineStatus::Down { reason } => down(sight, reason),
        _ => Vec::new(),
    }
}

/// Bridges that look like Docker's and belong to no network of it.
fn leftovers(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for link in &sight.host.links {
        let known = sight.inventory.network_by_bridge(&link.name).is_some();
        if known || link.kind != LinkKind::Bridge || !is_docker_bridge(&link.name) {
            continue;
        }
        let verdict = Verdict::confirmed(
            "network-db-stale",
            format!(
                "bridge {} is of a Docker network that the engine does not know any more",
                link.name
            ),
        )
        .fact(format!(
            "its addresses: {}",
            link.addresses
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        ))
        .run(
            format!("ip link del {}", link.name),
            "host",
            None,
            Impact::Interrupts,
        )
        .advise("its subnet stays taken until then");
        found.push(Finding::new(Grade::Note, Subject::engine(), verdict));
    }
    found
}

/// A pool of subnets for networks that are made without one.
struct Pool {
    base: Ipv4Net,
    size: u8,
}

/// What the engine takes its subnets from. The default: 172.17 to 172.31/16 and 192.168.0.0/16 in pieces of /20
/// (libnetwork/ipamutils).
fn configured(sight: &Sight<'_>) -> Vec<Pool> {
    let given = sight
        .daemon
        .config
        .get("default-address-pools")
        .and_then(Value::as_array);
    let from_file: Vec<Pool> = given
        .into_iter()
        .flatten()
        .filter_map(|pool| {
            Some(Pool {
                base: pool.get("base")?.as_str()?.parse().ok()?,
                size: u8::try_from(pool.get("size")?.as_u64()?).ok()?,
            })
        })
        .collect();
    // On the command line: --default-address-pool base=…,size=….
    let given: Vec<&str> = sight.daemon.arguments("default-address-pool").collect();
    if !given.is_empty() {
        return given.into_iter().filter_map(pool).collect();
    }
    if !from_file.is_empty() {
        return from_file;
    }
    let mut pools: Vec<Pool> = (17..=31)
        .filter_map(|second| {
            Some(Pool {
                base: Ipv4Net::new(Ipv4Addr::new(172, second, 0, 0), 16).ok()?,
                size: 16,
            })
        })
        .collect();
    pools.extend(
        Ipv4Net::new(Ipv4Addr::new(192, 168, 0, 0), 16)
            .ok()
            .map(|base| Pool { base, size: 20 }),
    );
    pools
}

/// `base=10.0.0.0/8,size=24`.
fn pool(text: &str) -> Option<Pool> {
    let value = |key: &str| {
        let mut parts = text.split(',').filter_map(|part| part.split_once('='));
        parts.find_map(|(name, value)| (name.trim() == key).then(|| value.trim()))
    };
    Some(Pool {
        base: value("base")?.parse().ok()?,
        size: value("size")?.parse().ok()?,
    })
}

/// How many subnets of the pools are left, and of how many.
fn left(pools: &[Pool], taken: &[Ipv4Net]) -> (usize, usize) {
    /// More are left than anybody counts.
    const ENOUGH: usize = 4096;
    let mut total = 0;
    let mut free = 0;
    for pool in pools {
        let Ok(subnets) = pool.base.subnets(pool.size) else {
            continue;
        };
        for subnet in subnets.take(ENOUGH) {
            total += 1;
            let overlaps = |other: &Ipv4Net| other.contains(&subnet) || subnet.contains(other);
            free += usize::from(!taken.iter().any(overlaps));
        }
    }
    (free, total)
}

/// `RT_SCOPE_LINK` (include/uapi/linux/rtnetlink.h).
const ON_LINK: u8 = 253;

/// Whether a network can still be made without naming its subnet.
fn pools(sight: &Sight<'_>) -> Option<Finding> {
    let pools = configured(sight);
    let networks = sight
        .inventory
        .networks()
        .flat_map(|network| &network.subnets)
        .map(|subnet| subnet.prefix);
    let routes = sight
        .host
        .routes
        .iter()
        .filter(|route| route.kind == RouteKind::Unicast && route.prefix.prefix_len() > 0)
        // libnetwork/netutils (23.0+) minds what is on a link of the host's; half of the internet by a VPN is no network.
        .filter(|route| route.scope == ON_LINK && route.table == TABLE_MAIN)
        .filter(|route| !route.prefix.addr().is_unspecified())
        .map(|route| route.prefix);
    let taken: Vec<Ipv4Net> = networks
        .chain(routes)
        .filter_map(|prefix| match prefix {
            IpNet::V4(prefix) => Some(prefix),
            IpNet::V6(_) => None,
        })
        .collect();
    let (free, total) = left(&pools, &taken);
    if free > 1 || total == 0 {
        return None;
    }
    let verdict = Verdict::confirmed(
        "address-pools-exhausted",
        if free == 0 {
            "no subnet is left for a new network: docker network create and docker compose up fail (could not find an available, non-overlapping IPv4 address pool)"
        } else {
            "one subnet is left for new networks"
        },
    )
    .fact(format!("{} of {total} subnets of the pools are taken by networks and by routes of the host", total - free))
    .run("docker network prune", "host", None, Impact::LosesData)
    .advise("or more and smaller pools in /etc/docker/daemon.json: \"default-address-pools\": [{\"base\": \"172.16.0.0/12\", \"size\": 24}]; a VPN's wide routes take pools away as well");
    let grade = if free == 0 { Grade::Risk } else { Grade::Note };
    Some(Finding::new(grade, Subject::engine(), verdict))
}

/// The engine does not answer: what is left of it tells why.
fn down(sight: &Sight<'_>, reason: &str) -> Vec<Finding> {
    let mut found = configuration(sight);
    let installed = sight.daemon.pid.is_some() || is_installed(sight);
    if !installed {
        return vec![Finding::unknown(
            Subject::engine(),
            "networks and published ports",
            reason,
        )];
    }
    let words = LastWords::look(&sight.daemon);
    if let Some(error) = &words.error {
        found.extend(no_pool(error).or_else(|| network_database(sight, error)));
    }
    let known = found.iter().any(|finding| finding.grade == Grade::Broken);
    let verdict = Verdict::when(sight.daemon.pid.is_none(), "engine-down", match sight.daemon.pid {
        Some(_) => "dockerd runs and does not answer: containers go on, and nobody restarts, resolves or publishes",
        None => "dockerd does not run: containers without live-restore are gone, names do not resolve, nothing is published anew",
    })
    .fact(reason.to_owned())
    .maybe_fact(started_by(sight))
    .maybe_fact(words.error.map(|error| format!("its last error ({}): {error}", words.from.as_deref().unwrap_or("log"))));
    let verdict = if sight.daemon.pid.is_some() {
        verdict.restart_engine()
    } else if known {
        verdict.advise("mend what is above, then: systemctl start docker")
    } else if sight.daemon.unit().masked {
        let is_runtime = sight
            .daemon
            .unit()
            .file
            .as_ref()
            .is_some_and(|file| file.starts_with("/run"));
        let how = if is_runtime { " --runtime" } else { "" };
        verdict.run(
            format!("systemctl unmask{how} docker && systemctl start docker"),
            "host",
            None,
            Impact::None,
        )
    } else {
        verdict
            .run("systemctl start docker", "host", None, Impact::None)
            .advise("if it ends again: journalctl -u docker -n 50")
    };
    found.push(Finding::new(Grade::Broken, Subject::engine(), verdict));
    found.push(Finding::unknown(
        Subject::engine(),
        "networks, published ports and settings of containers, where their files do not tell them",
        "the engine does not answer",
    ));
    found
}

/// What its unit would start it with.
fn started_by(sight: &Sight<'_>) -> Option<String> {
    let unit = sight.daemon.unit();
    let file = unit.file.as_ref()?.display();
    if unit.masked {
        return Some(format!("{file} is masked: systemd does not start it"));
    }
    Some(format!("ExecStart: {} ({file})", shown(&unit.command)))
}

fn is_installed(sight: &Sight<'_>) -> bool {
    // Containers that go on without it, or its files.
    sight.inventory.containers().next().is_some()
        || sight.daemon.file.exists()
        || sight.daemon.data_root().join("network").exists()
        || [
            "/usr/bin/dockerd",
            "/usr/sbin/dockerd",
            "/usr/local/bin/dockerd",
        ]
        .iter()
        .any(|path| PathBuf::from(path).exists())
}

/// Whether one of these, which are in lower case, is in it.
fn speaks_of(error: &str, words: &[&str]) -> bool {
    let lower = error.to_lowercase();
    words.iter().any(|word| lower.contains(word))
}

/// The engine found no subnet for its default network.
fn no_pool(error: &str) -> Option<Finding> {
    const SIGNS: [&str; 4] = [
        "no available network",
        "could not find an available",
        "fully subnetted",
        "predefined network",
    ];
    if !speaks_of(error, &SIGNS) {
        return None;
    }
    let verdict = Verdict::confirmed(
        "address-pools-exhausted",
        "dockerd finds no subnet for its default network that the host has no route to",
    )
    .fact(error.to_owned())
    .advise(
        "see which route takes them all (ip route; a VPN's wide ones), or give it subnets that are free: \"bip\" and \"default-address-pools\" in \
         /etc/docker/daemon.json",
    );
    Some(Finding::new(Grade::Broken, Subject::engine(), verdict))
}

/// The engine complains of its database of networks, or of what stands in it, and it is there. (That its network controller fails says
/// little: all that goes wrong there begins so.)
fn network_database(sight: &Sight<'_>, error: &str) -> Option<Finding> {
    const SIGNS: [&str; 4] = [
        "local-kv.db",
        "networks have same bridge name",
        "could not delete the default bridge network",
        "failed to retrieve network",
    ];
    // These have a cause of their own.
    const OTHERS: [&str; 4] = ["address already in use", "overlaps", "iptables", "bip"];
    if !speaks_of(error, &SIGNS) || speaks_of(error, &OTHERS) {
        return None;
    }
    let file = sight.daemon.data_root().join("network/files/local-kv.db");
    let size = fs::metadata(&file).ok()?.len();
    let verdict = Verdict::when(
        false,
        "network-db-stale",
        "dockerd fails at its networks: its database of them may be of another time than the host's bridges",
    )
    .fact(error.to_owned())
    .fact(format!("{} ({size} bytes)", file.display()))
    .advise("look at the error first; the database is the last resort: user-defined networks have to be made again after it")
    .run(
        format!("systemctl stop docker && mv {0} {0}.old && systemctl start docker", file.display()),
        "host",
        None,
        Impact::LosesData,
    );
    Some(Finding::new(Grade::Risk, Subject::engine(), verdict))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_an_engine_that_found_no_subnet_says() {
        for error in [
            "Error initializing network controller: list bridge addresses failed: PredefinedLocalScopeDefaultNetworks List: [172.17.0.0/16]: no available network",
            "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
            "all predefined address pools have been fully subnetted",
        ] {
            assert_eq!(no_pool(error).unwrap().cause.id, "address-pools-exhausted");
        }
        assert!(
            no_pool(
                "Failed to program NAT chain: ZONE_CONFLICT: 'docker0' already bound to a zone"
            )
            .is_none()
        );
    }

    #[test]
    fn pools_of_the_command_line() {
        let found = pool("base=10.0.0.0/16,size=24").unwrap();
        assert_eq!(
            (found.base.to_string().as_str(), found.size),
            ("10.0.0.0/16", 24)
        );
        assert!(pool("base=x,size=24").is_none() && pool("").is_none());
    }

    #[test]
    fn subnets_that_are_left() {
        let pool = |base: &str, size| Pool {
            base: base.parse().unwrap(),
            size,
        };
        let pools = [pool("10.0.0.0/22", 24)];
        assert_eq!(left(&pools, &[]), (4, 4));
        let taken = |all: &[&str]| {
            all.iter()
                .map(|text| text.parse().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            left(&pools, &taken(&["10.0.1.0/25", "10.0.2.0/24"])),
            (2, 4)
        );
        assert_eq!(left(&pools, &taken(&["10.0.0.0/8"])), (0, 4));
        assert_eq!(left(&[pool("10.0.0.0/24", 16)], &[]), (0, 0));
    }
}
