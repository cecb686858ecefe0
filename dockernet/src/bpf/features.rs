//! What the running kernel has of the things that came to Linux over time. Found out, never inferred from a version:
//! distributions backport.

use dockernet_common::offsets::{ABSENT, Offsets};
use serde::Serialize;

use super::{load::Kernel, offsets};
use crate::host::netns::cookie_here;

/// `doctor --output json` shows it as `features`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Features {
    /// How many drop reasons it tells apart (5.17+).
    pub reasons: usize,
    /// `kfree_skb` tells the socket that was to receive the packet (6.11+).
    pub rx_sk: bool,
    /// Namespaces have a number that is never reused (5.12+, `SO_NETNS_COOKIE` 5.14+).
    pub net_cookie: bool,
    /// Packets carry their conntrack entry, and its layout is known.
    pub conntrack: bool,
    /// The layout of bridge ports is known.
    pub bridge_ports: bool,
    /// The drop program does not interrupt itself, and what it therefore misses is counted (`recursion_misses`, 6.1+ for
    /// `tp_btf`).
    pub recursion_misses: bool,
    /// tc programs hang on links that end with the process (6.6+).
    pub tcx: bool,
}

impl Features {
    /// Reads the kernel's type information.
    ///
    /// # Errors
    /// It lacks what the drop tracer cannot do without.
    pub fn of(kernel: &Kernel) -> anyhow::Result<Self> {
        Ok(Self::with(kernel, &offsets::resolve(&kernel.btf)?))
    }

    pub(super) fn with(kernel: &Kernel, offsets: &Offsets) -> Self {
        let there = |offset: u32| offset != ABSENT;
        let btf = &kernel.btf;
        Self {
            reasons: kernel.reasons.names().count(),
            rx_sk: offsets.has_rx_sk == 1,
            net_cookie: there(offsets.net_cookie),
            conntrack: there(offsets.skb_nfct)
                && there(offsets.ct_original)
                && there(offsets.ct_reply),
            bridge_ports: there(offsets.port_state),
            // `bpf_trace_run` has its guard since the function that counts for it is there (kernel/trace/bpf_trace.c).
            recursion_misses: btf.has_function("bpf_prog_inc_misses_counter"),
            tcx: btf
                .enumerators("bpf_attach_type")
                .iter()
                .any(|(name, _)| name == "BPF_TCX_EGRESS"),
        }
    }

    /// What is lost without that which this kernel lacks, one sentence each.
    #[must_use]
    pub fn lacking(&self) -> Vec<String> {
        let sentences = [
            (
                self.reasons > 0,
                "this kernel gives no drop reasons (5.17+): causes come from location, stack and state, and drops that fit none are shown under --all only",
            ),
            (
                self.net_cookie,
                "this kernel gives namespaces no number that is never reused (5.14+): one that takes the place of another at once may be taken for it",
            ),
            (
                self.conntrack,
                "the layout of conntrack entries is not known (is nf_conntrack not loaded yet?): drops are shown without NAT",
            ),
            (
                self.bridge_ports,
                "the layout of bridge ports is not known (is the bridge module not loaded yet?): a port that does not forward is not recognised",
            ),
            (
                self.recursion_misses,
                "this kernel lets our program interrupt itself on a CPU (until 6.1): in a storm a drop in some thousands may go uncounted",
            ),
        ];
        sentences
            .iter()
            .filter(|(there, _)| !there)
            .map(|(_, sentence)| (*sentence).to_owned())
            .collect()
    }
}

/// Whether user space can ask for a namespace's cookie: both sides must key namespaces alike.
pub(super) fn cookies() -> bool {
    cookie_here().is_ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn of_this_kernel() {
        let kernel = Kernel::look().unwrap();
        let features = Features::of(&kernel).unwrap();
        assert_eq!(features.net_cookie, cookies());
        assert_eq!(features.reasons > 0, !kernel.reasons.is_empty());
    }

    #[test]
    fn an_old_kernel_lacks_five_things() {
        let old = Features {
            reasons: 0,
            rx_sk: false,
            net_cookie: false,
            conntrack: false,
            bridge_ports: false,
            recursion_misses: false,
            tcx: false,
        };
        assert_eq!(old.lacking().len(), 5);
    }
}
