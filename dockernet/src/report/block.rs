//! One drop, in full, as a repetition, or on one line.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::{Timestamp, tz::TimeZone};

use super::{
    endpoint,
    style::{Line, Role},
};
use crate::model::{Confidence, Drop, Fix, Impact, Rule};

/// Frames of a stack that are shown without `-v`.
const FRAMES: usize = 6;
/// Where the text after a label begins.
const COLUMN: usize = 9;

/// Two drops with the same key need only one explanation.
pub(crate) fn key(drop: &Drop) -> u64 {
    let mut hasher = DefaultHasher::new();
    drop.cause.id.hash(&mut hasher);
    drop.cause.confidence.hash(&mut hasher);
    // Evidence may hold what differs from packet to packet (a length, a counter); what mends it does not.
    drop.cause.fix.hash(&mut hasher);
    drop.noise.hash(&mut hasher);
    drop.expected.hash(&mut hasher);
    // Not how it was found: a counter tells at one time what a simulation told at another.
    drop.rule
        .as_ref()
        .map(|rule| (&rule.table, &rule.chain, &rule.rule))
        .hash(&mut hasher);
    endpoint::subject(drop)
        .map(|container| &container.id)
        .hash(&mut hasher);
    if unexplained(drop) {
        (&drop.reason, &drop.location, &drop.hook, &drop.device).hash(&mut hasher);
        drop.netns.inum.hash(&mut hasher);
    }
    hasher.finish()
}

/// With its explanation. `verbose`: with everything the kernel said.
pub(crate) fn full(drop: &Drop, zone: &TimeZone, verbose: bool) -> Vec<Line> {
    let mut lines = vec![title(drop, zone), head(drop)];
    let unexplained = unexplained(drop);
    if verbose && !drop.cause.summary.is_empty() {
        lines.push(labelled("what", &drop.cause.summary));
    }
    let why = why(drop);
    if !why.is_empty() {
        lines.push(labelled("why", &why.join("; ")));
    } else if !verbose && !unexplained && !drop.cause.summary.is_empty() {
        lines.push(labelled("why", &drop.cause.summary));
    }
    if unexplained || verbose {
        lines.extend(kernel(drop).map(|text| labelled("at", &text)));
        lines.extend(stack(drop, verbose).map(|text| labelled("stack", &text)));
    }
    if verbose {
        lines.extend(headers(drop).map(|text| labelled("pkt", &text)));
    }
    lines.extend(
        drop.rule
            .as_ref()
            .map(|found| labelled("rule", &rule(found))),
    );
    lines.extend(fixes(&drop.cause.fix));
    lines
}

/// The evidence, without the fact that quotes the rule: that has a line of its own.
fn why(drop: &Drop) -> Vec<&str> {
    let quoted = drop.rule.as_ref().map(|rule| {
        let words = match rule.rule.split_once(' ') {
            Some((number, words)) if number.starts_with('#') => words,
            _ => &rule.rule,
        };
        format!(": {words}")
    });
    let facts = drop.cause.evidence.iter().map(String::as_str);
    facts
        .filter(|fact| quoted.as_deref().is_none_or(|text| !fact.ends_with(text)))
        .collect()
}

/// `12:01:04.131   same  …`: the same as the drop above it.
pub(super) fn same(drop: &Drop, zone: &TimeZone) -> Line {
    let mut line = Line::hanging(6);
    line.push(Role::Dim, format!("{}   same  ", clock(drop.time, zone)));
    line.append(endpoint::journey(drop));
    line
}

/// Explained before, but not just above.
pub(super) fn short(drop: &Drop, zone: &TimeZone) -> Line {
    let mut line = title(drop, zone);
    line.plain("  ").append(endpoint::journey(drop));
    line
}

/// Everything that matters on one line, for grep. Two spaces stand between the fields.
pub(super) fn oneline(drop: &Drop, zone: &TimeZone) -> Line {
    let mut line = title(drop, zone).whole();
    line.plain("  ").append(endpoint::journey(drop));
    line.push(Role::Dim, format!("  {}", endpoint::way(drop)));
    if let Some(kernel) = kernel(drop) {
        line.push(Role::Dim, format!("  {kernel}"));
    }
    if let Some(found) = &drop.rule {
        line.plain(format!("  {}", rule_short(found)));
    }
    match drop.cause.fix.first() {
        Some(Fix::Command { run, .. }) => {
            line.plain("  fix: ").push(Role::Fix, run);
        }
        Some(Fix::Advice { advice }) => {
            line.plain("  fix: ").push(Role::Fix, advice);
        }
        None => {}
    }
    line
}

/// Local time to the millisecond.
pub(super) fn clock(time: Timestamp, zone: &TimeZone) -> String {
    let local = time.to_zoned(zone.clone());
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        local.hour(),
        local.minute(),
        local.second(),
        local.millisecond()
    )
}

/// `DOCKER-USER #3 (counter)`.
fn rule_short(rule: &Rule) -> String {
    let text = rule.rule.trim();
    let number = text
        .split_whitespace()
        .next()
        .filter(|word| word.starts_with('#'));
    match number {
        Some(number) => format!("{} {number} ({})", rule.chain, rule.how),
        None if text.starts_with("policy") => format!("{} {text} ({})", rule.chain, rule.how),
        None => format!("{} ({})", rule.chain, rule.how),
    }
}

/// What a storm's line ends with: the rule, or for what is unexplained the kernel's words.
pub(super) fn detail(drop: &Drop) -> Option<String> {
    match &drop.rule {
        Some(rule) => Some(rule_short(rule)),
        None if unexplained(drop) => kernel(drop),
        None => None,
    }
}

