//! What a cause's test finds.

use crate::{
    host::sysctl::{display_key, files::SysctlFiles},
    model::{Cause, Confidence, Fix, Impact, Rule},
};

/// A cause, and the rule if it was one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// Why.
    pub cause: Cause,
    /// Which rule.
    pub rule: Option<Rule>,
}

impl Verdict {
    /// A cause that live state confirms.
    pub(crate) fn confirmed(id: &'static str, summary: impl Into<String>) -> Self {
        Self::new(id, Confidence::Confirmed, summary)
    }

    /// Confirmed if `agrees`.
    pub(crate) fn when(agrees: bool, id: &'static str, summary: impl Into<String>) -> Self {
        let confidence = if agrees {
            Confidence::Confirmed
        } else {
            Confidence::Likely
        };
        Self::new(id, confidence, summary)
    }

    /// No longer confirmed, if it was.
    pub(crate) fn likely(mut self) -> Self {
        self.cause.confidence = self.cause.confidence.min(Confidence::Likely);
        self
    }

    /// No cause of the catalogue, yet something can be told.
    pub(crate) fn unexplained(summary: impl Into<String>) -> Self {
        Self::new("unexplained", Confidence::Unknown, summary)
    }

    fn new(id: &'static str, confidence: Confidence, summary: impl Into<String>) -> Self {
        Self {
            cause: Cause {
                id: id.into(),
                confidence,
                summary: summary.into(),
                evidence: Vec::new(),
                fix: Vec::new(),
            },
            rule: None,
        }
    }

    /// Adds a fact.
    pub(crate) fn fact(mut self, fact: impl Into<String>) -> Self {
        self.cause.evidence.push(fact.into());
        self
    }

    /// Adds a fact if there is one.
    pub(crate) fn maybe_fact(mut self, fact: Option<String>) -> Self {
        self.cause.evidence.extend(fact);
        self
    }

    /// Adds a command.
    pub(crate) fn run(
        mut self,
        run: impl Into<String>,
        netns: impl Into<String>,
        persist: Option<String>,
        impact: Impact,
    ) -> Self {
        self.cause.fix.push(Fix::Command {
            run: run.into(),
            netns: netns.into(),
            persist,
            set_by: None,
            impact,
        });
        self
    }

    /// Says of the last command who set what it mends.
    pub(crate) fn set_by(mut self, who: String) -> Self {
        if let Some(Fix::Command { set_by, .. }) = self.cause.fix.last_mut() {
            *set_by = Some(who);
        }
        self
    }

    /// Adds the command that sets a kernel setting of the host, how to keep it, and which file set it wrong.
    pub(crate) fn set_host_sysctl(
        self,
        files: &SysctlFiles,
        key: &str,
        wrong: &str,
        right: &str,
    ) -> Self {
        let who = files.who_sets_to(key, wrong).map_or_else(
            || format!("no file found that sets {wrong}"),
            |setting| {
                let value = setting.value.as_deref().unwrap_or(wrong);
                format!(
                    "{}:{} sets {} to {value}",
                    setting.file.display(),
                    setting.line,
                    display_key(&setting.key)
                )
            },
        );
        self.run(
            format!("sysctl -w {key}={right}"),
            "host",
            Some(files.persist(key)),
            Impact::None,
        )
        .set_by(who)
    }

    /// Adds a harmless command if there is one: it, and where it is run.
    pub(crate) fn maybe_run(self, command: Option<(String, String)>) -> Self {
        match command {
            Some((run, netns)) => self.run(run, netns, None, Impact::None),
            None => self,
        }
    }

    /// Adds advice.
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.cause.fix.push(Fix::Advice {
            advice: advice.into(),
        });
        self
    }

    /// Names the rule.
    pub(crate) fn rule(mut self, rule: Rule) -> Self {
        self.rule = Some(rule);
        self
    }
}
