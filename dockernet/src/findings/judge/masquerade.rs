//! Flows that left with a container's own address, and that nobody answers (row 35).

use std::{collections::HashSet, net::IpAddr};

use anyhow::Result;
use dockernet_common::conntrack::status;

use super::{Case, Found};
use crate::{
    check::live::{self, Question},
    host::conntrack::{self, Flow},
    model::EndpointKind,
    report::counted,
};

/// A flow of the container to the outside that is tracked without translation and without an answer, while no rule
/// would translate it.
pub(super) fn judge(case: &Case<'_>) -> Result<Vec<Found>> {
    let Some(container) = case.container() else {
        return Ok(Vec::new());
    };
    let on_masqueraded = container.attachments.iter().any(|attachment| {
        let network = case.inventory.network(&attachment.network_id);
        network.is_some_and(|network| network.masquerade && !network.internal)
    });
    if !on_masqueraded {
        return Ok(Vec::new());
    }
    let own: HashSet<IpAddr> = container
        .attachments
        .iter()
        .filter_map(|attachment| Some(attachment.ipv4?.addr()))
        .collect();
    let flows = conntrack::flows_where(case.host, |entry| {
        entry.status & status::SEEN_REPLY == 0
            && own.contains(&entry.original.src)
            && entry.reply.dst == entry.original.src
    })?;
    let host = case.inventory.host_key();
    let outward: Vec<&Flow> = flows
        .iter()
        .filter(|entry| {
            let to = case.inventory.endpoint(entry.original.dst, Some(host));
            to.kind == EndpointKind::External
        })
        .collect();
    let Some(example) = outward.first() else {
        return Ok(Vec::new());
    };
    let found = live::ask(case.inventory, case.host, Question::Translation)?;
    Ok(found
        .into_iter()
        .filter(|(verdict, _)| verdict.cause.id == "masquerade-missing")
        .filter(|(_, affected)| affected.iter().any(|one| one.container == container.name))
        .take(1)
        .map(|(verdict, _)| {
            let fact = format!(
                "{} of {} left as they were and {} unanswered, such as {} → {}",
                counted(outward.len() as u64, "flow"),
                container.name,
                if outward.len() == 1 { "is" } else { "are" },
                example.original.src,
                example.original.dst,
            );
            case.from(container, verdict.fact(fact))
        })
        .collect())
}
