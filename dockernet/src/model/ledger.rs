//! The first and the last line of a run.

use serde::{Deserialize, Serialize};

/// First line: what runs and what it can see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ready {
    /// Version of the JSON contract.
    pub schema: u32,
    /// Version of the tool.
    pub version: String,
    /// Kernel release.
    pub kernel: String,
    /// Engine's version; null while none answers.
    pub docker: Option<String>,
    /// Where the engine was asked.
    pub docker_host: Option<String>,
    /// Containers known so far.
    pub containers: usize,
    /// Kernel programs and their tier, e.g. `kfree_skb:tp_btf`.
    pub programs: Vec<String>,
    /// What this kernel or these privileges do not give, one sentence each.
    pub degraded: Vec<String>,
}

/// What becomes of a drop. The ledger has a column for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It has a line.
    Shown,
    /// Refused by a filter of the user's.
    Filtered,
    /// Outside `--scope`.
    OutOfScope,
    /// Known noise.
    Benign,
    /// Declared deliberate by `--ignore`.
    Expected,
}

/// What became of every dropped packet.
///
/// `observed` = `shown` + `filtered` + `out_of_scope` + `benign` + `expected` + `lost`, always.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ledger {
    /// Whether this is the last line of the run.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Seconds since `ready`.
    pub seconds: f64,
    /// Dropped packets counted in the kernel.
    pub observed: u64,
    /// Sum of `count` over the drop lines.
    pub shown: u64,
    /// Refused by a filter of the user's.
    pub filtered: u64,
    /// Outside `--scope`.
    pub out_of_scope: u64,
    /// Known noise.
    pub benign: u64,
    /// Declared deliberate by `--ignore`.
    pub expected: u64,
    /// Counted, but their detail never reached user space.
    pub lost: u64,
    /// The drop program's recursion misses; null where the kernel does not tell (before 5.12), and no proof before 6.1.
    pub missed: Option<u64>,
    /// What became of the reports of NAT; null without `--nat`.
    pub nat: Option<NatLedger>,
}

impl Ledger {
    /// The column of packets of this fate.
    pub(crate) fn column(&mut self, fate: Fate) -> &mut u64 {
        match fate {
            Fate::Shown => &mut self.shown,
            Fate::Filtered => &mut self.filtered,
            Fate::OutOfScope => &mut self.out_of_scope,
            Fate::Benign => &mut self.benign,
            Fate::Expected => &mut self.expected,
        }
    }

    /// The sum of the columns, which `observed` has to be.
    pub(crate) fn accounted(&self) -> u64 {
        [
            self.shown,
            self.filtered,
            self.out_of_scope,
            self.benign,
            self.expected,
            self.lost,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

/// Reports of NAT: one per flow and direction, but one for all of a flow that `--filter` refuses in the kernel half. `seen` = `shown` + `hidden` + `lost`, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NatLedger {
    /// All.
    pub seen: u64,
    /// `nat` lines.
    pub shown: u64,
    /// Outside `--scope`, refused by a filter, or told before.
    pub hidden: u64,
    /// Found no room in the ring: the flow's next packet tries again, if there is one.
    pub lost: u64,
}
