//! What the service says: a line for each diagnosis that begins or ends, as text, JSON or a journal entry.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde::Serialize;

use super::{
    diagnoses::Notice,
    journal::{Entry, Journal, message_id, stdout_is_journal},
    outlet::Outlet,
};
use crate::{
    cli::options::Output,
    model::{Cause, ContainerRef, Drop, Fix, Ledger, Ready},
    report::{cleaned, counted, subject, subject_name},
};

/// Where lines go.
pub(super) struct Lines {
    output: Output,
    /// Journald writes the time itself.
    has_time: bool,
    journal: Option<Journal>,
    /// Entries that journald did not take.
    refused: AtomicU64,
    out: Outlet,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    /// First line of tracing: what runs and what it can see.
    Ready(&'a Ready),
    /// Second line of `monitor`: where metrics are served.
    Listening {
        /// `127.0.0.1:9758`; null with `--listen off`.
        address: Option<String>,
    },
    /// A diagnosis of `monitor` begins or has ended.
    Diagnosis {
        /// Wall-clock time, RFC 3339, UTC.
        time: String,
        /// `began` or `ended`.
        state: &'static str,
        /// Why packets die, as its first packet showed it.
        cause: &'a Cause,
        /// Whose packets.
        container: Option<&'a ContainerRef>,
        /// The label `container` of the metrics.
        label: &'a str,
        /// Kernel reason of the first packet, without its prefix.
        reason: Option<&'a str>,
        /// Function that freed the first packet.
        location: Option<&'a str>,
        /// The published port that the first packet came through: `0.0.0.0:10001->80/tcp`.
        published: Option<&'a str>,
        /// At the end: packets (of a failure that drops nothing: events).
        packets: Option<u64>,
        /// At the end: seconds from the first to the last packet.
        seconds: Option<f64>,
        /// Lines about the same that were left out before this one.
        suppressed: u32,
        /// As in the journal: fixed for each cause.
        message_id: String,
    },
    /// Something about the service itself (`monitor`).
    Note {
        /// Wall-clock time, RFC 3339, UTC.
        time: String,
        /// In words.
        text: &'a str,
    },
    /// What became of every dropped packet: every 30 s, and as the last line; of `monitor` that alone.
    Ledger(&'a Ledger),
}

#[cfg(test)]
pub(crate) fn schemas(generator: &mut schemars::SchemaGenerator) -> Vec<schemars::Schema> {
    vec![<Line<'_> as schemars::JsonSchema>::json_schema(generator)]
}

impl Lines {
    pub(super) fn new(output: Output, journal: Option<Journal>) -> Self {
        Self {
            output,
            has_time: !stdout_is_journal(),
            journal,
            refused: AtomicU64::new(0),
            out: Outlet::new(io::stdout()),
        }
    }

    /// To nobody, in text.
    #[cfg(test)]
    pub(super) fn to_nobody(journal: Option<Journal>) -> Self {
        Self {
            output: Output::Text,
            has_time: false,
            journal,
            refused: AtomicU64::new(0),
            out: Outlet::new(io::sink()),
        }
    }

    /// The first line.
    pub(super) fn ready(&self, ready: &Ready, after: Duration, address: Option<&str>) {
        if self.output == Output::Json {
            self.json(&Line::Ready(ready));
            self.json(&Line::Listening {
                address: address.map(str::to_owned),
            });
            return;
        }
        let docker = match &ready.docker {
            Some(version) => format!(
                "docker {version} ({})",
                counted(ready.containers as u64, "container")
            ),
            None => "no container engine yet".to_owned(),
        };
        let metrics = match address {
            Some(address) => format!("metrics on http://{address}/metrics"),
            None => "no metrics by HTTP".to_owned(),
        };
        self.text(&format!(
            "dockernet-trace {} monitors: kernel {}, {docker}, {}, {metrics}; ready after {:.2} s",
            ready.version,
            ready.kernel,
            ready.programs.join(" "),
            after.as_secs_f64(),
        ));
        for degraded in &ready.degraded {
            self.note(degraded);
        }
    }

    /// A diagnosis begins or ends.
    pub(super) fn notice(&self, notice: &Notice) {
        let (cause, label) = &notice.key;
        let drop = &*notice.first;
        let message = sentence(notice);
        if let Some(journal) = &self.journal {
            let mut entry = Entry::default();
            // Warning and notice, of syslog's levels.
            let priority = if notice.ended.is_none() { 4 } else { 5 };
            entry
                .field("MESSAGE", &message)
                .field("MESSAGE_ID", message_id(cause))
                .field("PRIORITY", priority)
                .field("SYSLOG_IDENTIFIER", "dockernet-trace")
                .field("DOCKERNET_CAUSE", cause)
                .field("DOCKERNET_STATE", state(notice))
                .field("DOCKERNET_LABEL", label)
                .optional("DOCKERNET_PACKETS", notice.ended.map(|ended| ended.packets))
                .optional(
                    "DOCKERNET_SECONDS",
                    notice.ended.map(|ended| ended.lasted.as_secs()),
                );
            fields(&mut entry, drop);
            if let Err(error) = journal.send(&entry) {
                self.refused.fetch_add(1, Ordering::Relaxed);
                log::warn!("journald did not take an entry ({error}): {message}");
            }
            // Standard output is the same journal: once is enough.
            if !self.has_time {
                return;
            }
        }
        if self.output == Output::Text {
            self.text(&message);
            return;
        }
        self.json(&Line::Diagnosis {
            time: now(),
            state: state(notice),
            cause: &drop.cause,
            container: subject(drop),
            label,
            reason: drop.reason.as_deref(),
            location: drop.location.as_deref(),
            published: drop.published.as_deref(),
            packets: notice.ended.map(|ended| ended.packets),
            seconds: notice.ended.map(|ended| ended.lasted.as_secs_f64()),
            suppressed: notice.left_out,
            message_id: message_id(cause),
        });
    }

    /// Something about the service itself.
    pub(super) fn note(&self, text: &str) {
        match self.output {
            Output::Text => self.text(text),
            Output::Json => self.json(&Line::Note { time: now(), text }),
        }
    }

    /// The last line.
    pub(super) fn ledger(&self, ledger: &Ledger) {
        let line = match self.output {
            Output::Json => json(&Line::Ledger(ledger)),
            Output::Text => self.dated(&format!(
                "stopped after {}: {} = {} diagnosed + {} benign + {} expected + {} out of scope + {} filtered + {} without detail",
                lasted(Duration::from_secs_f64(ledger.seconds.max(0.0))),
                counted(ledger.observed, "drop"),
                ledger.shown,
                ledger.benign,
                ledger.expected,
                ledger.out_of_scope,
                ledger.filtered,
                ledger.lost,
            )),
        };
        self.out.finish(line, |lost| self.unread(lost));
    }

    /// Lines for which there was no room, as nobody read the earlier ones, and entries that journald did not take.
    pub(super) fn lost(&self) -> u64 {
        self.out.lost() + self.refused.load(Ordering::Relaxed)
    }

    fn text(&self, line: &str) {
        self.out.write(self.dated(line), |lost| self.unread(lost));
    }

    fn dated(&self, line: &str) -> String {
        let line = cleaned(line);
        if self.has_time {
            let now = Zoned::new(Timestamp::now(), TimeZone::system());
            format!("{} {line}\n", now.strftime("%Y-%m-%d %H:%M:%S"))
        } else {
            format!("{line}\n")
        }
    }

    fn json(&self, line: &Line<'_>) {
        self.out.write(json(line), |lost| self.unread(lost));
    }

    /// That so many lines were lost.
    fn unread(&self, lost: u64) -> String {
        let text = format!(
            "{} before this were not written: nobody read standard output",
            counted(lost, "line")
        );
        match self.output {
            Output::Text => self.dated(&text),
            Output::Json => json(&Line::Note {
                time: now(),
                text: &text,
            }),
        }
    }
}

fn json(line: &Line<'_>) -> String {
    match serde_json::to_string(line) {
        Ok(text) => text + "\n",
        Err(error) => {
            log::error!("a line is no JSON: {error}");
            String::new()
        }
    }
}

fn now() -> String {
    format!("{:.9}", Timestamp::now())
}

fn state(notice: &Notice) -> &'static str {
    if notice.ended.is_none() {
        "began"
    } else {
        "ended"
    }
}

fn fields(entry: &mut Entry, drop: &Drop) {
    let cause = &drop.cause;
    let container = subject(drop);
    entry
        .field("DOCKERNET_CONFIDENCE", confidence(cause))
        .field("DOCKERNET_SUMMARY", &cause.summary)
        .field("DOCKERNET_EVIDENCE", cause.evidence.join("\n"))
        .optional("DOCKERNET_FIX", fix(cause))
        .optional("DOCKERNET_REASON", drop.reason.as_deref())
        .optional("DOCKERNET_LOCATION", drop.location.as_deref())
        .optional("DOCKERNET_PUBLISHED", drop.published.as_deref())
        .optional("DOCKERNET_DEVICE", drop.device.as_deref());
    // Docker's own names, so that `journalctl CONTAINER_NAME=web` shows both.
    if let Some(container) = container {
        entry
            .field("CONTAINER_NAME", &container.name)
            .field("CONTAINER_ID", &container.id)
            .optional("IMAGE_NAME", container.image.as_deref())
            .optional("DOCKERNET_PROJECT", container.project.as_deref())
            .optional("DOCKERNET_SERVICE", container.service.as_deref());
    }
}

fn confidence(cause: &Cause) -> &'static str {
    match cause.confidence {
        crate::model::Confidence::Confirmed => "confirmed",
        crate::model::Confidence::Likely => "likely",
        crate::model::Confidence::Unknown => "unknown",
    }
}

fn fix(cause: &Cause) -> Option<&str> {
    cause.fix.first().map(|fix| match fix {
        Fix::Command { run, .. } => run.as_str(),
        Fix::Advice { advice } => advice.as_str(),
    })
}

/// `web: no-route began (confirmed): …; fix: …`, or `web: no-route ended after 14 m, 48,213 packets`.
fn sentence(notice: &Notice) -> String {
    let (cause, label) = &notice.key;
    let whose = if label.is_empty() {
        subject_name(&notice.first)
    } else {
        label.clone()
    };
    // Findings have no packet.
    let is_finding = notice.first.packet.is_none();
    let what = if is_finding { "event" } else { "packet" };
    let mut text = match notice.ended {
        Some(ended) => format!(
            "{whose}: {cause} ended after {}, {}",
            lasted(ended.lasted),
            counted(ended.packets, what),
        ),
        None => {
            let cause = &notice.first.cause;
            let why = cause.evidence.first().unwrap_or(&cause.summary);
            let mut text = format!("{whose}: {} began ({}): {why}", cause.id, confidence(cause));
            if let Some(fix) = fix(cause) {
                text.push_str("; fix: ");
                text.push_str(fix);
            }
            text
        }
    };
    if notice.left_out > 0 {
        text.push_str(&format!(
            " ({} about this left out before)",
            counted(notice.left_out.into(), "line")
        ));
    }
    text
}

/// `42 s`, `14 m`, `3 h 12 m`, `2 d 4 h`.
fn lasted(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} m"),
        (0, _, _) => format!("{hours} h {} m", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::{monitor::diagnoses::Ended, report::samples::denied};

    fn of_web(ended: Option<Ended>, left_out: u32) -> Notice {
        Notice {
            key: ("docker-user-drop".into(), "web".into()),
            first: Box::new(denied("198.51.100.20", 4000)),
            ended,
            left_out,
        }
    }

    fn notice(ended: Option<Ended>, left_out: u32) -> String {
        sentence(&of_web(ended, left_out))
    }

    #[test]
    fn entries_that_journald_does_not_take_are_counted() {
        let lines = Lines::to_nobody(Some(Journal::deaf().unwrap()));
        lines.notice(&of_web(None, 0));
        lines.notice(&of_web(None, 0));
        assert_eq!(lines.lost(), 2);
    }

    #[test]
    fn a_diagnosis_is_one_sentence() {
        let began = notice(None, 0);
        assert!(
            began.starts_with("web: docker-user-drop began ("),
            "{began}"
        );
        let ended = Ended {
            packets: 48_213,
            lasted: Duration::from_secs(14 * 60 + 20),
        };
        assert_eq!(
            notice(Some(ended), 0),
            "web: docker-user-drop ended after 14 m, 48,213 packets"
        );
        let ended = Ended {
            packets: 1,
            lasted: Duration::ZERO,
        };
        assert_eq!(
            notice(Some(ended), 2),
            "web: docker-user-drop ended after 0 s, 1 packet (2 lines about this left out before)"
        );
    }

    #[test]
    fn times_have_two_units_at_most() {
        for (seconds, text) in [
            (59, "59 s"),
            (60, "1 m"),
            (3600, "1 h 0 m"),
            (11_520, "3 h 12 m"),
            (187_200, "2 d 4 h"),
        ] {
            assert_eq!(lasted(Duration::from_secs(seconds)), text);
        }
    }
}
