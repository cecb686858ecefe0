//! `docs/metrics.md`, made of the tables that the service itself uses.

use std::fmt::Write as _;

use super::{
    journal::message_id,
    metrics::{FAMILIES, Kind},
};
use crate::cause::catalogue;

const HEAD: &str = "\
# Metrics and journal fields of `monitor`

Written by `cargo xtask docs` from the service's own tables. How to use them: [monitoring.md](monitoring.md).

Rules: a name says its unit; counters end in `_total` and only grow. With `state` (the shipped unit names it) all `dockernet_*_total` go on over a restart or an
upgrade, and `dockernet_last_drop_timestamp_seconds` too; `process_cpu_seconds_total` is the new process's. They begin at 0 without it, after a kill, and with
the kernel's next boot. Packets that die between the end of one service and the start of the next are in none of them. No label is ever an address, a port, a veth or a container's id. `container` is a container's name: the destination's if that is a
container, else the source's, else the one whose namespace the packet died in; empty if none. Tasks of a Swarm service share the service's name. Beyond
`limits.containers` it is `other`, and beyond `limits.series` only causes are told apart. A container's series go 5 minutes (`limits.keep`) after it.

At rest, exactly:

```
dockernet_observed_drops_total
  = sum(dockernet_drops_total) + dockernet_drops_removed_series_total
  + sum(dockernet_benign_drops_total) + sum(dockernet_expected_drops_total)
  + dockernet_out_of_scope_drops_total + dockernet_filtered_drops_total + dockernet_unattributed_drops_total
```

(`dockernet_expected_drops_total` loses the series of containers that are gone.) While drops go on, those whose details are on their way are missing on
the right for a second or two, and longer where the host answers slowly (a firewall program that hangs: 5 s each).

## Metrics

| metric | kind | labels | meaning |
|---|---|---|---|
";

const FIELDS: &str = "
## Journal entries

One when a diagnosis begins (`PRIORITY=4`) and one when it has ended (`5`); `SYSLOG_IDENTIFIER=dockernet-trace`.

| field | meaning |
|---|---|
| `MESSAGE` | The sentence. |
| `MESSAGE_ID` | Fixed for each cause: see below. |
| `DOCKERNET_CAUSE`, `DOCKERNET_CONFIDENCE`, `DOCKERNET_SUMMARY`, `DOCKERNET_EVIDENCE`, `DOCKERNET_FIX` | As in `drop` lines; evidence has a line for each fact, the fix is the least disruptive one. |
| `DOCKERNET_STATE` | `began` or `ended`. |
| `DOCKERNET_LABEL` | The metrics' `container`. |
| `DOCKERNET_PACKETS`, `DOCKERNET_SECONDS` | At the end: packets (of a failure that drops nothing: events), and the time from the first to the last. |
| `DOCKERNET_REASON`, `DOCKERNET_LOCATION`, `DOCKERNET_DEVICE`, `DOCKERNET_PUBLISHED` | Of the first packet. |
| `CONTAINER_NAME`, `CONTAINER_ID`, `IMAGE_NAME` | As Docker's own journald driver writes them. |
| `DOCKERNET_PROJECT`, `DOCKERNET_SERVICE` | Compose's. |

## MESSAGE_ID of each cause

| cause | MESSAGE_ID |
|---|---|
";

/// The page.
#[must_use]
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for family in FAMILIES {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let labels: Vec<String> = family
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {kind} | {} | {} |",
            family.name,
            labels.join(" "),
            family.help
        );
    }
    page.push_str(FIELDS);
    for cause in catalogue::IDS.iter().copied().chain(["unexplained"]) {
        let _ = writeln!(page, "| `{cause}` | `{}` |", message_id(cause));
    }
    page
}
