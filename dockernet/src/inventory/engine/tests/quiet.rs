//! An engine whose event stream stays open and says nothing.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::*;

const NEVER: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(5);

#[derive(Default)]
struct Quiet {
    containers: Mutex<Vec<Container>>,
    hangs: AtomicBool,
    /// Asking about single containers is answered with an error.
    is_stuck: AtomicBool,
    inspected: Mutex<Vec<String>>,
    pings: AtomicUsize,
    /// What pinging is answered with, if not well.
    ping: Option<u16>,
    /// A process of this id ends right after it was asked about for the first time.
    ends: Option<String>,
}

impl Quiet {
    fn answer<T>(&self, what: T) -> Result<T, EngineError> {
        if self.hangs.load(Ordering::Relaxed) {
            return Err(EngineError::Hung("unix:///x".to_owned()));
        }
        Ok(what)
    }

    fn set(&self, containers: Vec<Container>) {
        *self
            .containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = containers;
    }

    /// Which containers were asked about since this was asked last.
    fn inspected(&self) -> Vec<String> {
        let mut inspected = self.inspected.lock().unwrap();
        inspected.sort();
        std::mem::take(&mut inspected)
    }
}

impl EngineApi for Arc<Quiet> {
    async fn about(&self) -> Result<About, EngineError> {
        self.answer(About::default())
    }

    async fn ping(&self) -> Result<(), EngineError> {
        self.pings.fetch_add(1, Ordering::Relaxed);
        match self.ping {
            Some(status) => Err(EngineError::Status(status, "no".to_owned())),
            None => self.answer(()),
        }
    }

    async fn containers(&self) -> Result<Vec<Container>, EngineError> {
        self.answer(self.containers.lock().unwrap().clone())
    }

    async fn inspect(&self, id: &str) -> Result<Option<Container>, EngineError> {
        self.inspected.lock().unwrap().push(id.to_owned());
        if self.is_stuck.load(Ordering::Relaxed) {
            return Err(EngineError::Status(500, "cannot".to_owned()));
        }
        let mut containers = self.containers.lock().unwrap();
        let container = containers.iter_mut().find(|container| container.id == id);
        let answer = container.as_deref().cloned();
        if let Some(ended) = container.filter(|_| self.ends.as_deref() == Some(id)) {
            *ended = super::container(id, false);
        }
        self.answer(answer)
    }

    async fn networks(&self) -> Result<Vec<Network>, EngineError> {
        self.answer(Vec::new())
    }

    fn events(
        &self,
        _since: &str,
    ) -> impl Stream<Item = Result<Event, EngineError>> + Send + Unpin + 'static {
        futures_util::stream::pending()
    }
}

struct Followed {
    engine: Arc<Quiet>,
    news: mpsc::Receiver<Update>,
    task: tokio::task::JoinHandle<()>,
}

impl Followed {
    /// An engine that has been listed.
    async fn new(engine: Quiet, pace: Pace) -> Self {
        let mut followed = Self::from_the_start(engine, pace);
        followed
            .until(|update| matches!(update, Update::Status(EngineStatus::Up { .. })))
            .await;
        followed
    }

    /// An engine that has not been asked yet.
    fn from_the_start(engine: Quiet, pace: Pace) -> Self {
        let engine = Arc::new(engine);
        let (sender, news) = mpsc::channel(64);
        let task = tokio::spawn(follow_at(Arc::clone(&engine), sender, pace));
        Self { engine, news, task }
    }

