//! A rule that drops and counts: the truth about a storm.

use anyhow::{Context as _, Result, ensure};

use crate::{lab::Lab, netns::Place};

/// An nftables rule in the lab's host that drops UDP to a port and counts what it drops.
#[derive(Clone, Copy, Debug)]
pub struct CountedDrop;

impl CountedDrop {
    /// Makes it at a hook (`forward`, `output` …), from zero. For published ports: what a packet looks like behind DNAT.
    ///
    /// # Errors
    /// nft refuses.
    pub fn make(lab: &Lab, hook: &str, port: u16) -> Result<Self> {
        Self::remove(lab)?;
        let script = format!(
            "nft 'table inet storm {{ counter dropped {{ }}; chain {hook} {{ type filter hook {hook} priority -10; udp dport {port} counter name dropped drop; }}; }}'"
        );
        let output = lab.shell(&Place::Host, &script)?;
        ensure!(
            output.success(),
            "making the rule failed: {}",
            output.stderr
        );
        Ok(Self)
    }

    /// Packets that it has dropped.
    ///
    /// # Errors
    /// It is gone.
    pub fn packets(self, lab: &Lab) -> Result<u64> {
        let text = lab
            .shell(&Place::Host, "nft list counter inet storm dropped")?
            .stdout;
        text.split_once("packets ")
            .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
            .with_context(|| format!("nft lists no counter: {text}"))
    }

    /// Takes it away, if it is there.
    ///
    /// # Errors
    /// The lab's host is gone.
    pub fn remove(lab: &Lab) -> Result<()> {
        lab.shell(&Place::Host, "nft delete table inet storm 2>/dev/null")
            .map(drop)
    }
}
