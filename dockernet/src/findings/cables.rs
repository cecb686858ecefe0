//! What the host's ends of containers' cables carried: where nothing went through, a container's counters need no look each time.
//!
//! /proc/net/dev (net/core/net-procfs.c) has a line for each device, and costs about 1 µs for each; a namespace's own counters cost a
//! hundred times that.

use std::{collections::HashMap, fs, io};

use crate::{
    inventory::Inventory,
    model::{Link, LinkKind, NetnsInfo, NetnsKey},
};

/// Packets, in both directions, that the calling thread's namespace has seen at each veth that a namespace is behind: of those whose
/// every link is such a cable. Of others (macvlan, overlays) the host's devices do not tell all.
///
/// # Errors
/// The file cannot be read.
pub(super) fn carried(inventory: &Inventory) -> io::Result<HashMap<NetnsKey, u64>> {
    Ok(of(
        inventory,
        &fs::read_to_string("/proc/thread-self/net/dev")?,
    ))
}

fn of(inventory: &Inventory, devices: &str) -> HashMap<NetnsKey, u64> {
    let packets: HashMap<&str, u64> = devices.lines().filter_map(device).collect();
    let mut cables: HashMap<NetnsKey, (usize, u64)> = HashMap::new();
    let links = inventory.host_netns().map(|info| info.links.as_slice());
    for link in links.unwrap_or_default() {
        let Some(info) = inventory.netns_behind(link.ifindex) else {
            continue;
        };
        // Its other end is one of those that are counted below.
        let is_up = usable(info).any(|inner| Some(inner.ifindex) == link.peer_ifindex);
        if let Some(packets) = packets.get(link.name.as_str()).filter(|_| is_up) {
            let (ends, sum) = cables.entry(info.key).or_default();
            *ends += 1;
            *sum = sum.wrapping_add(*packets);
        }
    }
    cables
        .into_iter()
        .filter(|(key, (ends, _))| {
            inventory
                .netns(*key)
                .is_some_and(|info| usable(info).count() == *ends)
        })
        .map(|(key, (_, sum))| (key, sum))
        .collect()
}

/// Links that packets can leave a namespace by.
fn usable(info: &NetnsInfo) -> impl Iterator<Item = &Link> {
    let links = info.links.iter();
    links.filter(|link| link.up && link.kind != LinkKind::Loopback)
}

/// Name, and packets received and sent.
fn device(line: &str) -> Option<(&str, u64)> {
    const RECEIVED: usize = 1;
    const SENT: usize = 9;
    let (name, numbers) = line.split_once(':')?;
    let mut numbers = numbers.split_ascii_whitespace();
    let received: u64 = numbers.nth(RECEIVED)?.parse().ok()?;
    let sent: u64 = numbers.nth(SENT - RECEIVED - 1)?.parse().ok()?;
    Some((name.trim_start(), received.wrapping_add(sent)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const HEAD: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
";

    #[test]
    fn lines_of_devices() {
        assert_eq!(HEAD.lines().filter_map(device).next(), None);
        for (line, told) in [
            (
                "    lo: 100 2 0 0 0 0 0 0 100 3 0 0 0 0 0 0",
                Some(("lo", 5)),
            ),
            (
                "veth1234567:9 18446744073709551615 0 0 0 0 0 0 9 1 0 0",
                Some(("veth1234567", 0)),
            ),
            ("eth0: 1 2 3", None),
            ("eth0: 1 x 0 0 0 0 0 0 9 1", None),
            ("", None),
        ] {
            assert_eq!(device(line), told, "{line}");
        }
    }

    #[test]
    fn this_kernel_tells() {
        let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        assert!(
            text.lines()
                .filter_map(device)
                .any(|(name, _)| name == "lo"),
            "{text}"
        );
    }
}
