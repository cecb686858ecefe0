//! What of the values outlives a restart: every counter of drops, findings, NAT and lines.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
};

use serde::{Deserialize, Serialize};

use super::values::{Series, Values};
use crate::{model::Ledger, monitor::labels::OTHER};

/// Counters as they are kept. A key that is missing is 0, one that is not known is left out: versions may differ.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// Cause, container, network; packets, bytes.
    drops: Vec<(String, String, String, u64, u64)>,
    removed: u64,
    capped: u64,
    benign: BTreeMap<String, u64>,
    /// Cause, container; packets.
    expected: Vec<(String, String, u64)>,
    /// When the last packet died of a cause, seconds since the epoch.
    last: BTreeMap<String, f64>,
    diagnoses: BTreeMap<String, u64>,
    /// Cause, container; events.
    findings: Vec<(String, String, u64)>,
    nat: BTreeMap<String, u64>,
    sums: Sums,
}

/// Counters that the values have from elsewhere, where they begin at 0 with each run: what runs before had.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Sums {
    observed: u64,
    out_of_scope: u64,
    filtered: u64,
    lost: u64,
    missed: Option<u64>,
    pub(super) ring_full: u64,
    pub(super) counts_full: u64,
    pub(super) suppressed: u64,
    pub(super) bpf_seconds: f64,
    reasons: BTreeMap<String, u64>,
}

impl Sums {
    /// The columns that are metrics, with those of a run.
    pub(super) fn ledger(&self, run: &Ledger) -> Ledger {
        Ledger {
            observed: self.observed + run.observed,
            out_of_scope: self.out_of_scope + run.out_of_scope,
            filtered: self.filtered + run.filtered,
            lost: self.lost + run.lost,
            // At first, and on kernels that do not tell, there is none of the run.
            missed: run
                .missed
                .map(|missed| self.missed.unwrap_or(0) + missed)
                .or(self.missed),
            ..run.clone()
        }
    }

    /// Packets by reason, with those of a run.
    pub(super) fn reasons(&self, run: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
        let mut all = self.reasons.clone();
        for (reason, packets) in run {
            *all.entry(reason.clone()).or_default() += packets;
        }
        all
    }
}

