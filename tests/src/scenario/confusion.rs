//! What was told of each fault, as a table: the confusion matrix, without its empty cells.

use std::collections::{BTreeMap, BTreeSet};

use super::{Report, Scenario};

/// What was told while a cause was at work.
#[derive(Clone, Debug, Default)]
struct Row {
    runs: u32,
    also: BTreeSet<String>,
    told: BTreeMap<(String, String), u64>,
}

/// The outcome of many scenarios.
#[derive(Clone, Debug, Default)]
pub struct Confusion {
    rows: BTreeMap<String, Row>,
    runs: u32,
    failed: Vec<String>,
}

impl Confusion {
    /// Adds a scenario's outcome.
    pub fn add(&mut self, scenario: &Scenario, report: &Report) {
        self.runs += 1;
        let expects = || std::iter::once(&scenario.expect).chain(&scenario.beside);
        let causes: Vec<String> = expects().map(|e| e.cause.join(" or ")).collect();
        let row = self.rows.entry(causes.join(" + ")).or_default();
        row.runs += 1;
        row.also
            .extend(expects().flat_map(|e| e.also.iter().cloned()));
        for (told, packets) in &report.told {
            *row.told.entry(told.clone()).or_default() += packets;
        }
    }

    /// Adds a scenario that did not go as it should; its lines are in the test's output.
    pub fn add_failed(&mut self, name: &str) {
        self.runs += 1;
        self.failed.push(name.to_owned());
    }

    /// As a page. `when`: the date.
    #[must_use]
    pub fn page(&self, when: &str) -> String {
        let (mut right, mut wrong, mut unnamed) = (0, 0, 0);
        let mut table = String::new();
        for (causes, row) in &self.rows {
            let is_expected = |id: &str| {
                causes.split([' ', '+']).any(|cause| cause == id) || row.also.contains(id)
            };
            let mut cells = Vec::new();
            for ((id, confidence), packets) in &row.told {
                let mark = if is_expected(id) {
                    right += packets;
                    ""
                } else if id == "unexplained" {
                    unnamed += packets;
                    ""
                } else {
                    wrong += packets;
                    " **(other)**"
                };
                cells.push(format!("{id} ({confidence}) ×{packets}{mark}"));
            }
            table.push_str(&format!(
                "| {causes} | {} | {} |\n",
                row.runs,
                cells.join(", ")
            ));
        }
        let failed = if self.failed.is_empty() {
            String::new()
        } else {
            format!("\nFailed: {}.\n", self.failed.join(", "))
        };
        format!(
            "# What is told of each fault\n\nWritten by `cargo xtask test` (each fault once, on one of the engines; with `--full` on each) on {when}: {} runs of the scenarios in tests/scenarios and the pairs in tests/pairs. In each, healthy traffic\ncame first, and had to pass without a line. Packets of shown drops (`--scope containers`): {right} with a cause that was at work, {unnamed} unexplained, {wrong} with\nanother cause.\n{failed}\n| at work | runs | told |\n|---|---|---|\n{table}",
            self.runs
        )
    }
}
