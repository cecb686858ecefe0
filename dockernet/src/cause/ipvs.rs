//! A virtual service with nobody behind it.

use super::{Case, Verdict};
use crate::host::{
    firewall::Hook,
    ipvs::{Frontend, Service},
};

/// Row 84. `ip_vs_leave` (net/netfilter/ipvs/ip_vs_core.c) drops what no real server takes, on the way in or out of this
/// namespace, and answers with an ICMP error. The filter's rules come before it: this is asked when none of them did it.
pub(super) fn no_backend(case: &Case<'_>) -> Option<Verdict> {
    if !case.evidence.reason_or_silent("NETFILTER_DROP") {
        return None;
    }
    let point = case.evidence.hook?;
    if point.bridge || point.nft || !matches!(point.hook, Hook::Input | Hook::Output) {
        return None;
    }
    let service = case
        .state
        .ipvs(&case.netns()?)
        .ok()?
        .into_iter()
        .find(|service| is_for(case, service))?;
    if service.ready > 0 {
        return None;
    }
    Some(no_server(&service, &case.command("ipvsadm -L -n")))
}

/// What a service without a server means. `command` lists it.
pub(crate) fn no_server(service: &Service, command: &str) -> Verdict {
    let name = name(service);
    let state = match service.servers {
        0 => "it has none".to_owned(),
        servers => format!("of its {servers}, each has weight 0"),
    };
    Verdict::confirmed(
        "ipvs-no-backend",
        format!("IPVS has no server for the virtual service {name}"),
    )
    .fact(format!("{command}: {state}"))
    .advise(
        "Swarm: docker service ps SERVICE says why no task runs (docker service update --force SERVICE starts them anew); \
         else add a server (ipvsadm -a) or find who removes them (kube-proxy, keepalived)",
    )
}

fn is_for(case: &Case<'_>, service: &Service) -> bool {
    let Some(packet) = case.packet() else {
        return false;
    };
    match service.frontend {
        Frontend::Mark(mark) => packet.mark == mark,
        Frontend::Address {
            protocol,
            address,
            port,
        } => {
            case.protocol() == Some(protocol)
                && packet.dst == Some(address)
                && (port == 0 || packet.dst_port == Some(port))
        }
    }
}

/// As `ipvsadm` writes it.
fn name(service: &Service) -> String {
    match service.frontend {
        Frontend::Mark(mark) => format!("FWM {mark}"),
        Frontend::Address {
            protocol,
            address,
            port,
        } => {
            let protocol = match protocol {
                6 => "TCP",
                17 => "UDP",
                _ => "SCTP",
            };
            format!("{protocol} {}", std::net::SocketAddr::new(address, port))
        }
    }
}
