//! A host that was asked once: what it answered then, from a recording.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::noted::{Asked, MOST as LONGEST, Room};
use crate::host::netns::NetnsHandle;

/// How old an answer may be. The host's settings may change behind it; the recorder writes one again that is asked for again.
pub const HOLDS: Duration = Duration::from_secs(25);
/// Answers kept at most, and their bytes as JSON. Beyond that all are forgotten: what is asked for again was written again.
const MOST: usize = 16_384;
const MOST_BYTES: usize = 16 << 20;

/// The latest answers, by question.
#[derive(Debug, Default)]
pub struct RecordedState {
    answers: HashMap<String, Kept>,
    /// Bytes of all, as JSON.
    bytes: usize,
    /// What time it is there.
    now: Timestamp,
    /// A question had no answer.
    missed: AtomicBool,
}

#[derive(Debug)]
struct Kept {
    time: Timestamp,
    answer: Value,
    bytes: usize,
}

impl RecordedState {
    /// Takes note of an answer. True: it is one about firewall rules.
    pub fn put(&mut self, asked: Asked) -> bool {
        let is_firewall = asked.is_firewall();
        let question = asked.question.to_string();
        let mut room = Room(LONGEST);
        // The writer's limit; the file may be another's.
        if serde_json::to_writer(&mut room, &asked.answer).is_err() || question.len() > LONGEST {
            return is_firewall;
        }
        let bytes = question.len() + (LONGEST - room.0);
        if let Some(old) = self.answers.remove(&question) {
            self.bytes -= old.bytes;
        }
        if self.answers.len() >= MOST || self.bytes + bytes > MOST_BYTES {
            self.answers.clear();
            self.bytes = 0;
        }
        self.bytes += bytes;
        let kept = Kept {
            time: asked.time,
            answer: asked.answer,
            bytes,
        };
        self.answers.insert(question, kept);
        is_firewall
    }

    /// Answers as of that time.
    pub fn at(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Whether a question had no answer since this was asked last.
    pub fn missed(&self) -> bool {
        self.missed.swap(false, Ordering::Relaxed)
    }

    /// What was answered last.
    pub(super) fn answer<T: DeserializeOwned>(&self, question: &Value) -> Result<T> {
        let question = question.to_string();
        let holds = |kept: &&Kept| {
            let age = self.now.duration_since(kept.time);
            SignedDuration::try_from(HOLDS).is_ok_and(|holds| age <= holds)
        };
        let found = self.answers.get(&question).filter(holds);
        let Some(Kept { answer, .. }) = found else {
            self.missed.store(true, Ordering::Relaxed);
            bail!("the recording has no answer to {question}");
        };
        match (answer.get("ok"), answer.get("error")) {
            (Some(answer), _) => T::deserialize(answer).with_context(|| {
                self.missed.store(true, Ordering::Relaxed);
                format!("the recording's answer to {question}")
            }),
            (None, Some(error)) => bail!("{}", error.as_str().unwrap_or("it failed")),
            (None, None) => bail!("the recording's answer to {question} says nothing"),
        }
    }
}

/// How an argument of a question is told.
pub(super) trait Argument {
    fn told(&self) -> Value;
}

impl Argument for &NetnsHandle {
    fn told(&self) -> Value {
        json!(self.inum())
    }
}

/// What is told as it is in JSON.
macro_rules! as_it_is {
    ($($kind:ty),*) => {
        $(impl Argument for $kind {
            fn told(&self) -> Value {
                told(self)
            }
        })*
    };
}

as_it_is! {
    &str, u8, u32, bool, Option<u32>, crate::host::route::Family,
    &crate::host::route::lookup::RouteQuery, &crate::model::Tuple
}

fn told(argument: &impl Serialize) -> Value {
    serde_json::to_value(argument).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::{
        super::{CannedState, HostState, Notebook, NotedState},
        *,
    };
    use crate::host::route::Family;

    #[test]
    fn what_was_asked_is_answered_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let netns = NetnsHandle::pretend(file.path()).unwrap();
        let mut canned = CannedState::default();
        let key = "net/ipv4/ip_forward";
        canned.at(&netns).sysctls.insert(key.into(), "0".into());
        let notebook = Notebook::default();
        let noted = NotedState::new(canned, notebook.clone());
        let found = noted.sysctl(&netns, key).unwrap();
        let handle = noted.open(file.path()).unwrap();
        assert!(noted.resolver(None).is_err());
        assert_eq!(noted.routes(&netns, Family::V4).unwrap(), []);
        let notes = notebook.take();
        assert_eq!(notes.len(), 4);
        assert!(notebook.take().is_empty());

        let mut recorded = RecordedState::default();
        for asked in notes {
            // As a recording keeps it.
            let text = serde_json::to_string(&asked).unwrap();
            assert!(!recorded.put(serde_json::from_str(&text).unwrap()));
        }
        recorded.at(Timestamp::now());
        assert_eq!(recorded.sysctl(&netns, key).unwrap(), found);
        assert_eq!(recorded.open(file.path()).unwrap().inum(), handle.inum());
        assert_eq!(recorded.routes(&netns, Family::V4).unwrap(), []);
        let told = |error: anyhow::Error| format!("{error:#}");
        assert_eq!(
            told(recorded.resolver(None).unwrap_err()),
            told(noted.resolver(None).unwrap_err())
        );
        let other = recorded.routes(&netns, Family::V6).unwrap_err();
        assert!(told(other).contains("no answer"));
        assert!(recorded.missed() && !recorded.missed());
        let asked = |answer: Value| Asked {
            time: Timestamp::now(),
            question: json!(["routes", netns.inum(), "V4"]),
            answer,
        };
        recorded.put(asked(json!({"ok": 7})));
        assert!(recorded.routes(&netns, Family::V4).is_err());
        // What is too long is not taken, and what is too old does not hold.
        recorded.put(asked(json!({"ok": []})));
        recorded.put(asked(json!({"ok": "x".repeat(LONGEST)})));
        assert_eq!(recorded.routes(&netns, Family::V4).unwrap(), []);
        recorded.at(Timestamp::now()
            + SignedDuration::try_from(HOLDS).unwrap()
            + SignedDuration::from_secs(1));
        assert!(recorded.routes(&netns, Family::V4).is_err());
    }
}
