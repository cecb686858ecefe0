//! Follows the engine: asks, listens, and starts over when it goes away.

mod elsewhere;
mod told;

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{Stream, StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use self::{
    elsewhere::{other_kernel, processes_elsewhere},
    told::Told,
};
use super::EngineStatus;
use crate::{
    host::docker::{Action, EngineApi, EngineError, Event},
    model::{Container, Network, State},
};

/// News from the engine.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Update {
    /// Whether it answers.
    Status(EngineStatus),
    /// Where it keeps its files.
    DataRoot(PathBuf),
    /// All containers there are.
    All(Vec<Container>),
    /// Which containers there are, by id: others are gone.
    Listed(HashSet<String>),
    /// All networks there are.
    Networks(Vec<Network>),
    /// One container, as it is now.
    One(Container),
    /// There is no such container (any more).
    Gone(String),
    /// Something happened; details follow if they are needed.
    Event(Event),
}

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// An engine on another kernel will not move here.
const REMOTE_PAUSE: Duration = Duration::from_secs(60);
/// Questions asked at once.
const PARALLEL: usize = 8;
/// Stopped containers asked about one by one at start, for their published ports.
const STOPPED: usize = 200;

/// How long the engine is left alone while it says nothing.
#[derive(Clone, Copy)]
struct Pace {
    /// Without an event for so long it is asked whether it still answers: an engine that hangs closes nothing.
    silence: Duration,
    /// Between two lists. moby gives an event up that its reader has not taken within 100 ms (`Publisher.sendTopic` of
    /// moby/pubsub, with the 100 ms of daemon/events/events.go), and tells nobody.
    list: Duration,
    /// From a question about one container that was not answered to the next list; twice as long each time that this
    /// one does not answer it either.
    soon: Duration,
}

const PACE: Pace = Pace {
    silence: Duration::from_secs(30),
    list: Duration::from_secs(300),
    soon: Duration::from_secs(5),
};

/// Why a session ended.
enum End {
    Failed(EngineError),
    Remote(String),
    /// Nobody wants the news any more.
    Closed,
}

impl From<EngineError> for End {
    fn from(error: EngineError) -> Self {
        Self::Failed(error)
    }
}

impl<T> From<mpsc::error::SendError<T>> for End {
    fn from(_: mpsc::error::SendError<T>) -> Self {
        Self::Closed
    }
}

/// Follows the engine until nobody wants the news any more.
pub(super) async fn follow<A: EngineApi>(api: A, news: mpsc::Sender<Update>) {
    follow_at(api, news, PACE).await;
}

