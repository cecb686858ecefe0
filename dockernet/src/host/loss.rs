//! What a network device lost before the kernel had a packet in hand: no skb, so no drop event.

use std::io;

use anyhow::{Context as _, Result};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage, LinkXdp, Stats64, XdpAttached},
};

use super::{
    ethtool::{Ethtool, number, words},
    netlink,
};

/// `ETHTOOL_GSSET_INFO`, `ETHTOOL_GSTRINGS`, `ETHTOOL_GSTATS` (include/uapi/linux/ethtool.h).
const GET_SET_INFO: u32 = 0x37;
const GET_STRINGS: u32 = 0x1b;
const GET_STATS: u32 = 0x1d;
/// `ETH_SS_STATS`, and the length of its names.
const STATS: u32 = 1;
const NAME: usize = 32;
/// More statistics than any driver has.
const MOST: u32 = 1 << 14;

/// Losses since the device was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Packets that the card had no buffer for: `rx_missed_errors`, by older drivers `rx_over_errors` or `rx_fifo_errors`
    /// (include/uapi/linux/if_link.h). `rx_dropped` is left out: it counts packets of unknown protocols too.
    pub missed: u64,
    /// Packets that an XDP program in the driver dropped; none without such a program, or where its driver does not say.
    pub xdp: Option<u64>,
}

/// What a device of the calling thread's namespace lost.
///
/// # Errors
/// It is gone, or the kernel does not answer.
pub fn here(index: u32, device: &str) -> Result<Loss> {
    let mut request = LinkMessage::default();
    request.header.index = index;
    let answer = netlink::get(RouteNetlinkMessage::GetLink(request))
        .with_context(|| format!("asking for the counters of {device}"))?;
    let Some(RouteNetlinkMessage::NewLink(link)) = answer else {
        return Ok(Loss::default());
    };
    let (missed, in_driver) = decode(&link);
    let xdp = if in_driver {
        xdp_drops(device).with_context(|| format!("asking the driver of {device}"))?
    } else {
        None
    };
    Ok(Loss { missed, xdp })
}

/// What was missed, and whether a program is in the driver.
fn decode(link: &LinkMessage) -> (u64, bool) {
    let (mut missed, mut in_driver) = (0, false);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Stats64(stats) => missed = missed_of(stats),
            LinkAttribute::Xdp(given) => {
                in_driver = given.iter().any(|one| {
                    matches!(
                        one,
                        LinkXdp::Attached(XdpAttached::Driver | XdpAttached::Multiple)
                    )
                });
            }
            _ => {}
        }
    }
    (missed, in_driver)
}

/// Drivers tell the same loss by one of these, some by several.
fn missed_of(stats: &Stats64) -> u64 {
    let all = [
        stats.rx_missed_errors,
        stats.rx_over_errors,
        stats.rx_fifo_errors,
    ];
    all.into_iter().max().unwrap_or(0)
}

/// The driver's own count of what XDP dropped.
fn xdp_drops(device: &str) -> io::Result<Option<u64>> {
    let ethtool = Ethtool::open(device)?;
    // struct ethtool_sset_info: command, reserved, mask of sets, then a length for each that there is.
    let mut info = words(&[GET_SET_INFO, 0, 1 << STATS, 0, 0]);
    ethtool.ask(&mut info)?;
    let count = info.get(16..20).and_then(number).unwrap_or(0);
    if count > MOST {
        return Ok(None);
    }
    // The kernel writes as many as the driver has by then, whatever it is told: queues may be added meanwhile.
    let room = usize::try_from(count * 2 + 256).map_err(io::Error::other)?;
    // struct ethtool_gstrings: command, set, length, names.
    let mut names = words(&[GET_STRINGS, STATS, count]);
    names.resize(12 + room * NAME, 0);
    ethtool.ask(&mut names)?;
    // struct ethtool_stats: command, length, 64-bit numbers.
    let mut values = words(&[GET_STATS, count]);
    values.resize(8 + room * 8, 0);
    ethtool.ask(&mut values)?;
    let names = names.get(12..).unwrap_or_default().chunks_exact(NAME);
    let values = values.get(8..).unwrap_or_default().chunks_exact(8);
    let named = names.zip(values).map(|(name, value)| {
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(NAME);
        let name = String::from_utf8_lossy(name.get(..end).unwrap_or_default());
        let value = value.try_into().map_or(0, u64::from_ne_bytes);
        (name.into_owned(), value)
    });
    Ok(dropped(named))
}

/// `rx_queue_0_xdp_drops` (veth, virtio), `rx_xdp_drop` beside `rx0_xdp_drop` (mlx5): the sum by the driver itself, or ours.
fn dropped(named: impl Iterator<Item = (String, u64)>) -> Option<u64> {
    let (mut whole, mut parts) = (None, None);
    for (name, value) in named {
        if !name.contains("xdp") || !name.contains("drop") || name.contains("tx") {
            continue;
        }
        let sum = if name.bytes().any(|byte| byte.is_ascii_digit()) {
            &mut parts
        } else {
            &mut whole
        };
        *sum = Some(sum.unwrap_or(0_u64).saturating_add(value));
    }
    whole.or(parts)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::host::inside;

    #[test]
    fn loopback_has_lost_nothing() {
        let index = inside::device_index("lo").unwrap();
        assert_eq!(here(index, "lo").unwrap(), Loss::default());
        assert!(here(u32::MAX >> 1, "nothing").is_err());
        assert!(xdp_drops("a-name-that-is-too-long").is_err());
    }

    #[test]
    fn what_the_card_missed_is_counted_once() {
        let mut stats = Stats64::default();
        stats.rx_dropped = 9;
        assert_eq!(missed_of(&stats), 0);
        stats.rx_missed_errors = 7;
        stats.rx_fifo_errors = 7;
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::Stats64(stats));
        assert_eq!(decode(&link), (7, false));
        let attached = |how| {
            let mut link = LinkMessage::default();
            let attribute = LinkAttribute::Xdp(vec![LinkXdp::Attached(how)]);
            link.attributes.push(attribute);
            decode(&link).1
        };
        assert!(attached(XdpAttached::Driver));
        assert!(!attached(XdpAttached::SocketBuffer));
    }

    #[test]
    fn drivers_name_their_counters_each_in_its_way() {
        let of = |all: &[(&str, u64)]| {
            dropped(all.iter().map(|(name, value)| ((*name).to_owned(), *value)))
        };
        let veth = [
            ("peer_ifindex", 4),
            ("rx_queue_0_drops", 50),
            ("rx_queue_0_xdp_drops", 3),
            ("rx_queue_1_xdp_drops", 4),
            ("tx_queue_0_xdp_xmit", 1),
        ];
        assert_eq!(of(&veth), Some(7));
        assert_eq!(of(&[("rx_xdp_drop", 5), ("rx0_xdp_drop", 5)]), Some(5));
        assert_eq!(of(&[("rx_packets", 5)]), None);
    }
}
