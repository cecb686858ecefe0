//! Which rows are listed, and in which order.

use std::cmp::Ordering;

use super::{group::Grouping, row::Row, state::State};

/// The order of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// Packets a second now.
    #[default]
    Rate,
    /// Packets since the start.
    Total,
    /// When they came first.
    Newest,
    Name,
}

impl Sort {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Total => "total",
            Self::Newest => "newest",
            Self::Name => "name",
        }
    }

    pub(super) fn next(self) -> Self {
        match self {
            Self::Rate => Self::Total,
            Self::Total => Self::Newest,
            Self::Newest => Self::Name,
            Self::Name => Self::Rate,
        }
    }
}

/// The rows that hold `filter` (in lower case), in order; and how many do not.
pub(super) fn listed<'a>(
    state: &'a State,
    grouping: Grouping,
    sort: Sort,
    filter: &str,
) -> (Vec<&'a Row>, usize) {
    let table = state.table(grouping);
    let (mut rows, mut hidden) = (Vec::new(), 0);
    for row in table.rows() {
        if filter.is_empty() || row.holds(filter) {
            rows.push((row.rates.now(state.second), row));
        } else {
            hidden += 1;
        }
    }
    rows.sort_by(|(rate_a, a), (rate_b, b)| {
        let by_name = || (&a.label, &a.key).cmp(&(&b.label, &b.key));
        let by_total = || (b.total, b.findings).cmp(&(a.total, a.findings));
        match sort {
            Sort::Rate => rate_b
                .partial_cmp(rate_a)
                .unwrap_or(Ordering::Equal)
                .then_with(by_total),
            Sort::Total => by_total(),
            Sort::Newest => (b.first_second, b.first).cmp(&(a.first_second, a.first)),
            Sort::Name => Ordering::Equal,
        }
        .then_with(by_name)
    });
    (rows.into_iter().map(|(_, row)| row).collect(), hidden)
}