async fn follow_at<A: EngineApi>(api: A, news: mpsc::Sender<Update>, pace: Pace) {
    let mut pause = FIRST_PAUSE;
    let mut was_remote = false;
    let mut since = None;
    loop {
        let mut session = Session {
            api: &api,
            news: &news,
            since: &mut since,
            answered: false,
            told: Told::default(),
            pace,
        };
        let began = Instant::now();
        let end = session.run().await;
        // One that answers its lists and ends all the same, again and again, is asked ever more seldom.
        if session.answered && began.elapsed() >= pace.silence {
            pause = FIRST_PAUSE;
        }
        let is_remote = matches!(end, Err(End::Remote(_)));
        let status = match end {
            Ok(()) => EngineStatus::Down {
                reason: EngineError::Ended.to_string(),
            },
            Err(End::Failed(error)) => EngineStatus::Down {
                reason: error.to_string(),
            },
            Err(End::Remote(why)) => {
                // Its names are gone for as long: it has to be found there twice.
                pause = if was_remote {
                    REMOTE_PAUSE
                } else {
                    FIRST_PAUSE
                };
                EngineStatus::Remote { why }
            }
            Err(End::Closed) => return,
        };
        was_remote = is_remote;
        if news.send(Update::Status(status)).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// From the first question to the end of the events.
struct Session<'a, A> {
    api: &'a A,
    news: &'a mpsc::Sender<Update>,
    since: &'a mut Option<String>,
    answered: bool,
    told: Told,
    pace: Pace,
}

/// What was answered about single containers. One that is in neither was not told of: one container can be stuck while
/// the engine is well.
#[derive(Default)]
struct Details {
    containers: HashMap<String, Container>,
    gone: HashSet<String>,
}

impl<A: EngineApi> Session<'_, A> {
    async fn run(&mut self) -> Result<(), End> {
        let about = self.api.about().await?;
        if let Some(why) = other_kernel(&about) {
            return Err(End::Remote(why));
        }
        // The events are asked for from a time before the list: what happens in between comes twice, not never.
        let since = self.since.get_or_insert_with(now).clone();
        let events = self.api.events(&since);
        let networks = self.api.networks().await?;
        let mut containers = self.all().await?;
        if let Some(why) = self.elsewhere(&mut containers).await? {
            return Err(End::Remote(why));
        }
        self.answered = true;
        if let Some(root) = about.data_root {
            self.news.send(Update::DataRoot(root.into())).await?;
        }
        self.news.send(Update::Networks(networks)).await?;
        self.news.send(Update::All(containers)).await?;
        self.news
            .send(Update::Status(EngineStatus::Up {
                version: about.version,
                podman: about.podman,
                rootless: about.rootless,
            }))
            .await?;
        self.listen(events).await
    }

    /// Takes events until there are no more; asks again where they are not enough.
    async fn listen(
        &mut self,
        mut events: impl Stream<Item = Result<Event, EngineError>> + Unpin,
    ) -> Result<(), End> {
        let mut asked: HashMap<String, bool> = HashMap::new();
        let mut answers = FuturesUnordered::new();
        let mut networks_changed = false;
        let mut heard = Instant::now();
        let mut soon = self.pace.soon;
        let mut list = heard + self.pace.next(self.told.is_open(), soon);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    None => return Ok(()),
                    Some(event) => {
                        let event = event?;
                        heard = Instant::now();
                        *self.since = Some(event.time.clone());
                        if let Some(id) = &event.container {
                            self.told.event(id);
                        }
                        networks_changed |= event.action == Action::Networks;
                        // An answer from before its end must not raise the dead.
                        if event.action == Action::Die
                            && let Some(again) = event.container.as_ref().and_then(|id| asked.get_mut(id))
                        {
                            *again = true;
                        }
                        if event.action == Action::Destroy
                            && let Some(id) = &event.container
                        {
                            self.told.gone(id);
                        }
                        if let Some(id) = worth_asking(&event) {
                            // While an answer is on its way, one more question will do for all that happens.
                            match asked.get_mut(id) {
                                Some(again) => *again = true,
                                None => {
                                    asked.insert(id.to_owned(), false);
                                    answers.push(ask(self.api, id.to_owned()));
                                }
                            }
                        }
                        self.news.send(Update::Event(event)).await?;
                    }
                },
                Some((id, answer)) = answers.next(), if !answers.is_empty() => {
                    match answer {
                        Ok(Some(container)) => {
                            self.told.answered(&container);
                            self.news.send(Update::One(container)).await?;
                        }
                        Ok(None) => {
                            self.told.gone(&id);
                            self.news.send(Update::Gone(id.clone())).await?;
                        }
                        // One container can be stuck while the engine is well. It is asked about again with the list.
                        Err(error @ (EngineError::Hung(_) | EngineError::Status(..))) => {
                            if matches!(error, EngineError::Hung(_)) {
                                self.answers().await?;
                            }
                            self.told.unanswered(&id);
                            list = list.min(Instant::now() + soon);
                        }
                        Err(error) => return Err(error.into()),
                    }
                    if asked.remove(&id) == Some(true) {
                        asked.insert(id.clone(), false);
                        answers.push(ask(self.api, id));
                    }
                }
                () = tokio::time::sleep(Duration::from_millis(20)), if networks_changed => {
                    networks_changed = false;
                    let networks = self.api.networks().await?;
                    self.news.send(Update::Networks(networks)).await?;
                }
                () = sleep_until(heard + self.pace.silence) => {
                    self.answers().await?;
                    heard = Instant::now();
                }
                () = sleep_until(list) => {
                    let is_open = match self.list_again().await {
                        // It answers, but could not this time.
                        Err(End::Failed(EngineError::Status(..))) => true,
                        other => {
                            other?;
                            self.told.is_open()
                        }
                    };
                    soon = if is_open { (soon * 2).min(self.pace.list) } else { self.pace.soon };
                    heard = Instant::now();
                    list = heard + self.pace.next(is_open, soon);
                }
                () = self.news.closed() => return Err(End::Closed),
            }
        }
    }

    /// Whether the engine still answers. A proxy that refuses this question does; one that cannot reach the engine says 502 to 504.
    async fn answers(&self) -> Result<(), EngineError> {
        match twice(|| self.api.ping()).await {
            Err(EngineError::Status(..500, _)) => Ok(()),
            other => other,
        }
    }

    /// The list, with details of those that run and of some of the others.
    async fn all(&mut self) -> Result<Vec<Container>, EngineError> {
        let mut list = self.api.containers().await?;
        list.sort_by_key(|container| container.state == State::Stopped);
        let running = list
            .iter()
            .filter(|container| container.state != State::Stopped)
            .count();
        let ids: Vec<String> = list
            .iter()
            .take(running + STOPPED)
            .map(|container| container.id.clone())
            .collect();
        let mut details = self.details(&ids).await?;
        self.told.listed(&list, &ids, &details);
        Ok(list
            .into_iter()
            .filter(|container| !details.gone.contains(&container.id))
            .map(|container| {
                let detailed = details.containers.remove(&container.id);
                detailed.unwrap_or(container)
            })
            .collect())
    }

    /// Why the containers are not this machine's. Those that were to run are asked about once more before that is said: one that has
    /// ended since is no process here either.
    async fn elsewhere(
        &self,
        containers: &mut Vec<Container>,
    ) -> Result<Option<String>, EngineError> {
        if processes_elsewhere(containers).is_none() {
            return Ok(None);
        }
        let running: Vec<String> = containers
            .iter()
            .filter(|container| container.pid.is_some())
            .map(|container| container.id.clone())
            .collect();
        let mut details = self.details(&running).await?;
        containers.retain(|container| !details.gone.contains(&container.id));
        for container in containers.iter_mut() {
            if let Some(now) = details.containers.remove(&container.id) {
                *container = now;
            }
        }
        Ok(processes_elsewhere(containers))
    }

    /// Lists everything once more, for events that did not come: one question each for networks and containers, and one for each
    /// container that is not as it was told.
    ///
    /// Events wait meanwhile: those of what is in the list come after it, and change nothing, those of later change it.
    async fn list_again(&mut self) -> Result<(), End> {
        let networks = twice(|| self.api.networks()).await?;
        let list = twice(|| self.api.containers()).await?;
        let ids = self.told.outdated(&list);
        let details = self.details(&ids).await?;
        self.news.send(Update::Networks(networks)).await?;
        let listed = list
            .iter()
            .map(|container| container.id.clone())
            .filter(|id| !details.gone.contains(id))
            .collect();
        self.news.send(Update::Listed(listed)).await?;
        let changed: Vec<&Container> = list
            .iter()
            .filter(|container| self.told.differs(container))
            .filter(|container| !details.gone.contains(&container.id))
            .collect();
        for container in changed {
            // Where it does not tell more, the list's line is what there is.
            if !details.containers.contains_key(&container.id) {
                self.news.send(Update::One(container.clone())).await?;
            }
        }
        self.told.listed(&list, &ids, &details);
        for container in details.containers.into_values() {
            self.news.send(Update::One(container)).await?;
        }
        Ok(())
    }

    /// Asks about single containers.
    async fn details(&self, ids: &[String]) -> Result<Details, EngineError> {
        let mut answers = futures_util::stream::iter(ids.to_vec())
            .map(|id| ask(self.api, id))
            .buffer_unordered(PARALLEL);
        let mut details = Details::default();
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(Some(container)) => {
                    details.containers.insert(id, container);
                }
                Ok(None) => {
                    details.gone.insert(id);
                }
                Err(EngineError::Hung(_) | EngineError::Status(..)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(details)
    }
}

impl Pace {
    /// Until the next list.
    fn next(self, is_open: bool, soon: Duration) -> Duration {
        if is_open { soon } else { self.list }
    }
}

/// Asks, and once more if there was no answer in time: an engine on a machine that is short of breath does not hang.
async fn twice<T, F>(question: impl Fn() -> F) -> Result<T, EngineError>
where
    F: Future<Output = Result<T, EngineError>>,
{
    match question().await {
        Err(EngineError::Hung(_)) => question().await,
        other => other,
    }
}

async fn ask<A: EngineApi>(
    api: &A,
    id: String,
) -> (String, Result<Option<Container>, EngineError>) {
    let answer = api.inspect(&id).await;
    (id, answer)
}

/// The container to ask about. Of one that ended nothing is asked: its addresses are gone from the answer, and what
/// was known before is worth more.
fn worth_asking(event: &Event) -> Option<&str> {
    match event.action {
        Action::Create
        | Action::Start
        | Action::Rename
        | Action::Connect
        | Action::Disconnect
        | Action::Unpause => event.container.as_deref(),
        Action::Die | Action::Pause | Action::Destroy | Action::Networks => None,
    }
}

/// Now, as `since` takes it.
fn now() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}

#[cfg(test)]
mod tests;
