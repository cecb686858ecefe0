//! A host that was asked once: what it answered then, from a recording.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::noted::Asked;
use crate::host::netns::NetnsHandle;

/// Answers kept at most. Beyond that the recording's questions are too many to be told apart: later ones have no answer.
const MOST: usize = 65_536;

/// The latest answers, by question.
#[derive(Debug, Default)]
pub struct RecordedState {
    answers: HashMap<String, Value>,
}

impl RecordedState {
    /// Takes note of an answer. True: it is one about firewall rules.
    pub fn put(&mut self, asked: Asked) -> bool {
        let question = asked.question.to_string();
        let is_firewall = asked.is_firewall();
        if self.answers.len() < MOST || self.answers.contains_key(&question) {
            self.answers.insert(question, asked.answer);
        }
        is_firewall
    }

    /// What was answered last.
    pub(super) fn answer<T: DeserializeOwned>(&self, question: &Value) -> Result<T> {
        let question = question.to_string();
        let answer = self
            .answers
            .get(&question)
            .with_context(|| format!("the recording has no answer to {question}"))?;
        match (answer.get("ok"), answer.get("error")) {
            (Some(answer), _) => T::deserialize(answer)
                .with_context(|| format!("the recording's answer to {question}")),
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
            let text = serde_json::to_string(&(asked.question, asked.answer)).unwrap();
            let (question, answer) = serde_json::from_str(&text).unwrap();
            assert!(!recorded.put(Asked { question, answer }));
        }
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
        let wrong = Asked {
            question: json!(["routes", netns.inum(), "V4"]),
            answer: json!({"ok": 7}),
        };
        recorded.put(wrong);
        assert!(recorded.routes(&netns, Family::V4).is_err());
    }
}