impl Values {
    /// What is to be kept.
    #[must_use]
    pub fn save(&self) -> Saved {
        let pairs = |of: &BTreeMap<(Cow<'static, str>, String), u64>| {
            of.iter()
                .map(|((cause, container), number)| (cause.to_string(), container.clone(), *number))
                .collect()
        };
        let by_name = |of: &BTreeMap<Cow<'static, str>, u64>| {
            of.iter()
                .map(|(name, number)| (name.to_string(), *number))
                .collect()
        };
        let ledger = self.before.ledger(&self.ledger);
        Saved {
            drops: self
                .drops
                .iter()
                .map(|((cause, container, network), series)| {
                    (
                        cause.to_string(),
                        container.clone(),
                        network.clone(),
                        series.packets,
                        series.bytes,
                    )
                })
                .collect(),
            removed: self.removed,
            capped: self.capped,
            benign: self.benign.clone(),
            expected: pairs(&self.expected),
            last: self
                .last
                .iter()
                .map(|(cause, time)| (cause.to_string(), *time))
                .collect(),
            diagnoses: by_name(&self.began),
            findings: pairs(&self.findings),
            nat: by_name(&self.nat),
            sums: Sums {
                observed: ledger.observed,
                out_of_scope: ledger.out_of_scope,
                filtered: ledger.filtered,
                lost: ledger.lost,
                missed: ledger.missed,
                ring_full: self.before.ring_full + self.ring_full,
                counts_full: self.before.counts_full + self.counts_full,
                suppressed: self.before.suppressed + self.suppressed,
                bpf_seconds: self.before.bpf_seconds + self.cost.bpf_seconds,
                reasons: self.before.reasons(&self.reasons),
            },
        }
    }

    /// Goes on from what was kept. Gives the labels of containers in it.
    pub fn restore(&mut self, saved: Saved) -> HashSet<String> {
        let pairs = |of: Vec<(String, String, u64)>| {
            of.into_iter()
                .map(|(cause, container, number)| ((Cow::Owned(cause), container), number))
                .collect()
        };
        let by_name = |of: BTreeMap<String, u64>| {
            of.into_iter()
                .map(|(name, number)| (Cow::Owned(name), number))
                .collect()
        };
        self.drops = saved
            .drops
            .into_iter()
            .map(|(cause, container, network, packets, bytes)| {
                let series = Series {
                    packets,
                    bytes,
                    exemplar: None,
                };
                ((Cow::Owned(cause), container, network), series)
            })
            .collect();
        self.removed = saved.removed;
        self.capped = saved.capped;
        self.benign = saved.benign;
        self.expected = pairs(saved.expected);
        self.last = saved
            .last
            .into_iter()
            .map(|(cause, time)| (Cow::Owned(cause), time))
            .collect();
        self.began = by_name(saved.diagnoses);
        self.findings = pairs(saved.findings);
        self.nat = by_name(saved.nat);
        self.before = saved.sums;
        let in_drops = self.drops.keys().map(|(_, container, _)| container);
        let in_pairs = self.expected.keys().chain(self.findings.keys());
        in_drops
            .chain(in_pairs.map(|(_, container)| container))
            .filter(|label| !label.is_empty() && *label != OTHER)
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::collections::HashSet;

    use super::*;
    use crate::{monitor::metrics::Format, report::samples::denied};

    /// Lines of counters that stand for packets, events or lines.
    fn counters(values: &Values) -> Vec<String> {
        let page = values.page(Format::Text, None);
        page.lines()
            .filter(|line| !line.starts_with('#') && line.contains("_total"))
            .map(str::to_owned)
            .collect()
    }

    fn lived() -> Values {
        let mut values = Values::default();
        let mut drop = denied("198.51.100.20", 4000);
        drop.count = 3;
        values.dropped(&drop, "web", 180, 100);
        values.dropped(&drop, "gone", 180, 100);
        values.forget(&HashSet::from(["gone".to_owned()]));
        drop.noise = Some("multicast".into());
        values.benign(&drop);
        values.expected(&drop, "db");
        values.began.insert("docker-user-drop".into(), 2);
        values
            .findings
            .insert(("container-paused".into(), "web".into()), 7);
        values.nat.insert("dnat".into(), 5);
        values.ledger.observed = 20;
        values.ledger.lost = 4;
        values.ledger.missed = Some(1);
        values.ring_full = 6;
        values.suppressed = 8;
        values.cost.bpf_seconds = 0.25;
        values.reasons.insert("NETFILTER_DROP".into(), 20);
        values
    }

    #[test]
    fn every_counter_goes_on() {
        let before = lived();
        let text = serde_json::to_string(&before.save()).unwrap();
        let mut after = Values::default();
        let labels = after.restore(serde_json::from_str(&text).unwrap());
        assert_eq!(labels, HashSet::from(["web".to_owned(), "db".to_owned()]));
        // What the new run has not been told yet.
        after.ledger.missed = Some(0);
        assert_eq!(counters(&after), counters(&before));
        // And on: a second restart counts nothing twice.
        after.ledger.observed = 5;
        after.ledger.lost = 5;
        after.reasons.insert("NETFILTER_DROP".into(), 5);
        let mut third = Values::default();
        third.restore(after.save());
        third.ledger.missed = Some(0);
        let page = counters(&third).join("\n");
        assert!(page.contains("dockernet_observed_drops_total 25"), "{page}");
        assert!(
            page.contains("dockernet_unattributed_drops_total 9"),
            "{page}"
        );
        assert!(page.contains("dockernet_missed_drops_total 1\n"), "{page}");
        assert!(page.contains("reason=\"NETFILTER_DROP\"} 25"), "{page}");
    }

    #[test]
    fn other_versions_are_understood() {
        let saved: Saved = serde_json::from_str(r#"{"removed":3,"later":{"x":1}}"#).unwrap();
        let mut values = Values::default();
        values.restore(saved);
        assert!(counters(&values).contains(&"dockernet_drops_removed_series_total 3".to_owned()));
    }
}
