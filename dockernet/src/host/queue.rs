//! Queueing disciplines of a device, and the CPUs' backlogs, with what they have dropped.

use std::fs;

use anyhow::{Context as _, Result};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::LinkAttribute,
    tc::{TcAttribute, TcMessage, TcStats2},
};
use serde::{Deserialize, Serialize};

use super::{netlink, netns::NetnsHandle};

/// `TC_H_ROOT` (include/uapi/linux/pkt_sched.h).
const ROOT: u32 = 0xffff_ffff;

/// One queueing discipline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Its kind, such as `tbf` or `fq_codel`.
    pub kind: String,
    /// It is the device's outermost one.
    pub root: bool,
    /// Packets dropped since it was made.
    pub drops: u32,
    /// Packets that wait in it.
    pub length: u32,
    /// `txqueuelen` of its device, which limits a `pfifo_fast`, where the kernel says.
    #[serde(default)]
    pub txqueuelen: Option<u32>,
}

/// The queueing disciplines of a device.
///
/// # Errors
/// The kernel does not answer.
pub fn queues(netns: &NetnsHandle, device: &str) -> Result<Vec<Queue>> {
    netns
        .run(|| {
            let request = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
            let all = netlink::dump(request, |message| match message {
                RouteNetlinkMessage::NewQueueDiscipline(message) => Some(message),
                _ => None,
            })?;
            let of_device = |message: &&TcMessage| {
                u32::try_from(message.header.index)
                    .is_ok_and(|index| netlink::interface_name(index) == device)
            };
            let mut queues: Vec<Queue> = all.iter().filter(of_device).map(decode).collect();
            if queues.iter().any(|queue| queue.kind == "pfifo_fast") {
                let txqueuelen = txqueuelen(device);
                queues
                    .iter_mut()
                    .for_each(|queue| queue.txqueuelen = txqueuelen);
            }
            anyhow::Ok(queues)
        })?
        .with_context(|| format!("reading the queues of {device}"))
}

fn txqueuelen(device: &str) -> Option<u32> {
    let lengths = netlink::links(|link| {
        let is_it =
            |one: &LinkAttribute| matches!(one, LinkAttribute::IfName(name) if name == device);
        let all = &link.attributes;
        all.iter().any(is_it).then(|| {
            all.iter().find_map(|one| match one {
                LinkAttribute::TxQueueLen(length) => Some(*length),
                _ => None,
            })
        })?
    });
    lengths.ok()?.first().copied()
}

fn decode(message: &TcMessage) -> Queue {
    let mut queue = Queue {
        kind: String::new(),
        root: u32::from(message.header.parent) == ROOT,
        drops: 0,
        length: 0,
        txqueuelen: None,
    };
    for attribute in &message.attributes {
        match attribute {
            TcAttribute::Kind(kind) => queue.kind.clone_from(kind),
            TcAttribute::Stats2(all) => {
                for stats in all {
                    if let TcStats2::Queue(stats) = stats {
                        queue.drops = stats.drops;
                        queue.length = stats.qlen;
                    }
                }
            }
            _ => {}
        }
    }
    queue
}

/// Packets that the CPUs' backlogs have dropped since the machine's start (`/proc/net/softnet_stat`, second column).
///
/// # Errors
/// The file cannot be read or is none of the kernel's.
pub fn backlog_drops() -> Result<u64> {
    let text =
        fs::read_to_string("/proc/net/softnet_stat").context("reading /proc/net/softnet_stat")?;
    parse_softnet(&text).context("/proc/net/softnet_stat is not in the form that is known")
}

pub(crate) fn parse_softnet(text: &str) -> Option<u64> {
    text.lines().try_fold(0_u64, |sum, line| {
        let column = line.split_ascii_whitespace().nth(1)?;
        sum.checked_add(u64::from_str_radix(column, 16).ok()?)
    })
}

/// How many packets may wait for a CPU (`net.core.netdev_max_backlog`, one for the whole machine).
///
/// # Errors
/// The file cannot be read.
pub fn backlog_limit() -> Result<Option<u64>> {
    let text = fs::read_to_string("/proc/sys/net/core/netdev_max_backlog")
        .context("reading net.core.netdev_max_backlog")?;
    Ok(text.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backlog_drops_are_summed_over_the_cpus() {
        let text = "0000a1b2 0000000f 00000000 0\n00000001 00000010 00000003 0\n";
        assert_eq!(parse_softnet(text), Some(31));
        assert_eq!(parse_softnet("xyz"), None);
        assert_eq!(parse_softnet("1 zz"), None);
    }
}
