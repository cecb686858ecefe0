//! One finding for one fault, however many containers suffer from it.

use super::finding::{Affected, Finding, Grade};

/// Findings, alike ones joined.
#[derive(Default)]
pub(super) struct Gather {
    pub(super) findings: Vec<Finding>,
}

impl Gather {
    /// Adds a finding, or its sufferers to the one of the same cause, rule and subject.
    pub(super) fn add(&mut self, finding: Finding, affected: impl IntoIterator<Item = Affected>) {
        let same = self.findings.iter().position(|known| {
            known.subject == finding.subject
                && known.cause.id == finding.cause.id
                && match (&known.rule, &finding.rule) {
                    (Some(known), Some(new)) => {
                        (&known.table, &known.chain, &known.rule)
                            == (&new.table, &new.chain, &new.rule)
                    }
                    (None, None) => {
                        // The evidence of an alike fault may name another sufferer.
                        (&known.cause.summary, &known.cause.fix)
                            == (&finding.cause.summary, &finding.cause.fix)
                            && (finding.grade != Grade::Unknown
                                || known.cause.evidence == finding.cause.evidence)
                    }
                    _ => false,
                }
        });
        match same {
            Some(place) => {
                let mut known = self.findings.swap_remove(place);
                // The worse of both tells.
                if finding.grade < known.grade {
                    let affects = std::mem::take(&mut known.affects);
                    known = finding;
                    known.affects = affects;
                }
                self.findings.push(known.affects(affected));
            }
            None => self.findings.push(finding.affects(affected)),
        }
    }
}
