//! What explains a drop, and what mends it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// How sure a cause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Nothing in the catalogue fits; the id is `unexplained`.
    Unknown,
    /// The evidence fits, no live state confirms it.
    Likely,
    /// The live configuration agrees with the evidence.
    Confirmed,
}

/// What running a fix does to what works now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Impact {
    /// Nothing that works now is touched.
    None,
    /// Connections may be interrupted.
    Interrupts,
    /// Containers are restarted.
    RestartsContainers,
    /// Data or definitions are lost.
    LosesData,
    /// Traffic that is refused now will pass.
    OpensFirewall,
}

/// One way to mend a cause, least disruptive first in a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Fix {
    /// A command to run as root.
    Command {
        /// The command line.
        run: String,
        /// Where: `host` or a container's name.
        netns: String,
        /// File or setting that makes it permanent.
        persist: Option<String>,
        /// Which file set the wrong value, or that none was found: `/etc/sysctl.d/99-cis.conf:12 sets … to 0`.
        set_by: Option<String>,
        /// What it does to what works now.
        impact: Impact,
    },
    /// What no single command does.
    Advice {
        /// One sentence.
        advice: String,
    },
}

/// Why a packet died.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cause {
    /// Id in the catalogue, or `unexplained`.
    pub id: Cow<'static, str>,
    /// How sure.
    pub confidence: Confidence,
    /// One sentence.
    pub summary: String,
    /// What was seen, one fact each, e.g. `net.ipv4.conf.eth0.forwarding = 0`.
    pub evidence: Vec<String>,
    /// What mends it, least disruptive first.
    pub fix: Vec<Fix>,
}

/// The firewall rule that dropped a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rule {
    /// `nft`, `iptables-nft`, `iptables-legacy` or `ebtables-legacy`.
    pub backend: Cow<'static, str>,
    /// Table, with its family: `ip filter`.
    pub table: String,
    /// Chain.
    pub chain: String,
    /// The rule's text, or `policy drop`; with its number in the chain where that is known.
    pub rule: String,
    /// The handle by which `nft delete rule` takes it; of a rule of iptables-nft too. None of a policy, and of the legacy programs' rules.
    #[serde(default)]
    pub handle: Option<u64>,
    /// `traced`, `counter` or `simulated`.
    pub how: Cow<'static, str>,
    /// Who wrote it: `docker`, `podman`, `firewalld`, `ufw`, `kube`, `user` or `unknown`.
    pub owner: Cow<'static, str>,
}
