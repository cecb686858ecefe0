//! A name in a container's hosts file that has moved on.

use super::{Case, Verdict, neighbour};
use crate::model::Container;

/// Row 83. A `--link` writes an address into a hosts file when the container starts, and nobody writes it again when the
/// one behind the name is made anew.
pub(super) fn stale_entry(case: &Case<'_>) -> Option<Verdict> {
    let unwanted = case.evidence.reason() == "NO_SOCKET" || neighbour::gave_up(case);
    if !case.in_container() || !unwanted {
        return None;
    }
    let dst = case.dst()?;
    let asker = case
        .inventory
        .container_named(&case.evidence.drop.source.container.as_ref()?.name)?;
    let holder = case.assigned_to(dst);
    if holder.is_some_and(|holder| holder.id == asker.id) {
        return None;
    }
    let entries = case.state.hosts(u32::try_from(asker.pid?).ok()?).ok()?;
    let meant = entries
        .iter()
        .filter(|entry| entry.address == dst)
        .flat_map(|entry| &entry.names)
        .find_map(|name| {
            let meant = case.inventory.container_named(name)?;
            (holder.is_none_or(|holder| holder.id != meant.id) && lives_elsewhere(meant, dst))
                .then_some((name, meant))
        });
    let (name, meant) = meant?;
    let now = meant
        .attachments
        .iter()
        .filter_map(|attachment| attachment.ipv4)
        .map(|net| net.addr().to_string())
        .collect::<Vec<_>>()
        .join(", ");
    Some(
        Verdict::confirmed(
            "stale-hosts-entry",
            format!(
                "{} takes {dst} for {name}, which has moved; {}",
                asker.name,
                holder.map_or_else(
                    || "nobody has that address".to_owned(),
                    |holder| format!("the address is {}'s now", holder.name)
                )
            ),
        )
        .fact(format!("/etc/hosts of {} says {dst} {name}", asker.name))
        .fact(format!("Docker says {} has {now}", meant.name))
        .advise(format!(
            "recreate {} so that its hosts file is written anew; for good: put both on a user-defined network and use names, \
             which Docker's resolver keeps right, instead of --link or --add-host",
            asker.name
        )),
    )
}

/// Whether it runs and has addresses, and this is none of them.
fn lives_elsewhere(container: &Container, address: std::net::IpAddr) -> bool {
    let mut given = container
        .attachments
        .iter()
        .flat_map(|attachment| [attachment.ipv4, attachment.ipv6])
        .flatten()
        .peekable();
    container.ended.is_none() && given.peek().is_some() && given.all(|net| net.addr() != address)
}
