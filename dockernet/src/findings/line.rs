//! A finding as its line.

use std::time::Duration;

use jiff::Timestamp;

use super::{Finding, judge::Found};
use crate::{
    evidence::netns_of,
    inventory::Inventory,
    model::{Drop, NetnsInfo, Reach},
};

/// `info`: where the sign was seen. `since`: how long ago its first event was counted, if that is known.
pub(super) fn finding(
    found: Found,
    info: &NetnsInfo,
    inventory: &Inventory,
    since: Option<Duration>,
) -> Finding {
    let now = Timestamp::now();
    let Found {
        verdict,
        source,
        destination,
        published,
        device,
        events,
        is_hosts_own,
    } = found;
    Finding {
        line: Drop {
            time: now,
            flow: None,
            reason: None,
            location: None,
            hook: None,
            stack: None,
            netns: netns_of(info.inum, info.key, inventory),
            device,
            ingress_device: None,
            packet: None,
            nat: None,
            source,
            destination,
            published,
            rule: verdict.rule,
            cause: verdict.cause,
            noise: None,
            expected: false,
            count: events.max(1),
            veth_of: None,
            reach: if is_hosts_own {
                Reach::Host
            } else {
                Reach::Containers
            },
            capture: None,
            sample: None,
        },
        began: since.map(|since| now - since),
    }
}
