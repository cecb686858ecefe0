//! Packets of a container that had no route: its own, or answers to somebody outside (rows 9 and 19).

use anyhow::Result;

use super::{Case, Found};
use crate::check::live::{self, Question};

/// A container that Docker gave a gateway, and that has no default route now.
///
/// A container on internal networks alone has none on purpose, and the counter does not say where its packets were to go
/// (a multicast without a route counts too): of it nothing is told.
pub(super) fn judge(case: &Case<'_>) -> Result<Vec<Found>> {
    let Some(container) = case.container() else {
        return Ok(Vec::new());
    };
    let found = live::ask(case.inventory, case.host, Question::WayOut(case.key()))?;
    Ok(found
        .into_iter()
        .filter(|(verdict, _)| verdict.cause.id == "container-no-default-route")
        .take(1)
        .map(|(verdict, _)| {
            let fact = format!(
                "IpOutNoRoutes rose by {}: packets of its own, or its answers, that had no route",
                case.events
            );
            case.from(container, verdict.fact(fact))
        })
        .collect())
}
