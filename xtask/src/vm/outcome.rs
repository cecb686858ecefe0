//! What a guest said about its steps.

use serde_json::Value;

/// Begins the line before a step: its name follows.
pub(super) const BEGIN: &str = "@vm begin";
/// Begins the line after a step: its name, exit status and seconds follow.
pub(super) const END: &str = "@vm end";

/// One step of a guest's script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) status: i32,
    pub(super) seconds: u64,
    /// Lines that say `test NAME ... ok`.
    pub(super) ok: u32,
    /// Lines that say `test NAME ... FAILED`.
    pub(super) failed: u32,
}

/// All of one guest.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// As asked for.
    pub(super) series: String,
    /// As `uname -r` says; empty if it did not boot.
    pub(super) release: String,
    pub(super) steps: Vec<Step>,
    /// `doctor --output json`.
    pub(super) doctor: Value,
    /// The `ready` line of a run with `--drops --nat`.
    pub(super) ready: Value,
}

impl Outcome {
    /// A guest that did not come up, or hung.
    pub(super) fn failed(series: &str) -> Self {
        Self {
            series: series.to_owned(),
            ..Self::default()
        }
    }

    /// Adds what another guest of the same kernel said; one that did not come up is a step that failed.
    pub(super) fn and(&mut self, other: Self) {
        if other.steps.is_empty() {
            self.steps.push(Step {
                name: "second guest".to_owned(),
                status: 1,
                ..Step::default()
            });
        }
        self.steps.extend(other.steps);
    }

    /// The kernel, for people.
    pub(super) fn name(&self) -> &str {
        if self.release.is_empty() {
            &self.series
        } else {
            &self.release
        }
    }

    pub(super) fn passed(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().all(|step| step.status == 0)
    }

    /// A step by its name.
    pub(super) fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// One line for people.
    pub(super) fn sentence(&self) -> String {
        if self.steps.is_empty() {
            return "did not run".to_owned();
        }
        let told: Vec<String> = self
            .steps
            .iter()
            .map(|step| {
                let word = if step.status == 0 { "ok" } else { "FAILED" };
                match (step.ok, step.failed) {
                    (0, 0) => format!("{} {word}", step.name),
                    (ok, failed) => format!("{} {word} ({ok} of {})", step.name, ok + failed),
                }
            })
            .collect();
        let seconds: u64 = self.steps.iter().map(|step| step.seconds).sum();
        format!("{} ({seconds} s)", told.join(", "))
    }
}

/// Takes a guest's output as it comes.
#[derive(Debug, Default)]
pub(super) struct Reader {
    line: Vec<u8>,
    current: Option<Step>,
    outcome: Outcome,
}

impl Reader {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
            self.line.clear();
            self.take(&line);
        }
    }

    pub(super) fn finish(mut self, series: &str, release: &str) -> Outcome {
        self.outcome.series = series.to_owned();
        self.outcome.release = release.to_owned();
        self.outcome
    }

    fn take(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix(BEGIN) {
            self.current = Some(Step {
                name: name.trim().to_owned(),
                ..Step::default()
            });
            return;
        }
        if let Some(rest) = line.strip_prefix(END) {
            let mut words = rest.split_whitespace().skip(1);
            let mut number = || words.next().and_then(|word| word.parse().ok());
            let status = number();
            let seconds = number().unwrap_or(0);
            if let Some(mut step) = self.current.take() {
                step.status = status.map_or(1, |status: u64| i32::try_from(status).unwrap_or(1));
                step.seconds = seconds;
                self.outcome.steps.push(step);
            }
            return;
        }
        let Some(step) = &mut self.current else {
            return;
        };
        if line.starts_with("test ") && line.contains(" ... ok") {
            step.ok += 1;
        } else if line.starts_with("test ") && line.contains(" ... FAILED") {
            step.failed += 1;
        } else if step.name == "features"
            && let Ok(value) = serde_json::from_str::<Value>(line)
        {
            match value["type"].as_str() {
                Some("doctor") => self.outcome.doctor = value,
                Some("ready") => self.outcome.ready = value,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read() {
        let mut reader = Reader::default();
        let text = "noise\n@vm begin features\n{\"type\":\"doctor\",\"usable\":true}\n@vm end features 0 2\n\
                    @vm begin faults\ntest a::sid ... ok (1.0 s)\r\ntest b::sid ... FAILED (2.0 s)\n@vm end faults 101 30\n";
        for chunk in text.as_bytes().chunks(7) {
            reader.feed(chunk);
        }
        let outcome = reader.finish("6.1", "6.1.0-1");
        assert_eq!(outcome.doctor["usable"], true);
        assert!(!outcome.passed());
        let faults = outcome.step("faults").map(|s| (s.status, s.ok, s.failed));
        assert_eq!(faults, Some((101, 1, 1)));
        assert_eq!(
            outcome.sentence(),
            "features ok, faults FAILED (1 of 2) (32 s)"
        );
        assert!(!Outcome::failed("6.1").passed());
    }
}