/// Sign and name of what happened.
pub(crate) fn cause_name(drop: &Drop) -> (Role, String) {
    match &drop.noise {
        Some(noise) => (Role::Dim, noise.to_string()),
        None => {
            let role = match drop.cause.confidence {
                Confidence::Confirmed => Role::Confirmed,
                Confidence::Likely => Role::Likely,
                Confidence::Unknown => Role::Unknown,
            };
            (role, drop.cause.id.to_string())
        }
    }
}

fn unexplained(drop: &Drop) -> bool {
    drop.cause.confidence == Confidence::Unknown
}

fn title(drop: &Drop, zone: &TimeZone) -> Line {
    let (role, name) = cause_name(drop);
    let mut line = Line::hanging(6);
    line.push(Role::Dim, clock(drop.time, zone));
    line.plain(" ").push(role, format!("✗ {name}"));
    let remark = match (&drop.noise, drop.expected, drop.cause.confidence) {
        (Some(_), ..) => " (benign)",
        (_, true, _) => " (expected)",
        (.., Confidence::Confirmed) => " (confirmed)",
        (.., Confidence::Likely) => " (likely)",
        (.., Confidence::Unknown) => "",
    };
    line.plain(remark);
    line
}

fn head(drop: &Drop) -> Line {
    let mut line = Line::hanging(6);
    line.plain("   ").append(endpoint::journey(drop));
    line.push(Role::Dim, format!("  {}", endpoint::way(drop)));
    line
}

pub(crate) fn labelled(label: &str, text: &str) -> Line {
    let mut line = Line::hanging(COLUMN);
    line.push(Role::Dim, format!("   {label:<6}")).plain(text);
    line
}

/// `NETFILTER_DROP@nft_do_chain, forward hook`.
pub(super) fn kernel(drop: &Drop) -> Option<String> {
    let mut text = match (&drop.reason, &drop.location) {
        (Some(reason), Some(location)) => format!("{reason}@{location}"),
        (Some(reason), None) => reason.clone(),
        (None, Some(location)) => location.clone(),
        (None, None) => return None,
    };
    if let Some(hook) = &drop.hook {
        text.push_str(&format!(", {hook} hook"));
    }
    Some(text)
}

fn stack(drop: &Drop, whole: bool) -> Option<String> {
    let stack = drop.stack.as_ref().filter(|stack| !stack.is_empty())?;
    let shown = if whole {
        stack.len()
    } else {
        FRAMES.min(stack.len())
    };
    let mut text = stack
        .iter()
        .take(shown)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" < ");
    if shown < stack.len() {
        text.push_str(" < …");
    }
    Some(text)
}

/// `ttl 64, 60 bytes, mark 0x1, 02:42:… → 02:42:…, vlan 7`.
fn headers(drop: &Drop) -> Option<String> {
    let packet = drop.packet.as_ref()?;
    let mut parts = Vec::new();
    if let (Some(from), Some(to)) = (packet.src, packet.dst) {
        parts.push(format!("{from} → {to}"));
    }
    parts.extend(packet.ttl.map(|ttl| format!("ttl {ttl}")));
    parts.push(format!("{} bytes", packet.length));
    if packet.mark != 0 {
        parts.push(format!("mark {:#x}", packet.mark));
    }
    if let (Some(from), Some(to)) = (&packet.src_mac, &packet.dst_mac) {
        parts.push(format!("{from} → {to}"));
    }
    parts.extend(packet.vlan.map(|vlan| format!("vlan {vlan}")));
    parts.extend(drop.flow.as_ref().map(|flow| format!("flow {flow}")));
    Some(parts.join(", "))
}

/// `DOCKER-USER #3 -j DROP (by counter; iptables-nft, ip filter, owner user)`.
fn rule(rule: &Rule) -> String {
    format!(
        "{} {} ({}; {}, {}, owner {})",
        rule.chain, rule.rule, rule.how, rule.backend, rule.table, rule.owner
    )
}

pub(crate) fn fixes(fixes: &[Fix]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut kept: Option<&str> = None;
    for (index, fix) in fixes.iter().enumerate() {
        let label = if index == 0 { "fix" } else { "or" };
        match fix {
            Fix::Command {
                run,
                netns,
                persist,
                set_by,
                impact,
            } => {
                let mut line = Line::default().whole();
                line.push(Role::Dim, format!("   {label:<6}"))
                    .push(Role::Fix, run);
                // As a comment of the shell's, so that the whole line can be pasted.
                let mut remarks: Vec<String> = Vec::new();
                if netns != "host" && !netns.is_empty() {
                    remarks.push(format!("in {netns}"));
                }
                remarks.extend(warned(*impact).map(str::to_owned));
                if !remarks.is_empty() {
                    line.push(Role::Warning, format!("  # {}", remarks.join("; ")));
                }
                lines.push(line);
                if let Some(persist) = persist.as_deref().filter(|text| kept != Some(*text)) {
                    let text = match set_by {
                        Some(set_by) => format!("{persist}; {set_by}"),
                        None => persist.to_owned(),
                    };
                    lines.push(labelled("keep", &text));
                    kept = Some(persist);
                }
            }
            Fix::Advice { advice } => lines.push(labelled(label, advice)),
        }
    }
    lines
}

fn warned(impact: Impact) -> Option<&'static str> {
    match impact {
        Impact::None => None,
        Impact::Interrupts => Some("interrupts connections"),
        Impact::RestartsContainers => Some("restarts containers"),
        Impact::LosesData => Some("loses data"),
        Impact::OpensFirewall => Some("opens the firewall"),
    }
}
