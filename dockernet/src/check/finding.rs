//! What `check` finds.

use serde::Serialize;

use crate::{
    cause::Verdict,
    model::{Cause, Container, Published, Rule},
};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(super) enum Grade {
    /// Something does not work now.
    Broken,
    /// Something will not work, or not always.
    Risk,
    /// It is as somebody wanted it, or cannot be judged from here, and may surprise somebody else.
    Note,
    /// It could not be read or told.
    Unknown,
}

impl Grade {
    /// As text shows it.
    #[must_use]
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Broken => "BROKEN",
            Self::Risk => "RISK",
            Self::Note => "NOTE",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// What kind of thing a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "SubjectKind"))]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// The host.
    Host,
    /// The container engine.
    Engine,
    /// A network of the engine.
    Network,
    /// A container.
    Container,
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Subject {
    /// What kind of thing.
    pub kind: Kind,
    /// Its name: `host`, `docker`, the network's, the container's.
    pub name: String,
}

impl Subject {
    /// The host.
    #[must_use]
    pub(super) fn host() -> Self {
        Self {
            kind: Kind::Host,
            name: "host".into(),
        }
    }

    /// The engine.
    #[must_use]
    pub(super) fn engine() -> Self {
        Self {
            kind: Kind::Engine,
            name: "docker".into(),
        }
    }

    /// A network.
    #[must_use]
    pub(super) fn network(name: &str) -> Self {
        Self {
            kind: Kind::Network,
            name: name.into(),
        }
    }

    /// A container.
    #[must_use]
    pub(super) fn container(container: &Container) -> Self {
        Self {
            kind: Kind::Container,
            name: container.name.clone(),
        }
    }
}

/// A container, or one of its published ports, that a finding makes suffer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Affected {
    /// The container's name.
    pub container: String,
    /// The published port: `0.0.0.0:10001->80/tcp`; none for the whole container.
    pub published: Option<String>,
}

impl Affected {
    /// A whole container.
    #[must_use]
    pub(super) fn container(container: &Container) -> Self {
        Self {
            container: container.name.clone(),
            published: None,
        }
    }

    /// A published port.
    #[must_use]
    pub(super) fn port(container: &Container, published: &Published) -> Self {
        Self {
            container: container.name.clone(),
            published: Some(published.to_string()),
        }
    }
}

/// One line of `check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// How bad.
    pub grade: Grade,
    /// About what.
    pub subject: Subject,
    /// Who suffers.
    pub affects: Vec<Affected>,
    /// Why; for what could not be told the id is `unexplained`.
    pub cause: Cause,
    /// The firewall rule, where it is one.
    pub rule: Option<Rule>,
}

impl Finding {
    /// A finding from what the causes' own builder made.
    #[must_use]
    pub(super) fn new(grade: Grade, subject: Subject, verdict: Verdict) -> Self {
        debug_assert!(
            verdict.cause.id == "unexplained"
                || crate::cause::catalogue::find(&verdict.cause.id).is_some(),
            "{} is not in the catalogue",
            verdict.cause.id
        );
        Self {
            grade,
            subject,
            affects: Vec::new(),
            cause: verdict.cause,
            rule: verdict.rule,
        }
    }

    /// Something that could not be read or told, and why.
    #[must_use]
    pub(super) fn unknown(
        subject: Subject,
        what: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self::new(
            Grade::Unknown,
            subject,
            Verdict::unexplained(what).fact(why),
        )
    }

    /// Names who suffers.
    #[must_use]
    pub(super) fn affects(mut self, affected: impl IntoIterator<Item = Affected>) -> Self {
        self.affects.extend(affected);
        self.affects.sort();
        self.affects.dedup();
        self
    }
}
