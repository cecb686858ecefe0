//! Rules that are where Docker's are not: another backend, or a firewall manager that has swept Docker's away.

use super::fix::delete;
use crate::{
    cause::{Case, Verdict},
    host::firewall::{Attribution, Backend, Firewall, Owner},
    model::{Impact, NetworkMode, State},
};

/// Rows 32 and 34: Docker's rules are in the other backend. Each packet passes both, and one drop is enough.
pub(super) fn other_backend(
    base: impl Fn(&'static str, String) -> Verdict,
    case: &Case<'_>,
    found: &Attribution,
) -> Option<Verdict> {
    let here = found.dropped.backend;
    if here == Backend::Nft {
        return None;
    }
    let now = case.host_firewall();
    let what = if found.dropped.rule.is_some() {
        format!("a rule on the FORWARD hook ({})", found.place())
    } else {
        "the FORWARD chain's policy".to_owned()
    };
    if docker_in(&now, Backend::Nft) && !docker_in(&now, here) {
        // A user's own rule in iptables is just that: a drop of theirs.
        if found.dropped.rule.is_some() {
            return None;
        }
        return Some(
            base(
                "nftables-backend-forwarding",
                format!("{what} in {} drops it: left over from iptables, while Docker's own rules are in nftables", here.name()),
            )
            .fact("Docker's rules are in nft tables (docker-bridges): what they accept does not count here")
            .run(delete(&found.dropped), "host", Some(PERSIST.into()), Impact::OpensFirewall)
            .advise("Docker's nftables backend neither sets nor clears that policy; something that ran before (Docker with iptables, a script) did"),
        );
    }
    let other = match here {
        Backend::IptablesLegacy => Backend::IptablesNft,
        _ => Backend::IptablesLegacy,
    };
    // Stale chains of Docker's may be in both: those that lead to the container count.
    let leads = |backend| {
        let targets = now.dnat_targets();
        case.dst().is_some_and(|dst| {
            targets
                .iter()
                .any(|target| target.backend == backend && target.address == dst)
        })
    };
    let only_there = !docker_in(&now, here) || leads(other) && !leads(here);
    if !docker_in(&now, other) || !only_there {
        return None;
    }
    Some(
        base(
            "iptables-backend-mix",
            format!("{what} in {} drops it, while Docker's rules are in {}: each packet passes both", here.name(), other.name()),
        )
        .fact(format!("both backends hold rules: what Docker's accept in {} does not count in {}", other.name(), here.name()))
        .run(delete(&found.dropped), "host", Some(PERSIST.into()), Impact::OpensFirewall)
        .advise(format!(
            "use one backend: see what the other one holds ({}-save), move what is needed, empty it, and let \
             update-alternatives --config iptables choose the same for all programs",
            if here == Backend::IptablesLegacy { "iptables-legacy" } else { "iptables-nft" }
        )),
    )
}

const PERSIST: &str =
    "the script or service that sets it at boot (netfilter-persistent, /etc/iptables/rules.v4)";

fn docker_in(firewall: &Firewall, backend: Backend) -> bool {
    let mut tables = firewall.tables().filter(|(held, _)| *held == backend);
    tables.any(|(_, table)| table.name == "docker-bridges" || table.chain("DOCKER").is_some())
}

/// Row 30: firewalld is there, and Docker's chains are not.
pub(super) fn firewalld_reload(case: &Case<'_>, found: &Attribution) -> Option<Verdict> {
    // A rule of somebody else's drops whatever firewalld does.
    if found.dropped.rule.is_some() && found.owner == Owner::User {
        return None;
    }
    let now = case.host_firewall();
    let firewalld = ["firewalld", "INPUT_ZONES", "FORWARD_direct"]
        .iter()
        .any(|name| now.has_chain_or_table(name));
    if !firewalld || now.has_any_docker_chains() || !now.notes.is_empty() || !has_bridged(case) {
        return None;
    }
    // Docker joins firewalld where it finds it: with a zone of its own for its bridges. Without one it may never have
    // written rules ("iptables": false).
    let zone = now.tables().any(|(_, table)| {
        let mut chains = table.chains.iter();
        chains.any(|chain| chain.name.ends_with("_docker"))
    });
    Some(
        Verdict::when(
            zone,
            "firewalld-reload",
            "firewalld is in place and Docker's rules are gone: a reload has swept them away",
        )
        .fact("no chain of Docker's is left in any table")
        .fact(format!("{} in table {} {} dropped it", found.place(), found.dropped.family.name(), found.dropped.table))
        .maybe_fact(zone.then(|| "firewalld has Docker's zone".to_owned()))
        .maybe_fact((!zone).then(|| "if \"iptables\": false in /etc/docker/daemon.json is meant, allow the bridges in firewalld instead".to_owned()))
        .restart_engine()
        .advise(
            "for good: Docker 28.3.3 or newer writes its rules again after a reload; else restart Docker after each firewall-cmd --reload, \
             or set FlushAllOnReload=no in /etc/firewalld/firewalld.conf",
        ),
    )
}

/// firewalld owns its table: nobody else may change it.
pub(crate) const BY_FIREWALLD: &str = "if this should pass: let firewalld's own zones or policies accept it (Docker's bridges belong into its zone docker: \
     firewall-cmd --get-active-zones shows whether they are there), with firewall-cmd and again with --permanent";

/// The command that opens a port in ufw. What the user told it to deny stands before what is added.
pub(super) fn allow_by_ufw(found: &Attribution, device: &str, port: u16, protocol: &str) -> String {
    let is_told =
        found.dropped.chain.starts_with("ufw-user") || found.dropped.chain.starts_with("ufw6-user");
    let first = if is_told { "prepend " } else { "" };
    format!("ufw {first}allow in on {device} to any port {port} proto {protocol}")
}

/// The command that opens a port in firewalld, for good and without a reload: that would sweep Docker's rules away.
pub(super) fn add_to_zone(found: &Attribution, device: &str, port: u16, protocol: &str) -> String {
    let steps = found.dropped.path.iter().map(|step| step.chain.as_str());
    let zone = steps
        .chain([found.dropped.chain.as_str()])
        .find_map(zone_of);
    let zone = zone.map_or_else(
        || format!("\"$(firewall-cmd --get-zone-of-interface={device} || firewall-cmd --get-default-zone)\""),
        str::to_owned,
    );
    let add = format!(
        "--zone={zone} {}",
        allowed(&found.dropped.chain, port, protocol)
    );
    format!("firewall-cmd {add} && firewall-cmd --permanent {add}")
}

/// What lets a port through before the chain of a zone that drops it.
fn allowed(chain: &str, port: u16, protocol: &str) -> String {
    // What is denied stands before what is allowed; rules with a priority below 0 stand before both.
    let priority = match chain {
        chain if chain.ends_with("_pre") => Some("-32768"),
        chain if chain.ends_with("_deny") => Some("-1"),
        _ => None,
    };
    match priority {
        Some(priority) => format!(
            "--add-rich-rule='rule priority=\"{priority}\" port port=\"{port}\" protocol=\"{protocol}\" accept'"
        ),
        None => format!("--add-port={port}/{protocol}"),
    }
}

/// `filter_IN_public_deny`, or with its iptables backend `IN_public_deny`.
fn zone_of(chain: &str) -> Option<&str> {
    let name = chain
        .strip_prefix("filter_")
        .unwrap_or(chain)
        .strip_prefix("IN_")?;
    let parts = ["_pre", "_log", "_deny", "_allow", "_post"];
    Some(
        parts
            .iter()
            .find_map(|part| name.strip_suffix(part))
            .unwrap_or(name),
    )
}

/// Whether the engine has any running container that needs its rules.
fn has_bridged(case: &Case<'_>) -> bool {
    case.inventory.containers().any(|container| {
        container.state == State::Running
            && container.mode == NetworkMode::Networks
            && container.attachments.iter().any(|attachment| {
                let network = case.inventory.network(&attachment.network);
                network.is_some_and(|network| network.driver == "bridge")
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_let_through_before_what_denies_it() {
        let on = |chain: &str| allowed(chain, 53, "udp");
        assert_eq!(on("filter_INPUT"), "--add-port=53/udp");
        let rule = "port port=\"53\" protocol=\"udp\" accept'";
        let at = |priority: &str| format!("--add-rich-rule='rule priority=\"{priority}\" {rule}");
        assert_eq!(on("filter_IN_public_deny"), at("-1"));
        assert_eq!(on("filter_IN_public_pre"), at("-32768"));
    }

    #[test]
    fn a_zone_is_known_by_its_chains() {
        for (chain, zone) in [
            ("filter_IN_public_deny", Some("public")),
            ("IN_home", Some("home")),
            ("filter_IN_my_zone_allow", Some("my_zone")),
            ("filter_INPUT", None),
            ("INPUT", None),
        ] {
            assert_eq!(zone_of(chain), zone, "{chain}");
        }
    }
}
