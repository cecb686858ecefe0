//! By what drops are put together.

use crate::{
    model::Drop,
    report::{destination, source, subject, subject_name},
};

/// One of the four ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Grouping {
    #[default]
    Container,
    Cause,
    Network,
    Flow,
}

impl Grouping {
    pub(super) const ALL: [Self; 4] = [Self::Container, Self::Cause, Self::Network, Self::Flow];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Cause => "cause",
            Self::Network => "network",
            Self::Flow => "flow",
        }
    }

    /// Its place in [`Self::ALL`].
    pub(super) fn place(self) -> usize {
        self as usize
    }

    /// The one after it, in a circle.
    pub(super) fn next(self) -> Self {
        Self::ALL[(self.place() + 1) % Self::ALL.len()]
    }

    /// The one before it, in a circle.
    pub(super) fn previous(self) -> Self {
        Self::ALL[(self.place() + Self::ALL.len() - 1) % Self::ALL.len()]
    }

    /// What makes two drops one row, and what the row is called.
    pub(super) fn row(self, drop: &Drop, cause: &str) -> (String, String) {
        match self {
            Self::Container => {
                let name = subject_name(drop);
                let key =
                    subject(drop).map_or_else(|| format!("-{name}"), |found| found.id.clone());
                (key, name)
            }
            Self::Cause => (cause.to_owned(), cause.to_owned()),
            Self::Network => {
                let name = network(drop);
                (name.clone(), name)
            }
            Self::Flow => flow(drop),
        }
    }
}

/// The Docker network of the drop's subject, else of its other end.
pub(super) fn network(drop: &Drop) -> String {
    let ends = [&drop.destination, &drop.source];
    ends.iter()
        .find(|end| end.container.is_some() && end.network.is_some())
        .or_else(|| ends.iter().find(|end| end.network.is_some()))
        .and_then(|end| end.network.clone())
        .unwrap_or_else(|| "(none)".to_owned())
}

/// Packets that were only counted (`count` above 1) are known by their kind, not by their flow.
fn flow(drop: &Drop) -> (String, String) {
    let to = destination(drop).text();
    match (&drop.flow, drop.count) {
        (Some(flow), ..=1) => (flow.clone(), format!("{} → {to}", source(drop).text())),
        (None, _) if drop.packet.is_none() => (format!("?{to}"), format!("? → {to}")),
        _ => (format!("*{to}"), format!("(flows not told apart) → {to}")),
    }
}
