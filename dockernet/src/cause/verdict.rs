//! What a cause's test finds.

use crate::{
    host::sysctl::{display_key, files::SysctlFiles, interface_key},
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
        self.run(
            format!("sysctl -w {key}={right}"),
            "host",
            Some(files.persist(key)),
            Impact::None,
        )
        .set_by(who_sets(files, key, wrong))
    }

    /// The same for the host's IPv6 forwarding. `uplink`: the interface that would lose its router's routes by it
    /// (`rt6_purge_dflt_routers`, net/ipv6/route.c), and keeps them if it is told to.
    pub(crate) fn forward_ipv6(self, files: &SysctlFiles, uplink: Option<&str>) -> Self {
        let key = "net/ipv6/conf/all/forwarding";
        let Some(uplink) = uplink else {
            return self.set_host_sysctl(files, key, "0", "1").advise(
                "if the host takes its own IPv6 route from router advertisements, set accept_ra=2 on the uplink first",
            );
        };
        let also = interface_key(true, uplink, "accept_ra");
        self.run(
            format!("sysctl -w {also}=2 && sysctl -w {key}=1"),
            "host",
            Some(files.persist(key)),
            Impact::None,
        )
        .set_by(who_sets(files, key, "0"))
        .advise(format!(
            "keep {} = 2 as well: a router on {uplink} gives the host its default route, and a host that forwards takes none otherwise",
            display_key(&also)
        ))
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
/// Which file set the wrong value, or that none did.
fn who_sets(files: &SysctlFiles, key: &str, wrong: &str) -> String {
    files.who_sets_to(key, wrong).map_or_else(
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
    )
}