    /// The news up to one of a kind.
    async fn until(&mut self, is_last: impl Fn(&Update) -> bool) -> Vec<Update> {
        let mut all = Vec::new();
        loop {
            let update = tokio::time::timeout(Duration::from_secs(10), self.news.recv());
            let update = update.await.unwrap().unwrap();
            let is_last = is_last(&update);
            all.push(update);
            if is_last {
                return all;
            }
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn is_list(update: &Update) -> bool {
    matches!(update, Update::Listed(_))
}

#[tokio::test]
async fn an_engine_that_hangs_is_noticed_and_followed_again() {
    let pace = Pace {
        silence: SHORT,
        list: NEVER,
        soon: NEVER,
    };
    let mut followed = Followed::new(Quiet::default(), pace).await;
    followed.engine.hangs.store(true, Ordering::Relaxed);
    let news = followed
        .until(|update| matches!(update, Update::Status(_)))
        .await;
    assert!(
        matches!(news.as_slice(), [Update::Status(EngineStatus::Down { reason })] if reason.contains("hangs")),
        "{news:?}"
    );
    // Asked twice before it is said to.
    assert!(followed.engine.pings.load(Ordering::Relaxed) >= 2);
    followed.engine.hangs.store(false, Ordering::Relaxed);
    followed
        .until(|update| matches!(update, Update::Status(EngineStatus::Up { .. })))
        .await;
}

#[tokio::test]
async fn a_proxy_that_refuses_the_question_has_answered() {
    let pace = Pace {
        silence: SHORT,
        list: NEVER,
        soon: NEVER,
    };
    let refuses = Quiet {
        ping: Some(403),
        ..Quiet::default()
    };
    let mut followed = Followed::new(refuses, pace).await;
    while followed.engine.pings.load(Ordering::Relaxed) < 3 {
        tokio::time::sleep(SHORT).await;
    }
    assert!(followed.news.try_recv().is_err());
    let lost_it = Quiet {
        ping: Some(502),
        ..Quiet::default()
    };
    Followed::new(lost_it, pace)
        .await
        .until(|update| matches!(update, Update::Status(EngineStatus::Down { .. })))
        .await;
}

#[tokio::test]
async fn what_no_event_told_is_in_the_next_list_and_only_that_is_asked_about() {
    let pace = Pace {
        silence: NEVER,
        list: Duration::from_millis(50),
        soon: NEVER,
    };
    let (same, mut restarted) = (container("same", true), container("restarted", true));
    restarted.pid = i32::try_from(std::process::id()).ok();
    let engine = Quiet::default();
    engine.set(vec![
        same.clone(),
        restarted.clone(),
        container("stopped", true),
        container("removed", true),
    ]);
    let mut followed = Followed::new(engine, pace).await;
    followed.engine.inspected();
    followed.until(is_list).await;
    // On a host where nothing changes that is all that is asked.
    assert_eq!(followed.engine.inspected(), Vec::<String>::new());
    let stopped = container("stopped", false);
    followed.engine.set(vec![
        same,
        restarted,
        stopped.clone(),
        container("new", true),
    ]);
    let mut news = Vec::new();
    while !news.contains(&Update::One(stopped.clone()))
        || !news.contains(&Update::One(container("new", true)))
    {
        news.extend(
            followed
                .until(|update| matches!(update, Update::One(_)))
                .await,
        );
    }
    let listed = ["same", "restarted", "stopped", "new"].map(str::to_owned);
    assert!(news.contains(&Update::Listed(listed.into())), "{news:?}");
    assert_eq!(followed.engine.inspected(), ["new", "stopped"]);
}

#[tokio::test]
async fn who_was_not_told_of_is_asked_about_again_soon() {
    let pace = Pace {
        silence: NEVER,
        list: NEVER,
        soon: SHORT,
    };
    let engine = Quiet::default();
    engine.set(vec![container("web", true)]);
    engine.is_stuck.store(true, Ordering::Relaxed);
    let mut followed = Followed::new(engine, pace).await;
    followed.until(is_list).await;
    followed.engine.is_stuck.store(false, Ordering::Relaxed);
    followed
        .until(|update| matches!(update, Update::One(container) if container.id == "web"))
        .await;
    // Then there is time until the next one.
    followed.engine.inspected();
    tokio::time::sleep(SHORT * 10).await;
    assert_eq!(followed.engine.inspected(), Vec::<String>::new());
}

/// A container whose process is none of this machine's.
fn elsewhere(id: &str) -> Container {
    Container {
        pid: Some(i32::MAX),
        ..container(id, true)
    }
}

#[tokio::test]
async fn one_that_ends_while_it_is_asked_about_is_not_elsewhere() {
    let engine = Quiet {
        ends: Some("web".to_owned()),
        ..Quiet::default()
    };
    engine.set(vec![elsewhere("web")]);
    let mut followed = Followed::from_the_start(engine, PACE);
    let news = followed
        .until(|update| matches!(update, Update::Status(_)))
        .await;
    assert!(
        news.contains(&Update::All(vec![container("web", false)])),
        "{news:?}"
    );
    assert!(
        matches!(news.last(), Some(Update::Status(EngineStatus::Up { .. }))),
        "{news:?}"
    );
}

#[tokio::test]
async fn an_engine_is_found_elsewhere_twice_before_it_is_left_alone() {
    let engine = Quiet::default();
    engine.set(vec![elsewhere("web")]);
    let mut followed = Followed::from_the_start(engine, PACE);
    let is_remote = |update: &Update| matches!(update, Update::Status(EngineStatus::Remote { .. }));
    followed.until(is_remote).await;
    followed.engine.set(Vec::new());
    // Within the ten seconds that the test waits.
    followed
        .until(|update| matches!(update, Update::Status(EngineStatus::Up { .. })))
        .await;
}

#[test]
fn a_process_that_has_ended_makes_its_container_worth_a_question() {
    let mut told = Told::default();
    let mut web = container("web", true);
    let list = [web.clone()];
    told.listed(&list, &[], &Details::default());
    web.pid = i32::try_from(std::process::id()).ok();
    told.answered(&web);
    assert!(told.outdated(&list).is_empty());
    web.pid = Some(i32::MAX);
    told.answered(&web);
    assert_eq!(told.outdated(&list), ["web"]);
    let stopped = [container("web", false)];
    told.listed(&stopped, &[], &Details::default());
    assert!(told.outdated(&stopped).is_empty());
    // Who is in no list is forgotten, whether or not it owed an answer.
    told.unanswered("web");
    assert!(told.is_open());
    told.listed(&[], &[], &Details::default());
    assert!(!told.is_open());
}
