#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod quiet;

use std::sync::Mutex;

use super::*;
use crate::{
    host::docker::{About, Inspect},
    model::NetworkMode,
};

/// An engine that answers from a script.
#[derive(Default)]
struct Canned {
    about: About,
    containers: Vec<Container>,
    networks: Vec<Network>,
    /// One stream of events a session.
    sessions: Mutex<Vec<Vec<Event>>>,
    since: Mutex<Vec<String>>,
    /// Containers of which inspecting hangs.
    stuck: Vec<String>,
}

impl EngineApi for std::sync::Arc<Canned> {
    async fn about(&self) -> Result<About, EngineError> {
        if self.sessions.lock().unwrap().is_empty() {
            return Err(EngineError::Refused("unix:///x".to_owned()));
        }
        Ok(self.about.clone())
    }

    async fn ping(&self) -> Result<(), EngineError> {
        self.about().await.map(drop)
    }

    async fn containers(&self) -> Result<Vec<Container>, EngineError> {
        Ok(self.containers.clone())
    }

    async fn inspect(&self, id: &str) -> Result<Option<Container>, EngineError> {
        if self.stuck.iter().any(|stuck| stuck == id) {
            return Err(EngineError::Hung("unix:///x".to_owned()));
        }
        Ok(self
            .containers
            .iter()
            .find(|container| container.id == id)
            .cloned())
    }

    async fn networks(&self) -> Result<Vec<Network>, EngineError> {
        Ok(self.networks.clone())
    }

    fn events(
        &self,
        since: &str,
    ) -> impl Stream<Item = Result<Event, EngineError>> + Send + Unpin + 'static {
        self.since.lock().unwrap().push(since.to_owned());
        let events = self.sessions.lock().unwrap().remove(0);
        // Slowly, so that the answers to an event come before the end.
        Box::pin(
            futures_util::stream::iter(events)
                .map(Ok)
                .chain(futures_util::stream::once(async {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    Err(EngineError::Ended)
                })),
        )
    }
}

pub(super) fn container(id: &str, running: bool) -> Container {
    Inspect {
        id: id.to_owned(),
        name: Some(format!("/{id}")),
        running,
        ..Inspect::default()
    }
    .into_container()
}

fn event(action: Action, id: &str, time: &str) -> Event {
    Event {
        action,
        container: Some(id.to_owned()),
        name: Some(id.to_owned()),
        image: None,
        project: None,
        service: None,
        time: time.to_owned(),
    }
}

/// Runs until the engine refuses.
async fn news(canned: Canned) -> (Vec<Update>, Vec<String>) {
    let canned = std::sync::Arc::new(canned);
    let (sender, mut receiver) = mpsc::channel(64);
    let task = tokio::spawn(follow(std::sync::Arc::clone(&canned), sender));
    let mut all = Vec::new();
    while let Some(update) = receiver.recv().await {
        let last = matches!(&update, Update::Status(EngineStatus::Down { reason }) if reason.contains("no engine listens"))
            || matches!(&update, Update::Status(EngineStatus::Remote { .. }));
        all.push(update);
        if last {
            break;
        }
    }
    task.abort();
    let since = canned.since.lock().unwrap().clone();
    (all, since)
}

#[tokio::test]
async fn lists_follows_and_resumes() {
    let canned = Canned {
        containers: vec![container("a", true), container("b", false)],
        sessions: Mutex::new(vec![
            vec![
                event(Action::Start, "a", "5.000000001"),
                event(Action::Start, "gone", "6.0"),
            ],
            vec![],
        ]),
        ..Canned::default()
    };
    let (news, since) = news(canned).await;
    assert!(news.contains(&Update::All(vec![
        container("a", true),
        container("b", false)
    ])));
    assert!(news.contains(&Update::One(container("a", true))));
    assert!(news.contains(&Update::Gone("gone".to_owned())));
    assert!(matches!(
        news.iter()
            .find(|update| matches!(update, Update::Status(_))),
        Some(Update::Status(EngineStatus::Up { .. }))
    ));
    assert_eq!(since.len(), 2);
    // The second session goes on where the first ended.
    assert_eq!(since.get(1).map(String::as_str), Some("6.0"));
}

/// One that answers its lists and then ends, each time.
#[tokio::test]
async fn sessions_that_end_at_once_are_begun_ever_more_seldom() {
    const SESSIONS: usize = 4;
    let canned = Canned {
        sessions: Mutex::new(vec![Vec::new(); SESSIONS]),
        ..Canned::default()
    };
    let began = Instant::now();
    let (_, since) = news(canned).await;
    assert_eq!(since.len(), SESSIONS);
    // Between them 0.25, 0.5 and 1 s, in the place of three times 0.25.
    assert!(began.elapsed() >= Duration::from_millis(1750));
}

#[tokio::test]
async fn one_stuck_container_is_not_a_hung_engine() {
    let canned = Canned {
        containers: vec![container("a", true), container("stuck", true)],
        stuck: vec!["stuck".to_owned()],
        sessions: Mutex::new(vec![vec![event(Action::Start, "stuck", "1.0")], vec![]]),
        ..Canned::default()
    };
    let (news, _) = news(canned).await;
    // What the list told of it is kept.
    let Some(Update::All(containers)) = news.iter().find(|update| matches!(update, Update::All(_)))
    else {
        panic!("no list in {news:?}");
    };
    assert_eq!(containers.len(), 2);
    assert!(!news.iter().any(
        |update| matches!(update, Update::Status(EngineStatus::Down { reason }) if reason.contains("hangs"))
    ));
}

#[tokio::test]
async fn another_kernel() {
    let canned = Canned {
        about: About {
            kernel: Some("6.6.12-linuxkit".to_owned()),
            system: Some("Docker Desktop".to_owned()),
            ..About::default()
        },
        containers: vec![container("a", true)],
        sessions: Mutex::new(vec![vec![]]),
        ..Canned::default()
    };
    let (news, _) = news(canned).await;
    assert!(
        matches!(news.as_slice(), [Update::Status(EngineStatus::Remote { why })] if why.contains("Docker Desktop"))
    );
}

#[test]
fn processes_that_are_not_here() {
    let mut elsewhere = container("a", true);
    elsewhere.pid = Some(i32::MAX);
    assert!(processes_elsewhere(&[elsewhere.clone()]).is_some());
    assert!(processes_elsewhere(&[]).is_none());
    let mut here = container("b", true);
    here.pid = i32::try_from(std::process::id()).ok();
    assert_eq!(here.mode, NetworkMode::Networks);
    assert!(processes_elsewhere(&[elsewhere, here]).is_none());
}
