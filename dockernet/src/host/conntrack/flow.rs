//! Tracked flows as they are spoken of: one by its tuple, or all of them.

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::{Entry, Table};
use crate::{host::netns::NetnsHandle, model::Tuple};

/// Flows that are read at most: about 200 MiB.
const LIMIT: usize = 1 << 20;

/// One flow that the kernel tracks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// IP protocol number.
    pub protocol: u8,
    /// Before NAT, in the direction of the first packet.
    pub original: Tuple,
    /// What the answer looks like before it is translated back.
    pub reply: Tuple,
    /// Bits of `dockernet_common::conntrack::status`.
    pub status: u32,
    /// Seconds until it is forgotten, unless another packet comes.
    pub timeout: Option<u32>,
    /// `enum tcp_conntrack`, of TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_state: Option<u8>,
}

impl Flow {
    fn of(entry: &Entry) -> Option<Self> {
        Some(Self {
            protocol: entry.original.protocol,
            original: Tuple::of(&entry.original)?,
            reply: Tuple::of(&entry.reply)?,
            status: entry.status,
            timeout: entry.timeout,
            tcp_state: entry.tcp_state,
        })
    }
}

/// The flow that has this tuple, in whichever direction; `None` if no such flow is tracked.
///
/// # Errors
/// The namespace cannot be entered, or ctnetlink is not loaded (looking does not load it).
pub fn find(netns: &NetnsHandle, protocol: u8, tuple: &Tuple) -> Result<Option<Flow>> {
    let Some(raw) = tuple.raw(protocol) else {
        return Ok(None);
    };
    let found = netns.run(|| Table::open_here()?.get(&raw))?;
    let found = found
        .with_context(|| format!("looking for a flow in network namespace {}", netns.inum()))?;
    Ok(found.as_ref().and_then(Flow::of))
}

/// All flows of both families. There may be a million: some 100 ms for each hundred thousand.
///
/// # Errors
/// As [`find`]; or there are too many to be read, and half of them would prove nothing.
pub fn flows(netns: &NetnsHandle) -> Result<Vec<Flow>> {
    let all = netns.run(|| {
        let (entries, is_all) = Table::open_here()?.dump(LIMIT, |_| true)?;
        if !is_all {
            bail!("it holds more than could be read ({})", entries.len());
        }
        Ok(entries)
    })?;
    let all =
        all.with_context(|| format!("reading the flows of network namespace {}", netns.inum()))?;
    Ok(all.iter().filter_map(Flow::of).collect())
}

/// Those flows that `wanted` wants, the first few thousand of them. The whole table is read for it, and not kept.
///
/// # Errors
/// As [`find`].
pub fn flows_where(
    netns: &NetnsHandle,
    wanted: impl Fn(&Flow) -> bool + Sync,
) -> Result<Vec<Flow>> {
    const MOST: usize = 4096;
    let is_wanted = |entry: &Entry| Flow::of(entry).is_some_and(|flow| wanted(&flow));
    let found = netns.run(|| Table::open_here()?.dump(MOST, is_wanted))?;
    let (found, _) = found
        .with_context(|| format!("reading the flows of network namespace {}", netns.inum()))?;
    Ok(found.iter().filter_map(Flow::of).collect())
}
