//! The ledger in one line, and what was shown per cause.

use std::collections::HashMap;

use super::{
    block, endpoint,
    style::{Line, Role, counted, thousands},
};
use crate::model::{Drop, Ledger};

/// Lines of the summary.
const LINES: usize = 20;
/// Causes and containers told apart; the rest is one row.
const REMEMBERED: usize = 4096;

/// What was shown so far.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    rows: HashMap<(String, String), (Role, u64)>,
    findings: HashMap<(String, String), u64>,
    other: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, drop: &Drop) {
        let (role, cause) = block::cause_name(drop);
        let key = (cause, endpoint::subject_name(drop));
        if self.rows.len() >= REMEMBERED && !self.rows.contains_key(&key) {
            self.other = self.other.saturating_add(drop.count);
            return;
        }
        let row = self.rows.entry(key).or_insert((role, 0));
        row.1 = row.1.saturating_add(drop.count);
    }

    pub(crate) fn add_finding(&mut self, finding: &Drop) {
        let key = (
            block::cause_name(finding).1,
            endpoint::subject_name(finding),
        );
        if self.findings.len() < REMEMBERED || self.findings.contains_key(&key) {
            *self.findings.entry(key).or_default() += 1;
        }
    }

    /// `   interface-forwarding-disabled  web  2`, in columns, largest first.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let mut rows: Vec<(&str, &str, Role, u64)> = self
            .rows
            .iter()
            .map(|((cause, whose), (role, count))| (&**cause, &**whose, *role, *count))
            .collect();
        rows.sort_by(|a, b| (b.3, a.0, a.1).cmp(&(a.3, b.0, b.1)));
        let rest = rows.split_off(LINES.min(rows.len()));
        let columns = |text: &str| {
            let mut line = Line::default();
            line.plain(text);
            line.columns()
        };
        let cause_width = rows.iter().map(|row| columns(row.0)).max().unwrap_or(0);
        let whose_width = rows.iter().map(|row| columns(row.1)).max().unwrap_or(0);
        let count_width = rows
            .iter()
            .map(|row| thousands(row.3).len())
            .max()
            .unwrap_or(0);
        let mut lines: Vec<Line> = rows
            .iter()
            .map(|(cause, whose, role, count)| {
                let mut line = Line::hanging(6);
                line.plain("   ").push(*role, *cause);
                line.plain(" ".repeat(cause_width - columns(cause) + 2));
                line.push(Role::Name, *whose);
                line.plain(" ".repeat(whose_width - columns(whose) + 2));
                line.plain(format!("{:>count_width$}", thousands(*count)));
                line
            })
            .collect();
        let more = rest.len() + usize::from(self.other > 0);
        if more > 0 {
            let count = rest
                .iter()
                .map(|row| row.3)
                .sum::<u64>()
                .saturating_add(self.other);
            let mut line = Line::default();
            line.plain(format!("   +{more} more  {}", thousands(count)));
            lines.push(line);
        }
        let mut findings: Vec<_> = self.findings.iter().collect();
        findings.sort();
        lines.extend(
            findings
                .into_iter()
                .take(LINES)
                .map(|((cause, whose), count)| {
                    let mut line = Line::hanging(6);
                    line.plain(format!("   {cause}  ")).push(Role::Name, whose);
                    line.plain(format!(
                        "  {} without a dropped packet",
                        counted(*count, "finding")
                    ));
                    line
                }),
        );
        lines
    }
}

/// `12 s: 41 drops = 2 shown + 39 hidden (31 host-only, 8 benign) + 0 without detail`.
/// `outside`: what being out of scope means.
pub(crate) fn ledger(ledger: &Ledger, outside: &str) -> Line {
    let parts = [
        (ledger.out_of_scope, outside),
        (ledger.benign, "benign"),
        (ledger.filtered, "filtered"),
        (ledger.expected, "expected"),
    ];
    let hidden: u64 = parts.iter().map(|(count, _)| count).sum();
    let reasons: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", thousands(*count)))
        .collect();
    let mut text = format!("{}: ", elapsed(ledger.seconds));
    if let Some(nat) = &ledger.nat {
        text.push_str(&format!(
            "{} = {} shown + {} hidden + {} without room",
            counted(nat.seen, "NAT report"),
            thousands(nat.shown),
            thousands(nat.hidden),
            thousands(nat.lost)
        ));
        // Nothing that counts drops was asked for.
        if ledger.observed == 0 && ledger.missed.is_none() {
            let mut line = Line::hanging(3);
            line.plain(text);
            return line;
        }
        text.push_str("; ");
    }
    text.push_str(&format!(
        "{} = {} shown + {} hidden",
        counted(ledger.observed, "drop"),
        thousands(ledger.shown),
        thousands(hidden)
    ));
    if !reasons.is_empty() {
        text.push_str(&format!(" ({})", reasons.join(", ")));
    }
    text.push_str(&format!(" + {} without detail", thousands(ledger.lost)));
    if let Some(missed) = ledger.missed.filter(|missed| *missed > 0) {
        text.push_str(&format!(
            "; beside them {} missed by the kernel program",
            thousands(missed)
        ));
    }
    let mut line = Line::hanging(3);
    line.plain(text);
    line
}

fn elapsed(seconds: f64) -> String {
    let whole = seconds.max(0.0).round();
    if seconds < 9.95 {
        return format!("{:.1} s", seconds.max(0.0));
    }
    if whole < 120.0 {
        return format!("{whole:.0} s");
    }
    let minutes = (whole / 60.0).floor();
    if minutes < 120.0 {
        return format!("{minutes:.0} min {:.0} s", whole - minutes * 60.0);
    }
    let hours = (minutes / 60.0).floor();
    format!("{hours:.0} h {:.0} min", minutes - hours * 60.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elapsed_time_is_readable() {
        let shown = [0.0, 0.52, 9.96, 12.4, 119.9, 125.0, 7_200.0, f64::NAN].map(elapsed);
        assert_eq!(
            shown,
            [
                "0.0 s",
                "0.5 s",
                "10 s",
                "12 s",
                "2 min 0 s",
                "2 min 5 s",
                "2 h 0 min",
                "0 s"
            ]
        );
    }
}
