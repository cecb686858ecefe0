//! What the service says went wrong, as its pages of metrics have it.

use std::collections::BTreeMap;

use dockernet_tests::monitor::Sample;

/// A page's numbers of drops and findings, by series.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Verdicts(BTreeMap<String, f64>);

impl Verdicts {
    pub(crate) fn of(page: &[Sample]) -> Self {
        const METRICS: [&str; 2] = ["dockernet_drops_total{", "dockernet_findings_total{"];
        let is_verdict =
            |sample: &&Sample| METRICS.iter().any(|name| sample.series.starts_with(name));
        Self(
            page.iter()
                .filter(is_verdict)
                .map(|sample| (sample.series.clone(), sample.value))
                .collect(),
        )
    }

    /// Series that are more by now; those of containers that are gone may be missing.
    pub(crate) fn grown(&self, later: &Self) -> Vec<String> {
        later
            .0
            .iter()
            .filter_map(|(series, value)| {
                let more = value - self.0.get(series).copied().unwrap_or(0.0);
                (more > 0.0).then(|| format!("{series} +{more}"))
            })
            .collect()
    }

    /// Whether one of these causes has more by now.
    pub(crate) fn has_told(&self, later: &Self, causes: &[String]) -> bool {
        self.grown(later).iter().any(|text| {
            causes
                .iter()
                .any(|cause| text.contains(&format!("cause=\"{cause}\"")))
        })
    }
}
