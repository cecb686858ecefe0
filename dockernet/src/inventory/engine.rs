//! Follows the engine: asks, listens, and starts over when it goes away.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::mpsc;

use super::EngineStatus;
use crate::{
    host::{
        docker::{About, Action, EngineApi, EngineError, Event},
        engine_files,
        netns::scan,
    },
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
    let mut pause = FIRST_PAUSE;
    let mut since = None;
    loop {
        let mut session = Session {
            api: &api,
            news: &news,
            since: &mut since,
            answered: false,
        };
        let end = session.run().await;
        if session.answered {
            pause = FIRST_PAUSE;
        }
        let status = match end {
            Ok(()) => EngineStatus::Down {
                reason: EngineError::Ended.to_string(),
            },
            Err(End::Failed(error)) => EngineStatus::Down {
                reason: error.to_string(),
            },
            Err(End::Remote(why)) => {
                pause = REMOTE_PAUSE;
                EngineStatus::Remote { why }
            }
            Err(End::Closed) => return,
        };
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
}

impl<A: EngineApi> Session<'_, A> {
    async fn run(&mut self) -> Result<(), End> {
        let about = self.api.about().await?;
        if let Some(why) = other_kernel(&about) {
            return Err(End::Remote(why));
        }
        // The events are asked for from a time before the list: what happens in between comes twice, not never.
        let since = self.since.get_or_insert_with(now).clone();
        let mut events = self.api.events(&since);
        let networks = self.api.networks().await?;
        let containers = self.all().await?;
        if let Some(why) = processes_elsewhere(&containers) {
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

        let mut asked: HashMap<String, bool> = HashMap::new();
        let mut answers = FuturesUnordered::new();
        let mut networks_changed = false;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    None => return Ok(()),
                    Some(event) => {
                        let event = event?;
                        *self.since = Some(event.time.clone());
                        networks_changed |= event.action == Action::Networks;
                        // An answer from before its end must not raise the dead.
                        if event.action == Action::Die
                            && let Some(again) = event.container.as_ref().and_then(|id| asked.get_mut(id))
                        {
                            *again = true;
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
                        Ok(Some(container)) => self.news.send(Update::One(container)).await?,
                        Ok(None) => self.news.send(Update::Gone(id.clone())).await?,
                        // One container can be stuck while the engine is well.
                        Err(EngineError::Hung(_)) => { self.api.about().await?; }
                        Err(EngineError::Status(..)) => {}
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
                () = self.news.closed() => return Err(End::Closed),
            }
        }
    }

    /// The list, with details of those that run and of some of the others.
    async fn all(&self) -> Result<Vec<Container>, EngineError> {
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
        let mut answers = futures_util::stream::iter(ids)
            .map(|id| ask(self.api, id))
            .buffer_unordered(PARALLEL);
        let mut detailed: HashMap<String, Container> = HashMap::new();
        let mut gone: HashSet<String> = HashSet::new();
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(Some(container)) => {
                    detailed.insert(id, container);
                }
                Ok(None) => {
                    gone.insert(id);
                }
                Err(EngineError::Hung(_) | EngineError::Status(..)) => {}
                Err(error) => return Err(error),
            }
        }
        drop(answers);
        Ok(list
            .into_iter()
            .filter(|container| !gone.contains(&container.id))
            .map(|container| detailed.remove(&container.id).unwrap_or(container))
            .collect())
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

fn other_kernel(about: &About) -> Option<String> {
    let ours = nix::sys::utsname::uname().ok()?;
    let ours = ours.release().to_str()?.to_owned();
    let theirs = about
        .kernel
        .as_deref()
        .filter(|kernel| !kernel.is_empty())?;
    let system = about.system.as_deref().unwrap_or("another machine");
    (theirs != ours).then(|| {
        format!(
            "the engine runs on another kernel ({theirs}, {system}; here it is {ours}): its names are not used; run \
             this where the engine runs"
        )
    })
}

/// Docker Desktop's engine under WSL2 shares the kernel, but not the processes: then its addresses are not this
/// host's either.
fn processes_elsewhere(containers: &[Container]) -> Option<String> {
    let mut running = containers
        .iter()
        .filter_map(|container| Some((container, container.pid?)))
        .peekable();
    running.peek()?;
    let here = running.any(|(container, pid)| {
        engine_files::of_process(pid).is_some_and(|found| found.id == container.id)
            || scan::lives(pid)
    });
    (!here).then(|| {
        "none of the engine's containers is a process of this machine (Docker Desktop, or a container without \
         --pid=host): its names are not used; run this where the engine runs"
            .to_owned()
    })
}

#[cfg(test)]
mod tests;
